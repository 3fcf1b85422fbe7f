//! FIDO keys: an agent of the tests' own signs as a token would, and the distribution's `ssh` asks it.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::keyring::{admitted, authorize, key, keygen, public, refused};
use super::support::{Daemon, Running, Setup, Ssh, World, venv, wait_until};

/// Flags of a signature (PROTOCOL.u2f).
const NONE: u8 = 0;
const TOUCHED: u8 = 1;
const VERIFIED: u8 = 4;

struct Token<'w> {
    world: &'w World,
    socket: PathBuf,
    _agent: Running,
}

impl<'w> Token<'w> {
    fn plug(world: &'w World) -> Self {
        let socket = world.dir.join("agent");
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/token.py");
        let mut command = Command::new(venv().join("bin/python"));
        command.arg(program).arg(&socket).arg(&world.dir);
        let agent = Running::start(&mut command, Duration::from_secs(600));
        // Its name is there before it listens.
        let listening = || UnixStream::connect(&socket).is_ok();
        assert!(wait_until(Duration::from_secs(20), listening));
        Self {
            world,
            socket,
            _agent: agent,
        }
    }

    /// ssh with one of the token's keys, whose signatures say this of their making.
    fn ssh(&self, name: &str, flags: u8) -> Ssh {
        fs::write(self.world.dir.join("flags"), flags.to_string()).unwrap();
        Ssh::to(self.world)
            .key(&self.world.dir.join(format!("{name}.pub")))
            .option(format!("-oIdentityAgent={}", self.socket.display()))
    }
}

#[test]
fn a_security_key_is_touched_unless_its_line_says_otherwise() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let token = Token::plug(&world);
    for name in ["sk-ed25519", "sk-ecdsa"] {
        let line = public(&world.dir.join(name));
        authorize(&world, &["# nobody"]);
        refused(&daemon, token.ssh(name, TOUCHED), "not in the login's");
        authorize(&world, &[&line]);
        admitted(&daemon, token.ssh(name, TOUCHED), "true");
        refused(&daemon, token.ssh(name, NONE), "does not attest a touch");
        refused(
            &daemon,
            token.ssh(name, VERIFIED),
            "does not attest a touch",
        );
        authorize(&world, &[&format!("no-touch-required {line}")]);
        admitted(&daemon, token.ssh(name, NONE), "true");
        authorize(&world, &[&format!("verify-required {line}")]);
        refused(&daemon, token.ssh(name, TOUCHED), "verified its user");
        admitted(&daemon, token.ssh(name, TOUCHED | VERIFIED), "true");
    }
}

#[test]
fn certificates_of_security_keys_are_held_to_both_their_own_and_the_lines_word() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let token = Token::plug(&world);
    let authority = public(&key(&world, "ca"));
    for name in ["sk-ed25519", "sk-ecdsa"] {
        let file = format!("{name}.pub");
        let sign = |option: &str| {
            let fixed = ["-q", "-s", "ca", "-I", "x", "-n", "sandbox", "-O"];
            keygen(&world, &[&fixed[..], &[option, &file]].concat());
        };
        let certificate = world.dir.join(format!("{name}-cert.pub"));
        let ssh = |flags| {
            let option = format!("-oCertificateFile={}", certificate.display());
            token.ssh(name, flags).option(option)
        };
        authorize(&world, &[&format!("cert-authority {authority}")]);
        sign("permit-pty");
        admitted(&daemon, ssh(TOUCHED), "true");
        refused(&daemon, ssh(NONE), "does not attest a touch");
        sign("no-touch-required");
        refused(&daemon, ssh(NONE), "does not attest a touch");
        authorize(
            &world,
            &[&format!("cert-authority,no-touch-required {authority}")],
        );
        admitted(&daemon, ssh(NONE), "true");
        sign("verify-required");
        refused(&daemon, ssh(TOUCHED), "verified its user");
        admitted(&daemon, ssh(TOUCHED | VERIFIED), "true");
    }
}
