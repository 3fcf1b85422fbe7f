//! Each layer of the confinement against an attacker that it holds, and what happens without it.
//!
//! An attack names the layers that cover it. It must fail with all of them; succeed with exactly those
//! taken away, or it proves nothing; and fail again as soon as any single one of them is back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and runs programs"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part of the support"
)]
mod support;

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use support::{attacker, lacks, run, wait_until};

/// The account of the attacker, and of what it attacks.
const UID: u32 = 1_900_009_001;

/// A place for one test's files, with the attacker's program in a directory of its own.
struct Site {
    directory: PathBuf,
}

impl Site {
    fn new(name: &str) -> Self {
        let directory = PathBuf::from(format!(
            "/var/tmp/sandgate-layers-{}-{name}",
            std::process::id()
        ));
        fs::create_dir_all(directory.join("shared")).unwrap();
        fs::copy(attacker(), directory.join("shared/attack")).unwrap();
        for path in [
            directory.clone(),
            directory.join("shared"),
            directory.join("shared/attack"),
        ] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { directory }
    }

    /// A file of the host that no policy lists.
    fn file(&self, name: &str, mode: u32, owner: u32) -> String {
        let path = self.directory.join(name);
        fs::write(&path, "secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The command that attacks once, without some layers.
    fn command(&self, without: &[&str], attack: &str) -> Vec<String> {
        let ablate = Path::new(env!("CARGO_BIN_EXE_sandgate")).with_file_name("examples/ablate");
        let shared = self.directory.join("shared");
        let program = shared.join("attack");
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        vec![
            text(&ablate),
            without.join(","),
            text(&shared),
            UID.to_string(),
            text(&program),
            attack.to_owned(),
        ]
    }

    fn attempt(&self, without: &[&str], attack: &str) -> String {
        let words = self.command(without, attack);
        answer(
            attack,
            &run(Command::new(&words[0]).args(&words[1..]), 30)
                .expect_code(0)
                .out(),
        )
    }

    /// The claim of this file, for one attack.
    #[track_caller]
    fn held(&self, attack: &str, layers: &[&str]) {
        judge(attack, layers, |without| self.attempt(without, attack));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.directory).unwrap();
    }
}

fn answer(attack: &str, output: &str) -> String {
    let verb = attack.split(':').next().unwrap();
    // A terminal may have echoed something before it.
    let line = output
        .lines()
        .find_map(|line| Some(line.trim_end().split_once(&format!("{verb}: "))?.1));
    line.unwrap_or_else(|| panic!("no answer to {attack}: {output}"))
        .to_owned()
}

#[track_caller]
fn judge(attack: &str, layers: &[&str], attempt: impl Fn(&[&str]) -> String) {
    assert_ne!(attempt(&[]), "ok", "{attack} succeeds in a whole sandbox");
    assert_eq!(
        attempt(layers),
        "ok",
        "{attack} fails even without {layers:?}: it proves nothing"
    );
    for kept in layers {
        let without: Vec<&str> = layers
            .iter()
            .copied()
            .filter(|layer| layer != kept)
            .collect();
        assert_ne!(
            attempt(&without),
            "ok",
            "{kept} alone does not hold {attack}"
        );
    }
}

/// The layers, of which Landlock, the last, is none before it has scopes (ABI 6).
fn with_scopes<'a>(layers: &'a [&'a str]) -> &'a [&'a str] {
    let most = layers.len() - usize::from(lacks("landlock_scopes"));
    &layers[..most]
}

/// A process of the attacker's own account outside.
struct Victim(Child);

impl Victim {
    fn start() -> Self {
        let id = UID.to_string();
        let mut command = Command::new("/usr/bin/setpriv");
        command.args([
            "--reuid",
            &id,
            "--regid",
            &id,
            "--clear-groups",
            "sleep",
            "60",
        ]);
        let victim = Self(command.spawn().unwrap());
        // Until it has changed its ids it is root's, and nobody may signal it.
        let dropped = wait_until(std::time::Duration::from_secs(10), || {
            let status = fs::read_to_string(format!("/proc/{}/status", victim.0.id())).unwrap();
            status
                .lines()
                .any(|line| line.starts_with(&format!("Uid:\t{UID}")))
        });
        assert!(dropped, "the victim keeps its ids");
        victim
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // An attack may have ended it already.
        drop(self.0.kill());
        self.0.wait().unwrap();
    }
}

#[test]
fn the_network_namespace_holds_connections() {
    let site = Site::new("network");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    site.held(&format!("tcp-connect:127.0.0.1,{port}"), &["net"]);
}

#[test]
fn network_namespace_and_landlock_hold_abstract_sockets() {
    use std::os::linux::net::SocketAddrExt;
    let site = Site::new("abstract");
    let name = format!("sandgate-layers-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let layers = with_scopes(&["net", "landlock"]);
    site.held(&format!("abstract-connect:{name}"), layers);
}

#[test]
fn mounts_and_landlock_hold_the_hosts_files() {
    let site = Site::new("files");
    let readable = site.file("readable", 0o644, 0);
    let writable = site.file("writable", 0o666, 0);
    for attack in [
        format!("read:{readable}"),
        format!("write:{writable}"),
        format!("truncate:{writable}"),
    ] {
        site.held(&attack, &["mnt", "landlock"]);
    }
    let private = site.file("private", 0o600, 0);
    site.held(
        &format!("read:{private}"),
        &["mnt", "landlock", "privileges"],
    );
}

#[test]
fn mounts_alone_hold_the_modes_of_files() {
    let site = Site::new("modes");
    let own = site.file("own", 0o644, UID);
    // Landlock has no right for these (landlock(7), LIMITATIONS).
    site.held(&format!("chmod:{own}"), &["mnt"]);
    site.held(&format!("utime:{own}"), &["mnt"]);
}

#[test]
fn the_pid_namespace_and_landlock_hold_signals() {
    let site = Site::new("signals");
    let victim = Victim::start();
    let layers = with_scopes(&["pid", "landlock"]);
    site.held(&format!("probe:{}", victim.0.id()), layers);
}

#[test]
fn pid_namespace_landlock_and_seccomp_hold_tracing() {
    let site = Site::new("tracing");
    let victim = Victim::start();
    site.held(
        &format!("ptrace:{}", victim.0.id()),
        &["pid", "landlock", "seccomp"],
    );
}

#[test]
fn the_ipc_namespace_holds_shared_memory() {
    let site = Site::new("ipc");
    let made = run(
        Command::new("/usr/bin/ipcmk").args(["--shmem", "4096", "--mode", "0666"]),
        10,
    )
    .expect_code(0)
    .out();
    let id = made.trim().rsplit(' ').next().unwrap().to_owned();
    site.held(&format!("attach-segment:{id}"), &["ipc"]);
    run(Command::new("/usr/bin/ipcrm").args(["--shmem-id", &id]), 10).expect_code(0);
}

#[test]
fn the_uts_namespace_holds_the_hosts_name() {
    let site = Site::new("uts");
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    site.held(&format!("host-is-named:{}", name.trim()), &["uts"]);
}

#[test]
fn dropped_privileges_hold_root() {
    let site = Site::new("root");
    site.held("setuid-root", &["privileges"]);
    site.held("setgroups", &["privileges"]);
    site.held("sethostname", &["privileges", "seccomp"]);
    site.held("mount-tmpfs", &["privileges", "landlock", "seccomp"]);
}

#[test]
fn seccomp_holds_what_no_other_layer_sees() {
    let site = Site::new("seccomp");
    for attack in [
        "vsock-socket",
        "keyctl",
        "add-key",
        "io-uring",
        "unshare-user",
        "clone-user",
    ] {
        site.held(attack, &["seccomp"]);
    }
}

#[test]
fn programs_in_memory_are_held_by_the_pid_namespaces_sysctl_or_before_it_by_seccomp() {
    let site = Site::new("memory");
    let program = site.directory.join("shared/attack");
    let attack = format!("memfd-exec:{}", program.display());
    let sealed = Path::new("/proc/sys/vm/memfd_noexec").exists();
    site.held(&attack, &[if sealed { "pid" } else { "seccomp" }]);
    if sealed {
        // The flag that asks for more came with the sysctl.
        site.held("memfd-flag", &["seccomp"]);
    }
}

#[test]
fn keyring_and_seccomp_hold_the_daemons_keys() {
    let site = Site::new("keys");
    // keyctl(1) gives the command a session keyring that holds a key.
    judge("session-key:layers", &["keyring", "seccomp"], |without| {
        let words = site.command(without, "session-key:layers");
        let script = "keyctl add user layers secret @s >/dev/null && exec \"$@\"";
        let mut command = Command::new("/usr/bin/keyctl");
        command
            .args(["session", "-", "/bin/sh", "-c", script, "sh"])
            .args(&words);
        answer(
            "session-key:layers",
            &run(&mut command, 30).expect_code(0).out(),
        )
    });
}

#[test]
fn session_and_seccomp_hold_the_terminal_of_whoever_started_the_daemon() {
    let site = Site::new("terminal");
    let legacy = "/proc/sys/dev/tty/legacy_tiocsti";
    if fs::read_to_string(legacy).is_ok_and(|value| value.trim() == "0") {
        fs::write(legacy, "1").unwrap();
    }
    judge("tiocsti", &["session", "seccomp"], |without| {
        let words = site.command(without, "tiocsti");
        let line = words
            .iter()
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>()
            .join(" ");
        let finished = run(
            Command::new("/usr/bin/script").args(["-qec", &line, "/dev/null"]),
            30,
        );
        answer("tiocsti", &finished.expect_code(0).out())
    });
}

#[test]
fn closing_descriptors_holds_what_the_daemon_has_open() {
    let site = Site::new("descriptors");
    let open = fs::File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    assert!(open.as_raw_fd() > 2);
    site.held("inherited-descriptors", &["descriptors"]);
}
