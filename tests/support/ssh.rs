//! The distribution's `ssh`, told to read no configuration and to ask nobody.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::run::{Finished, Running, patient, run, wait_until};
use super::world::World;

/// One call of `ssh`.
pub(crate) struct Ssh {
    namespace: PathBuf,
    dir: PathBuf,
    options: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    key: PathBuf,
    user: String,
    input: Vec<u8>,
    seconds: u64,
}

impl Ssh {
    pub(crate) fn to(world: &World) -> Self {
        Self {
            namespace: world.gate_namespace(),
            dir: world.dir.clone(),
            options: Vec::new(),
            environment: Vec::new(),
            key: world.dir.join("client"),
            user: "sandbox".to_owned(),
            input: Vec::new(),
            seconds: 20,
        }
    }

    /// One more option, as on the command line.
    pub(crate) fn option(mut self, option: impl Into<OsString>) -> Self {
        self.options.push(option.into());
        self
    }

    /// A variable in the client's own environment.
    pub(crate) fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub(crate) fn key(mut self, key: &Path) -> Self {
        key.clone_into(&mut self.key);
        self
    }

    pub(crate) fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// The time after which the call is killed and the test fails; 20 s unless told.
    pub(crate) fn seconds(mut self, seconds: u64) -> Self {
        self.seconds = seconds;
        self
    }

    /// The call itself: `nsenter … ssh … 127.0.0.1`.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.client("/usr/bin/ssh");
        command.arg("127.0.0.1");
        command
    }

    /// The same options for one of ssh's kin, which have all of them in common; no host yet.
    pub(crate) fn client(&self, program: &str) -> Command {
        let mut command = Command::new("/usr/bin/nsenter");
        command.arg(format!("--net={}", self.namespace.display()));
        // ssh keeps the first value of an option: the caller's come before these.
        command.args([program, "-F", "none", "-oPort=2222"]);
        command.arg(format!("-oUser={}", self.user));
        command.args(&self.options).arg("-i").arg(&self.key);
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "GlobalKnownHostsFile=/dev/null",
            "UpdateHostKeys=no",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
        ] {
            command.arg("-o").arg(option);
        }
        let connect = patient(Duration::from_secs(15)).as_secs();
        command.arg("-o").arg(format!("ConnectTimeout={connect}"));
        command.arg("-o").arg(format!(
            "UserKnownHostsFile={}/known_hosts",
            self.dir.display()
        ));
        command
            .env_remove("SSH_AUTH_SOCK")
            .env_remove("LANG")
            .env_remove("LC_ALL");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command line in a session of its own.
    pub(crate) fn run(self, line: impl AsRef<OsStr>) -> Finished {
        let mut command = self.command();
        command.arg("--").arg(line);
        super::run_with_input(&mut command, self.input, self.seconds)
    }

    /// Asks for a shell, which reads its commands from the input.
    pub(crate) fn shell(self) -> Finished {
        let mut command = self.command();
        super::run_with_input(&mut command, self.input, self.seconds)
    }

    /// Starts a command line and returns at once.
    pub(crate) fn start(self, line: impl AsRef<OsStr>) -> Running {
        let mut command = self.command();
        Running::start(
            command.arg("--").arg(line),
            Duration::from_secs(self.seconds),
        )
    }

    /// Opens a connection that others can share (`-M -S`).
    pub(crate) fn master(self) -> Master {
        let socket = self.dir.join(format!("ctl{}", super::world::next_number()));
        let mut command = self.command();
        command.args(["-M", "-N", "-S"]).arg(&socket);
        // ssh takes options after the host, too.
        let running = Running::start(&mut command, Duration::from_secs(600));
        let mut master = Master {
            socket,
            running,
            ssh: self,
        };
        let open = wait_until(Duration::from_secs(20), || {
            assert!(
                !master.running.has_ended(),
                "the shared connection ended at its start"
            );
            master.socket.exists()
        });
        assert!(open, "no shared connection within 20 s");
        master
    }
}

/// A shared connection (ControlMaster); dropping it disconnects.
pub(crate) struct Master {
    socket: PathBuf,
    running: Running,
    ssh: Ssh,
}

impl Master {
    /// A call over the shared connection.
    pub(crate) fn ssh(&self) -> Ssh {
        Ssh {
            namespace: self.ssh.namespace.clone(),
            dir: self.ssh.dir.clone(),
            options: vec![format!("-oControlPath={}", self.socket.display()).into()],
            environment: Vec::new(),
            key: self.ssh.key.clone(),
            user: self.ssh.user.clone(),
            input: Vec::new(),
            seconds: self.ssh.seconds,
        }
        .option("-oControlMaster=no")
        // Where the shared connection refuses, ssh would silently open one of its own.
        .option("-oProxyCommand=/bin/false")
    }

    /// The socket of the shared connection (`-S`).
    pub(crate) fn path(&self) -> &Path {
        &self.socket
    }

    /// The pid of the client process that holds the connection.
    pub(crate) fn id(&self) -> u32 {
        self.running.id()
    }

    /// Ends the connection as a closed laptop would: the process is gone, nothing is said.
    pub(crate) fn kill(&mut self) {
        self.running.kill();
    }

    /// `ssh -O COMMAND`.
    pub(crate) fn control(&self, verb: &str) -> Finished {
        run(
            self.ssh()
                .option("-O")
                .option(verb)
                .command()
                .env("LC_ALL", "C"),
            10,
        )
    }
}
