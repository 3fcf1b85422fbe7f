//! A configuration in sshd's form, and the ways to start a server with it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::support::{Finished, JOIN, Setup, Ssh, World, run, sandgate};

/// A world with a host key, a client's key and an `sshd_config`.
pub(crate) struct Stand {
    pub(crate) world: World,
    setup: Setup,
}

impl Stand {
    /// The base and these lines after it.
    pub(crate) fn new(lines: &str) -> Self {
        Self::on_port(2222, lines)
    }

    /// The same with a port of one's own.
    pub(crate) fn on_port(port: u16, lines: &str) -> Self {
        let world = World::new();
        let setup = Setup::closed();
        setup.write(&world);
        fs::copy(world.dir.join("client"), world.dir.join("host")).unwrap();
        let dir = world.dir.display();
        let uid = world.first_uid;
        let base = format!(
            "HostKey {dir}/host\nStrictModes no\nAuthorizedKeysFile {dir}/authorized_keys\nPort {port}\nListenAddress 127.0.0.1\n\
             SandboxPolicy {dir}/policy.yaml\nSandboxUids {uid} {} 100\nSandboxAudit {dir}/audit.jsonl\n",
            uid + 1
        );
        let users = if lines.contains("AllowUsers") {
            ""
        } else {
            "AllowUsers sandbox\n"
        };
        fs::write(
            world.dir.join("sshd_config"),
            format!("{base}{users}{lines}"),
        )
        .unwrap();
        Self { world, setup }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.world.dir.join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// `sandgate sshd -f sshd_config ARGUMENTS` in the gate's namespace.
    pub(crate) fn sshd(&self, arguments: &[&str]) -> Command {
        let file = self.path("sshd_config");
        let mut words = vec!["sshd", "-f", file.to_str().unwrap()];
        words.extend(arguments);
        sandgate(&self.world, &self.setup, &words)
    }

    /// The same, run to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        run(&mut self.sshd(arguments), 20)
    }

    pub(crate) fn ssh(&self) -> Ssh {
        Ssh::to(&self.world)
    }

    /// ssh whose connection is a server of its own.
    pub(crate) fn ssh_to_own_server(&self, arguments: &str) -> Ssh {
        let (program, dir) = (env!("CARGO_BIN_EXE_sandgate"), self.world.dir.display());
        let cgroup = self.world.cgroup.display();
        // ssh puts `exec` before the line, which therefore has to be one command.
        let script =
            format!("set -- {cgroup} {program} sshd -i -f {dir}/sshd_config {arguments}\n{JOIN}\n");
        fs::write(self.path("serve"), script).unwrap();
        self.ssh()
            .option(format!("-oProxyCommand=/bin/sh {dir}/serve"))
    }

    /// Whether nothing of a server is left.
    pub(crate) fn is_empty(&self) -> bool {
        let first = self.world.first_uid;
        super::support::processes_below(&self.world.cgroup, first..first + 101).is_empty()
    }
}
