//! What a person sees: the distribution's `ssh`, from its start to its end.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::sample::{in_turns, timed};
use super::servers::{Server, Servers};
use super::support::wait_until;
use super::table::Row;

/// `ssh host true`: connect, key exchange, authentication, a fresh sandbox, a program, and the end.
pub(crate) fn login(servers: &Servers<'_>) -> Row {
    let login = |server| {
        ssh(servers, server)
            .arg("true")
            .stdin(Stdio::null())
            .status()
    };
    let once = |server| {
        timed(|| {
            let status = login(server).expect("ssh");
            assert!(
                status.success(),
                "a login on {}: {status}",
                Server::name(server)
            );
        })
    };
    let [ours, theirs] =
        servers.within(|| in_turns(100, || once(Server::Sandgate), || once(Server::Sshd)));
    Row {
        name: "login",
        what: "ssh host true",
        samples: ours,
        against: Some(("sshd", theirs)),
    }
}

/// `ssh -S ctl host true`: one more program over a connection that is there.
pub(crate) fn exec(servers: &Servers<'_>) -> Row {
    let [ours, theirs] = servers.within(|| {
        let sandgate = Master::open(servers, Server::Sandgate);
        let sshd = Master::open(servers, Server::Sshd);
        in_turns(200, || sandgate.exec(servers), || sshd.exec(servers))
    });
    Row {
        name: "exec",
        what: "ssh -S ctl host true",
        samples: ours,
        against: Some(("sshd", theirs)),
    }
}

fn ssh(servers: &Servers<'_>, server: Server) -> Command {
    let mut command = Command::new("/usr/bin/ssh");
    command
        .arg("-F")
        .arg(&servers.client_config)
        .arg(server.name());
    command
}

/// A connection that others share; dropping it disconnects.
struct Master {
    server: Server,
    socket: PathBuf,
    client: Child,
}

impl Master {
    fn open(servers: &Servers<'_>, server: Server) -> Self {
        let socket = servers.world.dir.join(format!("{}.ctl", server.name()));
        let client = ssh(servers, server)
            .args(["-M", "-N", "-S"])
            .arg(&socket)
            .stdin(Stdio::null())
            .spawn()
            .expect("ssh");
        let open = wait_until(Duration::from_secs(15), || socket.exists());
        assert!(open, "no shared connection to {}", server.name());
        Self {
            server,
            socket,
            client,
        }
    }

    fn exec(&self, servers: &Servers<'_>) -> Duration {
        let mut command = ssh(servers, self.server);
        command.arg("-S").arg(&self.socket).arg("true");
        command.stdin(Stdio::null());
        timed(|| {
            let status = command.status().expect("ssh");
            assert!(
                status.success(),
                "an exec on {}: {status}",
                self.server.name()
            );
        })
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        drop(self.client.kill());
        drop(self.client.wait());
    }
}
