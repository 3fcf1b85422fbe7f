//! The real `sandgate serve`, in the gate's namespace and a cgroup of the test's own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::audit::Event;
use super::proc::{Process, children, processes_below};
use super::run::{run, wait_until};
use super::ssh::Ssh;
use super::world::{BIND, UIDS_PER_WORLD, World};

/// Uids for sandboxes: before them are the judge's and the gate's, and so is the next world's judge's after them.
const SANDBOXES: u32 = UIDS_PER_WORLD - 2;

/// What differs from the ordinary configuration.
pub(crate) struct Setup {
    /// The login's policy file.
    pub(crate) policy: String,
    /// More lines for the login `sandbox`, indented by four.
    pub(crate) login: String,
    /// Its host keys, with commas between them.
    pub(crate) host_keys: String,
    /// Items of the `limits` map, in flow style.
    pub(crate) limits: String,
    /// More lines at the top level. Without a word of their own, failures cost nothing and SIGTERM drains
    /// nothing: the tests of other things fail logins and end daemons in passing.
    pub(crate) top: String,
    /// The daemon's RLIMIT_NOFILE, where it is not the test's own.
    pub(crate) open_files: Option<u32>,
    /// Whether the daemon sees the world's resolver, or stays in the system's mount namespace.
    pub(crate) mounts: Mounts,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mounts {
    Resolver,
    System,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            policy: super::policy_with(super::ALLOW_CURL),
            login: String::new(),
            host_keys: "host_ed25519".to_owned(),
            limits: String::new(),
            top: String::new(),
            open_files: None,
            mounts: Mounts::Resolver,
        }
    }
}

impl Setup {
    /// A daemon whose policy lets nothing out.
    pub(crate) fn closed() -> Self {
        Self {
            policy: super::policy_with(""),
            ..Self::default()
        }
    }

    /// The same in the system's own mount namespace, where leftovers would stay.
    pub(crate) fn in_system_mounts(self) -> Self {
        Self {
            mounts: Mounts::System,
            ..self
        }
    }

    /// Writes keys, policy and `sandgate.yaml` into the world's directory.
    pub(crate) fn write(&self, world: &World) -> PathBuf {
        make_key(&world.dir.join("client"));
        fs::copy(
            world.dir.join("client.pub"),
            world.dir.join("authorized_keys"),
        )
        .expect("keys");
        fs::write(world.dir.join("policy.yaml"), &self.policy).expect("policy.yaml");
        let path = world.dir.join("sandgate.yaml");
        fs::write(&path, self.config(world)).expect("sandgate.yaml");
        path
    }

    fn config(&self, world: &World) -> String {
        let (gate, first) = (world.first_uid, world.first_uid + 1);
        format!(
            "listen: [\"127.0.0.1:2222\"]\n\
             host_keys: [{}]\n\
             audit: audit.jsonl\n\
             logins:\n  sandbox:\n    authorized_keys: [authorized_keys]\n    policy: policy.yaml\n{}\
             limits: {{{}}}\n\
             uids: {{gate: {gate}, first: {first}, count: {}}}\n{}",
            self.host_keys,
            self.login,
            self.limits,
            SANDBOXES,
            self.top()
        )
    }
}

impl Setup {
    fn top(&self) -> String {
        let mut lines = self.top.clone();
        for (key, line) in [
            ("penalties:", "penalties: {enforce: false}\n"),
            ("pool:", "pool: 1\n"),
            ("drain:", "drain: 0\n"),
        ] {
            if !lines.contains(key) {
                lines.push_str(line);
            }
        }
        if !lines.contains("accept_weaker:") {
            lines.push_str(&accept_weaker(&[]));
        }
        lines
    }
}

/// The line that accepts these gaps, and those of the kernel that `SANDGATE_TEST_ACCEPT_WEAKER` names, with
/// spaces between them: whoever runs the tests on an older one gives the operator's word, as an operator has to.
pub(crate) fn accept_weaker(gaps: &[&str]) -> String {
    let given = given_gaps();
    let all: BTreeSet<&str> = given
        .split_whitespace()
        .chain(gaps.iter().copied())
        .collect();
    let names: Vec<&str> = all.into_iter().collect();
    format!("accept_weaker: [{}]\n", names.join(", "))
}

fn given_gaps() -> String {
    std::env::var("SANDGATE_TEST_ACCEPT_WEAKER").unwrap_or_default()
}

/// Whether this kernel has that gap, by the same word; tests/kernels compares it with the kernel's own.
pub(crate) fn lacks(gap: &str) -> bool {
    given_gaps().split_whitespace().any(|given| given == gap)
}

/// Makes an ed25519 key pair without a passphrase, once.
pub(crate) fn make_key(path: &Path) {
    if !path.exists() {
        let mut command = Command::new("/usr/bin/ssh-keygen");
        command
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
            .arg(path);
        run(&mut command, 20).expect_code(0);
    }
}

/// The program under test; another one, with the same command line, tells a wrong test from a wrong
/// server (see programs/sshd.sh).
fn server() -> PathBuf {
    let other = std::env::var_os("SANDGATE_TEST_SERVER").map(PathBuf::from);
    other.unwrap_or_else(|| env!("CARGO_BIN_EXE_sandgate").into())
}

/// The daemon's command with more words before the server's.
pub(crate) fn behind(command: &Command, words: &[&str]) -> Command {
    let server = server();
    let mut other = Command::new(command.get_program());
    for argument in command.get_args() {
        if argument == server {
            other.args(words);
        }
        other.arg(argument);
    }
    if let Some(directory) = command.get_current_dir() {
        other.current_dir(directory);
    }
    other.env_remove("RUST_LOG");
    other
}

