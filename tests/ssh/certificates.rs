//! OpenSSH user certificates: who signs them, whom they name, what they grant and what refuses them.

use std::fs;
use std::path::PathBuf;

use super::keyring::{
    admitted, authorize, has_terminal, key, keygen, may_forward, public, refused,
};
use super::support::{Daemon, Setup, Ssh, World, run, venv};

/// A user's key, and the authority that signs it.
struct Office<'w> {
    world: &'w World,
    user: PathBuf,
    authority: PathBuf,
}

impl<'w> Office<'w> {
    fn open(world: &'w World) -> Self {
        Self {
            world,
            user: key(world, "user"),
            authority: key(world, "ca"),
        }
    }

    /// Makes the login trust the authority, with these options beside `cert-authority`.
    fn trust(&self, options: &str) {
        let line = format!("cert-authority{options} {}", public(&self.authority));
        authorize(self.world, &[&line]);
    }

    /// Signs the user's key, with these arguments for ssh-keygen.
    fn sign(&self, arguments: &[&str]) {
        let fixed = ["-q", "-s", "ca", "-I", "someone"];
        keygen(self.world, &[&fixed[..], arguments, &["user.pub"]].concat());
    }

    /// ssh with the key and the certificate beside it (`user-cert.pub`).
    fn ssh(&self) -> Ssh {
        Ssh::to(self.world).key(&self.user)
    }
}

#[test]
fn a_certificate_names_the_login_and_its_authority_is_trusted() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let office = Office::open(&world);
    office.trust("");
    refused(&daemon, office.ssh(), "not in the login's authorized_keys");
    office.sign(&["-n", "sandbox,other", "-z", "77"]);
    admitted(&daemon, office.ssh(), "true");
    let event = daemon.audit().pop();
    if let Some(event) = event {
        assert_eq!(event.text("/certificate/id"), "someone");
        assert_eq!(event.text("/certificate/serial"), "77");
        assert!(event.text("/certificate/authority").starts_with("SHA256:"));
    }
    office.sign(&["-n", "other"]);
    refused(&daemon, office.ssh(), "names no principal");
    office.sign(&["-n", "sandbox"]);
    authorize(&world, &[&public(&office.authority)]);
    refused(
        &daemon,
        office.ssh(),
        "signed by nobody whom the login trusts",
    );
}

#[test]
fn a_certificate_that_names_nobody_is_good_for_nobody() {
    // OpenSSH 9 takes one that an authority in authorized_keys has signed for any login.
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let office = Office::open(&world);
    office.trust("");
    office.sign(&[]);
    refused(&daemon, office.ssh(), "names no principal");
}

#[test]
fn principals_of_the_authoritys_line_take_the_place_of_the_logins() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let office = Office::open(&world);
    office.trust(",principals=\"ops,dev\"");
    office.sign(&["-n", "dev"]);
    admitted(&daemon, office.ssh(), "true");
    office.sign(&["-n", "sandbox"]);
    refused(&daemon, office.ssh(), "names no principal");
}

#[test]
fn authorities_and_principals_can_stand_in_the_configuration() {
    let world = World::new();
    let setup = Setup {
        login: "    trusted_user_ca_keys: [ca.pub]\n    authorized_principals: [ops, dev]\n".into(),
        ..Setup::closed()
    };
    let office = Office::open(&world);
    let daemon = Daemon::start(&world, &setup);
    authorize(&world, &["# nobody"]);
    office.sign(&["-n", "dev"]);
    admitted(&daemon, office.ssh(), "true");
    office.sign(&["-n", "sandbox"]);
    refused(&daemon, office.ssh(), "names no principal");
    refused(
        &daemon,
        daemon.ssh().key(&office.authority),
        "not in the login's",
    );
    office.sign(&["-n", "dev"]);
    fs::remove_file(world.dir.join("ca.pub")).unwrap();
    refused(&daemon, office.ssh(), "ca.pub: is not there");
}

#[test]
fn a_certificate_is_good_in_its_time() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let office = Office::open(&world);
    office.trust("");
    for (arguments, reason) in [
        (&["-V", "-1h:+1h"][..], None),
        (&["-V", "always:forever"], None),
        (&["-V", "-2h:-1h"], Some("has expired")),
        (&["-V", "+1h:+2h"], Some("not valid yet")),
    ] {
        office.sign(&[&["-n", "sandbox"], arguments].concat());
        match reason {
            None => drop(admitted(&daemon, office.ssh(), "true")),
            Some(reason) => refused(&daemon, office.ssh(), reason),
        }
    }
}

#[test]
fn critical_options_are_kept_to_or_refuse() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let office = Office::open(&world);
    office.trust("");
    for (option, reason) in [
        ("source-address=127.0.0.0/8,10.0.0.1", None),
        ("source-address=10.0.0.0/8", Some("from this address")),
        (
            "critical:no-such-option=x",
            Some("\"no-such-option\" is not known"),
        ),
        (
            "critical:no-such-flag",
            Some("\"no-such-flag\" is not known"),
        ),
        ("extension:no-such-extension", None),
        // Of keys that cannot attest anything nothing is asked, as in sshd.
        ("verify-required", None),
    ] {
        office.sign(&["-n", "sandbox", "-O", option]);
        match reason {
            None => drop(admitted(&daemon, office.ssh(), "true")),
            Some(reason) => refused(&daemon, office.ssh(), reason),
        }
    }
}

