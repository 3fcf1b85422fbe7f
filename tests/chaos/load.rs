//! Real clients: some that stay and can be asked, and bursts of logins that come and go.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::support::{Daemon, Running, wait_until};

/// The time within which somebody who lives answers.
const ANSWER: Duration = Duration::from_secs(10);

static TOKENS: AtomicU32 = AtomicU32::new(0);

/// The pid namespace that a process is in, as /proc names it.
pub(crate) fn pid_namespace(pid: u32) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/pid")).ok()?;
    Some(link.to_str()?.to_owned())
}

/// What a resident does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Command,
    Terminal,
    Sftp,
    Forward,
    /// Asks an upstream through the proxy, by rules of the operator's own, whenever it is asked.
    Egress,
    /// In the sandbox of a login that shares one.
    Shared,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Command,
        Self::Terminal,
        Self::Sftp,
        Self::Forward,
        Self::Egress,
        Self::Shared,
    ];
}

/// Says again what it is told, once the upstream has answered: while nobody judges, it is denied.
const FETCH: &str = "while read -r token; do \
    until curl -sf -m 5 -o /dev/null http://20.30.40.10:8080/; do sleep 0.05; done; echo $token; done";

/// Echoes what comes to 127.0.0.1:7000 of the sandbox.
const ECHO: &str = "exec /usr/bin/python3 -Iuc '
import socket
s = socket.create_server((\"127.0.0.1\", 7000))
print(\"up\")
while True:
    c = s.accept()[0]
    while part := c.recv(65536): c.sendall(part)
    c.close()
'";

/// The same, of /tmp/echo.
const ECHO_AT_A_PATH: &str = "exec /usr/bin/python3 -Iuc '
import socket
s = socket.socket(socket.AF_UNIX)
s.bind(\"/tmp/echo\")
s.listen()
print(\"up\")
while True:
    c = s.accept()[0]
    while part := c.recv(65536): c.sendall(part)
    c.close()
'";

/// What comes back through a door.
fn ask(door: &Path, token: &str) -> std::io::Result<String> {
    let mut door = UnixStream::connect(door)?;
    door.set_read_timeout(Some(ANSWER))?;
    door.write_all(token.as_bytes())?;
    door.shutdown(std::net::Shutdown::Write)?;
    let mut echoed = String::new();
    door.read_to_string(&mut echoed)?;
    Ok(echoed)
}

/// A client that stays, in a sandbox of its own.
pub(crate) struct Resident {
    pub(crate) kind: Kind,
    /// Its sandbox's pid namespace.
    pub(crate) home: String,
    client: Running,
    stdin: ChildStdin,
    /// The client's end of what it forwards.
    door: PathBuf,
}

/// The pid namespaces of sandboxes in which sessions run.
fn homes(daemon: &Daemon<'_>) -> Vec<String> {
    let sessions = daemon.session_processes();
    sessions
        .iter()
        .filter_map(|process| pid_namespace(process.pid))
        .collect()
}

impl Resident {
    /// Logs in and waits until it answers.
    #[track_caller]
    pub(crate) fn start(daemon: &Daemon<'_>, kind: Kind) -> Self {
        let token = TOKENS.fetch_add(1, Ordering::Relaxed);
        let door = daemon.world.dir.join(format!("door{token}"));
        let ssh = daemon.ssh().seconds(3600);
        let mut command = match kind {
            Kind::Command | Kind::Egress => ssh.command(),
            Kind::Shared => ssh.user("shared").command(),
            Kind::Terminal => ssh.option("-tt").command(),
            Kind::Sftp => ssh.client("/usr/bin/sftp"),
            Kind::Forward => {
                let what = format!("{}:localhost:7000", door.display());
                ssh.option("-L").option(what).command()
            }
        };
        // Each says by its first line where it lives; what sftp says of itself comes from /proc, too.
        let say = "readlink /proc/self/ns/pid; exec cat";
        match kind {
            Kind::Command | Kind::Shared => command.arg("--").arg(say),
            Kind::Egress => command
                .arg("--")
                .arg(format!("readlink /proc/self/ns/pid; {FETCH}")),
            Kind::Terminal => command.arg("--").arg(format!("stty -echo; {say}")),
            Kind::Sftp => command.arg("127.0.0.1"),
            Kind::Forward => command
                .arg("--")
                .arg(format!("readlink /proc/self/ns/pid; {ECHO}")),
        };
        let known = homes(daemon);
        let mut client = Running::start(&mut command, Duration::from_secs(3600));
        let stdin = client.take_stdin();
        let mut resident = Self {
            kind,
            home: String::new(),
            client,
            stdin,
            door,
        };
        if kind == Kind::Sftp {
            resident.answers();
        }
        let found = wait_until(ANSWER, || {
            resident.home = resident.says_where(daemon, &known).unwrap_or_default();
            !resident.home.is_empty()
        });
        assert!(found, "{kind:?} has no home: {}", resident.client.errors());
        resident.answers();
        resident
    }

    fn says_where(&self, daemon: &Daemon<'_>, known: &[String]) -> Option<String> {
        if self.kind != Kind::Sftp {
            let out = self.client.output();
            let line = out.lines().find(|line| line.starts_with("pid:["))?;
            return Some(line.trim().to_owned());
        }
        // A burst's sessions are none of these: theirs are shells.
        let sessions = daemon.session_processes();
        let mut homes = sessions
            .iter()
            .filter(|process| process.name == "sftp-server")
            .filter_map(|process| pid_namespace(process.pid));
        homes.find(|home| !known.contains(home))
    }

    /// It does what it does, once more.
    #[track_caller]
    pub(crate) fn answers(&mut self) {
        let token = format!("token{}", TOKENS.fetch_add(1, Ordering::Relaxed));
        let kind = self.kind;
        if kind == Kind::Forward {
            let echoed = self.through_the_door(&token);
            assert_eq!(echoed.as_deref().ok(), Some(token.as_str()), "{echoed:?}");
            return;
        }
        let asked = match kind {
            Kind::Sftp => format!("mkdir {token}\nls -1\nrmdir {token}\n"),
            _ => format!("{token}\n"),
        };
        self.stdin
            .write_all(asked.as_bytes())
            .unwrap_or_else(|e| panic!("{kind:?} hears nothing: {e}: {}", self.client.errors()));
        // sftp repeats what it is told behind a prompt; its answer is a line of its own.
        let answered = wait_until(ANSWER, || {
            self.client
                .output()
                .lines()
                .any(|line| line.trim_end() == token)
        });
        assert!(
            answered,
            "{kind:?} does not answer: {}",
            self.client.errors()
        );
    }

    fn through_the_door(&self, token: &str) -> std::io::Result<String> {
        // The echo may not listen yet where it has just been started.
        assert!(
            wait_until(ANSWER, || self.client.output().contains("up")),
            "no echo: {}",
            self.client.errors()
        );
        ask(&self.door, token)
    }

    /// Its client ends by itself, and not as if all were well.
    #[track_caller]
    pub(crate) fn hears_of_the_end(self, within: Duration) {
        let Self {
            kind,
            mut client,
            mut stdin,
            door,
            ..
        } = self;
        let ended = wait_until(within, || {
            if kind == Kind::Sftp {
                // It looks at its connection when it is told to do something.
                drop(stdin.write_all(b"ls\n"));
            }
            client.has_ended()
        });
        assert!(
            ended,
            "{kind:?} is not told of the end: {}",
            client.errors()
        );
        drop(stdin);
        drop(fs::remove_file(door));
        assert_ne!(
            client.finish().code(),
            0,
            "{kind:?} ended as if all were well"
        );
    }
}

/// What a program said, without the notice to terminals of a daemon that drains.
fn its_own(said: &str) -> String {
    match said.split_once("\r\n*** sandgate: ") {
        Some((before, rest)) => {
            let (_notice, after) = rest.split_once("\r\n").unwrap_or_default();
            format!("{before}{after}")
        }
        None => said.to_owned(),
    }
}

/// Logins of every kind at once, each done within a second or so.
pub(crate) struct Burst {
    logins: Vec<(Running, &'static str)>,
}

impl Burst {
    pub(crate) fn start(daemon: &Daemon<'_>) -> Self {
        let exec = ("-T", "head -c 300000 /dev/zero | wc -c", "300000\n");
        let terminal = ("-tt", "printf 12345", "12345");
        let late = ("-T", "sleep 0.3; echo done", "done\n");
        let start = |(option, line, said)| {
            let ssh = daemon.ssh().seconds(60).option(option);
            (ssh.start(line), said)
        };
        let mut logins: Vec<_> = [exec, terminal, late].map(start).into();
        let shared = daemon.ssh().seconds(60).user("shared");
        logins.push((shared.start("sleep 0.2; echo ours"), "ours\n"));
        Self { logins }
    }

    /// A client that goes to a socket by its path, twice. Says whether `killed` says so, in between: then it had no answer
    /// the first time; it has one the second.
    #[track_caller]
    pub(crate) fn through_a_path(daemon: &Daemon<'_>, killed: impl FnOnce() -> bool) -> bool {
        let token = TOKENS.fetch_add(1, Ordering::Relaxed);
        let door = daemon.world.dir.join(format!("door{token}"));
        let ssh = daemon.ssh().seconds(60).option("-L");
        let ssh = ssh.option(format!("{}:/tmp/echo", door.display()));
        let client = ssh.start(ECHO_AT_A_PATH);
        client.expect_output("up");
        let first = ask(&door, "first");
        let killed = killed();
        assert_eq!(first.is_ok_and(|said| said == "first"), !killed);
        assert_eq!(ask(&door, "second").ok().as_deref(), Some("second"));
        drop(client);
        drop(fs::remove_file(door));
        killed
    }

    /// Waits for all of them: how many were served, and how many cut off. Nobody is served half.
    #[track_caller]
    pub(crate) fn end(self) -> (u32, u32) {
        let (mut finished, mut cut) = (0, 0);
        let until = Instant::now() + Duration::from_secs(30);
        for (mut login, said) in self.logins {
            wait_until(until.saturating_duration_since(Instant::now()), || {
                login.has_ended()
            });
            let end = login.finish();
            if end.code() == 0 {
                assert_eq!(its_own(&end.out()), said, "a success that is none: {end}");
                finished += 1;
            } else {
                cut += 1;
            }
        }
        (finished, cut)
    }
}