/// The shell puts itself, and so everything after it, into the world's cgroup, or where a daemon gives controllers
/// on there, into the group that is a daemon's.
pub(crate) const JOIN: &str = r#"{ echo $$ > "$1/cgroup.procs"; } 2> /dev/null ||
    echo $$ > "$1/sandgate-daemon/cgroup.procs" || exit
shift
exec "$@""#;

/// `sandgate ARGUMENTS` as the world's daemon would be run.
pub(crate) fn sandgate(world: &World, setup: &Setup, arguments: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", JOIN, "sh"]);
    command.arg(&world.cgroup);
    command.args(["/usr/bin/setpriv", "--pdeathsig", "KILL"]);
    if let Some(files) = setup.open_files {
        command
            .arg("/usr/bin/prlimit")
            .arg(format!("--nofile={files}:{files}"));
    }
    command
        .arg("/usr/bin/nsenter")
        .arg(format!("--net={}", world.gate_namespace().display()));
    if setup.mounts == Mounts::Resolver {
        command.args([
            "/usr/bin/unshare",
            "--mount",
            "--",
            "/bin/sh",
            "-c",
            BIND,
            "sh",
        ]);
        command.arg(&world.dir);
    }
    command
        .arg(server())
        .args(arguments)
        .current_dir(&world.dir);
    command.env_remove("RUST_LOG");
    command
}

/// A daemon that serves; dropping it ends it, and a failing test shows what it said.
pub(crate) struct Daemon<'w> {
    pub(crate) world: &'w World,
    child: Child,
}

impl<'w> Daemon<'w> {
    /// Starts it and waits until it says that it serves.
    pub(crate) fn start(world: &'w World, setup: &Setup) -> Self {
        Self::start_by(world, setup, |command| command)
    }

    /// The same, by a command that `change` makes of the usual one.
    pub(crate) fn start_by(
        world: &'w World,
        setup: &Setup,
        change: impl FnOnce(Command) -> Command,
    ) -> Self {
        let config = setup.write(world);
        let config = config.to_str().expect("a UTF-8 path").to_owned();
        let out = fs::File::create(world.dir.join("stdout")).expect("a file");
        let err = fs::File::create(world.dir.join("stderr")).expect("a file");
        let child = change(sandgate(world, setup, &["serve", "--config", &config]))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .expect("the daemon");
        let mut daemon = Self { world, child };
        let ready = wait_until(Duration::from_secs(30), || {
            assert!(
                !daemon.has_ended(),
                "the daemon ended at its start: {}",
                daemon.stderr()
            );
            daemon.stdout().contains("ssh -p 2222")
        });
        assert!(ready, "not ready within 30 s");
        daemon
    }

    /// The supervisor's pid.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.world.dir.join("stdout")).unwrap_or_default()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.world.dir.join("stderr")).unwrap_or_default()
    }

    /// The pid of the one child of the supervisor with this name.
    #[track_caller]
    pub(crate) fn child_named(&self, name: &str) -> u32 {
        let all = children(self.id());
        let mut named = all.iter().filter(|process| process.name == name);
        let found = named
            .next()
            .unwrap_or_else(|| panic!("no {name} among {all:?}"));
        assert_eq!(named.next(), None, "one {name}");
        found.pid
    }

    pub(crate) fn gate(&self) -> u32 {
        self.child_named("sg-gate")
    }

    pub(crate) fn monitor(&self) -> u32 {
        self.child_named("sg-monitor")
    }

    /// All its living processes, sessions included.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let first = self.world.first_uid;
        processes_below(&self.world.cgroup, first..first + 1 + SANDBOXES)
    }

    /// Those of its sessions: what has one of the sandboxes' uids.
    pub(crate) fn session_processes(&self) -> Vec<Process> {
        let first = self.world.first_uid + 1;
        let uids = first..first + SANDBOXES;
        let mut found = self.processes();
        found.retain(|process| uids.contains(&process.uid) && process.name != "sg-init");
        found
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("waitpid").is_some()
    }

    /// SIGTERM, and the time it is given to end in good order.
    pub(crate) fn terminate(&mut self) -> bool {
        self.terminate_within(5)
    }

    fn terminate_within(&mut self, seconds: u64) -> bool {
        signal(self.id(), Signal::SIGTERM);
        wait_until(Duration::from_secs(seconds), || self.has_ended())
    }

    /// Every audit event so far.
    pub(crate) fn audit(&self) -> Vec<Event> {
        Event::read_all(&self.world.dir.join("audit.jsonl"))
    }

    /// `ssh sandbox@127.0.0.1`, with the world's key.
    pub(crate) fn ssh(&self) -> Ssh {
        Ssh::to(self.world)
    }
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid"));
    // ESRCH: it has ended already.
    kill(pid, signal).ok();
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // Longer than the supervisor waits for each of its children in turn: how fast it ends is for the tests
        // that `terminate` it to show.
        if !self.has_ended() && !self.terminate_within(20) {
            drop(fs::write(self.world.cgroup.join("cgroup.kill"), "1"));
            drop(self.child.wait());
            let said = self.stderr();
            assert!(
                std::thread::panicking(),
                "SIGTERM did not end it within 20 s: {said}"
            );
        }
        if std::thread::panicking() {
            let said = self.stderr();
            let from = said.len().saturating_sub(8192);
            eprintln!(
                "--- the daemon's stderr\n{}\n---",
                said.get(from..).unwrap_or(&said)
            );
        }
    }
}
