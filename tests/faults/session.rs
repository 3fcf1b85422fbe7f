//! A session that may be struck: how it is asked for, and what it is like.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ChildStdin;
use std::time::Duration;

use super::stage::{Client, Kind, Outcome, Stage, held_by};
use super::support::{Running, wait_until};
use super::view;

/// What a session says of itself, in words that a busybox has too. `$neighbour` is another session of its sandbox,
/// which listens on the abstract socket ABSTRACT: Landlock alone keeps it from both, and from what anybody may write
/// below /proc. A key of the daemon's own session keyring is in sight where that has been inherited.
const REPORT: &str = r#"
uname -n; umask; ulimit -c; ulimit -n
ls -1 / /dev | sort
env | sed 's/=.*//' | sort; env | grep -i proxy | sort
echo "memfd_noexec $(cat /proc/sys/vm/memfd_noexec)"
echo "keys of the daemon: $(grep -c sandgate-faults /proc/keys)"
TOOLS/attack ATTACKS
echo told
"#;

/// The attempts, each of which is stopped by one layer alone where one can be.
const ATTACKS: &str = "probe:$neighbour abstract-connect:ABSTRACT write:/proc/self/timerslack_ns \
    truncate:/proc/self/timerslack_ns memfd-exec:TOOLS/attack memfd-flag inherited-descriptors \
    tcp-connect:127.0.0.1,80 read:HIDDEN chmod:HIDDEN list:TOOLS/denied write:TOOLS/attack chmod:TOOLS/attack \
    setuid-root setgroups sethostname mount-tmpfs vsock-socket keyctl add-key io-uring unshare-user clone-user \
    ptrace:$neighbour read-memory:$neighbour tiocsti probe:VICTIM";

/// A session that waits for a line, and then tells.
pub(crate) struct Session {
    pub(crate) client: Running,
    stdin: ChildStdin,
    kind: Kind,
    /// By which others share its connection.
    control: PathBuf,
}

impl Session {
    pub(crate) fn start(stage: &Stage<'_>) -> Self {
        let kind = stage.kind;
        let control = stage.place.world.dir.join("control");
        drop(fs::remove_file(&control));
        let ssh = stage.daemon.ssh().option("-oControlMaster=yes");
        let ssh = ssh.option(format!("-oControlPath={}", control.display()));
        let attacks = ATTACKS.to_owned();
        let report = stage
            .place
            .fill(&REPORT.replace("ATTACKS", &attacks), kind.policy);
        let line = format!("echo started; read -r neighbour; {report}");
        let mut command = match kind.client {
            Client::Command => ssh.option("-T").command(),
            Client::Terminal => ssh.option("-tt").command(),
            Client::Sftp => ssh.client("/usr/bin/sftp"),
        };
        match kind.client {
            Client::Command => command.arg("--").arg(line),
            Client::Terminal => command.arg("--").arg(format!("stty -echo; {line}")),
            Client::Sftp => command.arg("127.0.0.1"),
        };
        let mut client = Running::start(&mut command, Duration::from_secs(60));
        let mut stdin = client.take_stdin();
        if kind.client == Client::Sftp {
            // Without a session nobody reads it.
            drop(stdin.write_all(b"pwd\n"));
        }
        Self {
            client,
            stdin,
            kind,
            control,
        }
    }

    pub(crate) fn has_begun(&mut self) -> bool {
        let sign = match self.kind.client {
            Client::Sftp => "Remote working directory",
            _ => "started",
        };
        let decided = wait_until(Duration::from_secs(30), || {
            self.client.output().contains(sign) || self.client.has_ended()
        });
        assert!(decided, "neither begun nor refused within 30 s");
        self.client.output().contains(sign)
    }

    pub(crate) fn tell(mut self, stage: &Stage<'_>) -> Outcome {
        let Some(pid) = stage.sessions_process() else {
            return self.ended();
        };
        let seen = view::of(pid, held_by(&stage.daemon, "sg-monitor"), &stage.foreign);
        if self.kind.client == Client::Sftp {
            let asked = stage.place.fill(SFTP, self.kind.policy);
            drop(self.stdin.write_all(asked.as_bytes()));
            drop(self.stdin);
            let end = self.client.finish();
            return Outcome::Began(format!("{seen}{}{}", end.out(), end.err()));
        }
        let share = stage.daemon.ssh();
        let share = share.option(format!("-oControlPath={}", self.control.display()));
        let share = share
            .option("-oControlMaster=no")
            .option("-oProxyCommand=/bin/false");
        let listen = "echo $$; TOOLS/attack abstract-listen:ABSTRACT & cat > /dev/null; kill 0";
        let listen = stage.place.fill(listen, self.kind.policy);
        let mut neighbour = share.start(listen);
        let listens = wait_until(Duration::from_secs(10), || {
            neighbour.output().contains("listening") || neighbour.has_ended()
        });
        let alone = !listens || neighbour.has_ended();
        if alone && wait_until(Duration::from_secs(1), || self.client.has_ended()) {
            return Outcome::Cut;
        }
        let who = neighbour.output();
        // Without the program that a neighbour runs there is none, and none to be reached.
        let who = who.lines().next().filter(|_| !alone).unwrap_or("0");
        drop(self.stdin.write_all(format!("{who}\n").as_bytes()));
        drop(self.stdin);
        // Shorter than the neighbour's own time. One that takes longer is waited for below.
        wait_until(Duration::from_secs(10), || {
            self.client.output().contains("told") || self.client.has_ended()
        });
        // The connection stays for as long as it is shared.
        neighbour.finish();
        let end = self.client.finish();
        if end.code() != 0 {
            return Outcome::Cut;
        }
        Outcome::Began(seen + &end.out().replace('\r', ""))
    }

    /// Ended in between.
    fn ended(mut self) -> Outcome {
        let ended = wait_until(Duration::from_secs(10), || self.client.has_ended());
        assert!(
            ended,
            "it lives, and nobody beside it can: {}",
            self.client.errors()
        );
        Outcome::Cut
    }
}

/// What sftp tries: ENOENT, EACCES and EPERM have answers of their own.
const SFTP: &str = "ls -1 /\nls -1 /dev\nput /etc/hostname /proc/self/timerslack_ns\n\
    get HIDDEN /dev/null\nls TOOLS/denied\nput /etc/hostname TOOLS/attack\nchmod 777 TOOLS/attack\n\
    get /proc/self/mem /dev/null\nget /proc/self/environ /dev/null\n";
