//! What the monitor and its children ask of the kernel while a session starts, and one call of it struck.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use nix::sys::signal::Signal;

use super::support::{injector, signal};

/// A system call, by who makes it and how many of its name that process has made before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    /// `monitor`, `init`, `session`, or a child of one of these (tests/programs/strike.c).
    pub(crate) role: String,
    pub(crate) name: String,
    pub(crate) nth: usize,
    /// Which of its many things prctl(2) is asked for.
    pub(crate) option: Option<u64>,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}'s {} no. {}", self.role, self.name, self.nth)
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// It fails with this error.
    Error(&'static str),
    /// It is said to have given this, and was not made.
    Lie(i64),
    /// Its process gets SIGKILL in its place.
    Kill,
}

impl std::fmt::Display for Strike {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Error(name) => write!(f, "error={name}"),
            Self::Lie(value) => write!(f, "return={value}"),
            Self::Kill => f.write_str("kill"),
        }
    }
}

/// The program that follows a daemon's monitor.
pub(crate) struct Follower {
    child: Child,
    log: PathBuf,
}

impl Follower {
    /// Follows from now on, and strikes once if told.
    pub(crate) fn start(monitor: u32, directory: &Path, strike: Option<(&Call, Strike)>) -> Self {
        static PROGRAM: LazyLock<PathBuf> = LazyLock::new(injector);
        let log = directory.join("calls");
        let mut command = Command::new(&*PROGRAM);
        command.arg(monitor.to_string()).arg(&log);
        if let Some((call, strike)) = strike {
            command.args([&call.role, &call.name, &call.nth.to_string()]);
            command.arg(strike.to_string());
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("strike");
        let mut greeting = String::new();
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        said.read_line(&mut greeting).expect("its greeting");
        assert_eq!(greeting, "following\n", "the monitor is not followed");
        Self { child, log }
    }

    /// Lets all of them go.
    pub(crate) fn stop(mut self) -> Log {
        signal(self.child.id(), Signal::SIGTERM);
        let status = self.child.wait().expect("waitpid");
        assert!(status.success(), "strike: {status}");
        let log = fs::read_to_string(&self.log).expect("its log");
        fs::remove_file(&self.log).expect("its log");
        Log(log)
    }
}

/// What was asked of the kernel.
pub(crate) struct Log(String);

impl Log {
    pub(crate) fn has_struck(&self) -> bool {
        self.0.lines().any(|line| line.starts_with('!'))
    }

    /// The calls in their order. What a process does once it is confined concerns nobody here: one that serves files
    /// has no execve(2), but closes all that it has, as its last step.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let mut begun: BTreeMap<&str, bool> = BTreeMap::new();
        let mut calls = Vec::new();
        for line in self.0.lines() {
            let words: Vec<&str> = line.trim_start_matches('!').split(' ').collect();
            let [role, name, nth, first, last, flags, ..] = words[..] else {
                panic!("no call: {line}");
            };
            if begun.get(role) == Some(&true) {
                continue;
            }
            // The standard library's own question of each descriptor that it closes, in builds with debug assertions.
            if (name, last) == ("fcntl", "1") {
                continue;
            }
            if role == "session" && name == "close_range" {
                begun.insert(role, (first, last, flags) == ("3", "ffffffff", "0"));
            }
            calls.push(Call {
                role: role.to_owned(),
                name: name.to_owned(),
                nth: nth.parse().expect("a number"),
                option: (name == "prctl")
                    .then(|| u64::from_str_radix(first, 16).expect("hexadecimal")),
            });
        }
        calls
    }
}