#[test]
fn a_command_is_forced_by_the_certificate_or_the_line_and_both_agree() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let office = Office::open(&world);
    let forced = "echo forced: $SSH_ORIGINAL_COMMAND";
    office.trust("");
    office.sign(&["-n", "sandbox", "-O", &format!("force-command={forced}")]);
    assert_eq!(admitted(&daemon, office.ssh(), "mine"), "forced: mine\n");
    office.trust(&format!(",command=\"{forced}\""));
    assert_eq!(admitted(&daemon, office.ssh(), "mine"), "forced: mine\n");
    office.trust(",command=\"true\"");
    refused(&daemon, office.ssh(), "force different commands");
    office.sign(&["-n", "sandbox"]);
    assert_eq!(admitted(&daemon, office.ssh(), "echo mine"), "");
}

#[test]
fn a_certificate_grants_what_its_extensions_name_and_the_line_leaves() {
    let world = World::new();
    let _daemon = Daemon::start(&world, &Setup::closed());
    let office = Office::open(&world);
    for (line, arguments, expected) in [
        ("", &[][..], true),
        ("", &["-O", "no-pty"], false),
        ("", &["-O", "clear"], false),
        ("", &["-O", "clear", "-O", "permit-pty"], true),
        (",no-pty", &[], false),
    ] {
        office.trust(line);
        office.sign(&[&["-n", "sandbox"], arguments].concat());
        let terminal = has_terminal(office.ssh());
        assert_eq!(terminal, expected, "{line:?} {arguments:?}");
    }
    office.trust("");
    for (option, permitted) in [("permit-port-forwarding", true), ("permit-pty", false)] {
        office.sign(&["-n", "sandbox", "-O", "clear", "-O", option]);
        assert_eq!(may_forward(office.ssh()), permitted, "{option}");
    }
}

#[test]
fn authorities_sign_with_what_is_not_weak() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let office = Office::open(&world);
    for (bits, algorithm, reason) in [
        ("2048", "rsa-sha2-256", None),
        ("2048", "ssh-rsa", Some("signed with ssh-rsa")),
        // OpenSSH 9 takes this one.
        ("1024", "rsa-sha2-512", Some("has 1024 bits")),
    ] {
        for end in ["ca", "ca.pub"] {
            fs::remove_file(world.dir.join(end)).unwrap();
        }
        keygen(
            &world,
            &["-q", "-t", "rsa", "-b", bits, "-N", "", "-f", "ca"],
        );
        office.trust("");
        office.sign(&["-n", "sandbox", "-t", algorithm]);
        match reason {
            None => drop(admitted(&daemon, office.ssh(), "true")),
            Some(reason) => refused(&daemon, office.ssh(), reason),
        }
    }
}

#[test]
fn what_no_client_would_send_is_refused_with_its_reason() {
    // OpenSSH's client looks at a certificate before it sends it; this one sends what it is given.
    const CLIENT: &str = r#"
import asyncio, asyncssh, base64, sys
name, place = sys.argv[1], int(sys.argv[2])
async def main():
    pair = asyncssh.load_keypairs([("user", "good.pub")])[0]
    data = bytearray(base64.b64decode(open(name).read().split()[1]))
    if place: data[place] ^= 1
    pair.public_data = bytes(data)
    try:
        async with asyncssh.connect("127.0.0.1", 2222, username="sandbox", known_hosts=None,
                config=None, agent_path=None, client_keys=[pair]) as connection:
            print((await connection.run("echo in")).stdout, end="")
    except asyncssh.PermissionDenied:
        print("refused")
asyncio.run(main())
"#;
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let office = Office::open(&world);
    office.trust("");
    office.sign(&["-n", "sandbox"]);
    let signed = world.dir.join("user-cert.pub");
    fs::copy(&signed, world.dir.join("good.pub")).unwrap();
    office.sign(&["-n", "sandbox", "-h"]);
    fs::copy(&signed, world.dir.join("host.pub")).unwrap();
    let attempt = |name: &str, place: &str| {
        let python = venv().join("bin/python");
        let mut command = world.on_host(python.to_str().unwrap());
        command.args(["-c", CLIENT, name, place]);
        run(command.current_dir(&world.dir), 40)
            .expect_code(0)
            .out()
    };
    assert_eq!(attempt("good.pub", "0"), "in\n");
    for (name, place, reason) in [
        ("host.pub", "0", "is not a user's"),
        // A byte of its signature, and one of its nonce's length.
        ("good.pub", "-1", "own signature is wrong"),
        ("good.pub", "36", "cannot be read"),
    ] {
        assert_eq!(attempt(name, place), "refused\n", "{reason}");
        let event = daemon.audit().pop().unwrap();
        assert!(event.text("/reason").contains(reason), "{event:?}");
    }
}
