//! The two servers under comparison, sandgate and OpenSSH's sshd, side by side in one network
//! namespace, with the same client key and the same login shell.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use super::support::{Daemon, Setup, World, policy_with, wait_until};

/// Where sshd listens; sandgate is on 2222.
const SSHD_PORT: u16 = 2223;

/// What the CONNECT measure may reach, and by which program (see `tunnel`).
const NETWORK: &str = "\
network_policies:
  bench:
    name: bench
    endpoints: [{host: 203.0.113.10, port: 9000}]
    binaries: [{path: /sandbox/connect}]
";

/// One of the two, by its name in the client's configuration.
#[derive(Clone, Copy)]
pub(crate) enum Server {
    Sandgate,
    Sshd,
}

impl Server {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sandgate => "sandgate",
            Self::Sshd => "sshd",
        }
    }

    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Sandgate => 2222,
            Self::Sshd => SSHD_PORT,
        }
    }
}

/// Both, running; dropping it ends them.
pub(crate) struct Servers<'w> {
    pub(crate) world: &'w World,
    /// For `ssh -F`: hosts `sandgate` and `sshd`.
    pub(crate) client_config: PathBuf,
    pub(crate) daemon: Daemon<'w>,
    sshd: Child,
}

impl<'w> Servers<'w> {
    pub(crate) fn start(world: &'w World) -> Self {
        let setup = Setup {
            policy: policy_with(NETWORK),
            ..Setup::default()
        };
        let daemon = Daemon::start(world, &setup);
        let sshd = start_sshd(world);
        Self {
            world,
            client_config: write_client_config(world),
            daemon,
            sshd,
        }
    }

    pub(crate) fn client_key(&self) -> PathBuf {
        self.world.dir.join("client")
    }

    /// Does something in the gate's network namespace, on a thread of its own.
    pub(crate) fn within<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        within(&self.world.gate_namespace(), action)
    }
}

impl Drop for Servers<'_> {
    fn drop(&mut self) {
        drop(self.sshd.kill());
        drop(self.sshd.wait());
    }
}

/// Does something in a network namespace, on a thread of its own; what is spawned there stays there.
pub(crate) fn within<T: Send>(namespace: &Path, action: impl FnOnce() -> T + Send) -> T {
    let enter = || {
        let namespace = File::open(namespace).expect("the namespace");
        setns(namespace, CloneFlags::CLONE_NEWNET).expect("setns");
        action()
    };
    std::thread::scope(|scope| scope.spawn(enter).join().expect("the measuring thread"))
}

fn start_sshd(world: &World) -> Child {
    assert!(
        Path::new("/usr/sbin/sshd").exists(),
        "/usr/sbin/sshd is missing: apt-get install openssh-server (which starts one of its own on port 22)"
    );
    let dir = world.dir.join("sshd");
    fs::create_dir(&dir).expect("sshd's directory");
    fs::copy(
        world.dir.join("authorized_keys"),
        dir.join("authorized_keys"),
    )
    .expect("keys");
    // In sandgate's form, for the script that stands in for sandgate elsewhere too.
    let config = dir.join("sandgate.yaml");
    let text = format!(
        "listen: [\"127.0.0.1:{SSHD_PORT}\"]\nuids: {{first: {}}}\n",
        world.first_uid + 100
    );
    fs::write(&config, text).expect("its configuration");
    let out = dir.join("stdout");
    let err = dir.join("stderr");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/sshd.sh");
    let child = world
        .on_host("/usr/bin/setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(script)
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(File::create(&out).expect("a file"))
        .stderr(File::create(&err).expect("a file"))
        .spawn()
        .expect("sshd");
    let ready = wait_until(Duration::from_secs(20), || {
        fs::read_to_string(&out).is_ok_and(|said| said.contains("ssh -p"))
    });
    let said = fs::read_to_string(&err).unwrap_or_default();
    assert!(ready, "sshd did not start: {said}");
    child
}

/// The same key exchange and cipher for both: each server's own first choice would be compared otherwise.
fn write_client_config(world: &World) -> PathBuf {
    let mut text = format!(
        "Host *\n\
         HostName 127.0.0.1\n\
         User sandbox\n\
         IdentityFile {0}/client\n\
         IdentitiesOnly yes\n\
         IdentityAgent none\n\
         BatchMode yes\n\
         StrictHostKeyChecking no\n\
         UserKnownHostsFile {0}/known_hosts\n\
         GlobalKnownHostsFile /dev/null\n\
         UpdateHostKeys no\n\
         LogLevel ERROR\n\
         ConnectTimeout 15\n\
         HostKeyAlgorithms ssh-ed25519\n\
         KexAlgorithms curve25519-sha256\n\
         Ciphers chacha20-poly1305@openssh.com\n",
        world.dir.display()
    );
    for server in [Server::Sandgate, Server::Sshd] {
        writeln!(text, "Host {}\nPort {}", server.name(), server.port()).expect("text");
    }
    let path = world.dir.join("ssh_config");
    fs::write(&path, text).expect("the client's configuration");
    path
}
