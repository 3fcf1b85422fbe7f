//! The servers that sandboxed programs want to reach, and what has reached them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::run::wait_until;
use super::world::Side;

/// One thing that reached a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A TCP connection to this address and port, whether or not it said anything.
    Connection(String, u16),
    /// A DNS question for this name.
    Question(String),
}

/// `programs/upstream.py` in one namespace: HTTP on ports 80, 443 (plain text on purpose), 8080 and
/// 6443 of every address, and on the upstream's side also the world's DNS.
pub(crate) struct Upstream {
    child: Child,
    log: PathBuf,
}

impl Upstream {
    pub(crate) fn start(namespace: &str, log: &Path, side: Side) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/upstream.py");
        let errors = fs::File::create(log.with_extension("stderr")).expect("a log");
        let mut command = Command::new("/usr/bin/nsenter");
        command
            .arg(format!("--net=/run/netns/{namespace}"))
            .args([
                "/usr/bin/setpriv",
                "--pdeathsig",
                "KILL",
                "/usr/bin/python3",
                "-I",
            ])
            .arg(program)
            .arg(log)
            .arg(if side == Side::Upstream {
                "dns"
            } else {
                "no-dns"
            })
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors);
        let child = command.spawn().expect("the upstream");
        let ready = wait_until(Duration::from_secs(20), || {
            fs::read_to_string(log).is_ok_and(|text| text.contains("ready"))
        });
        let errors = fs::read_to_string(log.with_extension("stderr")).unwrap_or_default();
        assert!(ready, "the upstream did not start: {errors}");
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// Everything that has arrived so far, in order.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        let text = fs::read_to_string(&self.log).expect("the upstream's log");
        text.lines()
            .filter_map(|line| {
                let mut words = line.split(' ');
                match (words.next()?, words.next()?, words.next()) {
                    ("tcp", address, Some(port)) => {
                        Some(Arrival::Connection(address.to_owned(), port.parse().ok()?))
                    }
                    ("dns", name, _) => Some(Arrival::Question(name.to_owned())),
                    _ => None,
                }
            })
            .collect()
    }

    /// The connections alone.
    pub(crate) fn connections(&self) -> Vec<(String, u16)> {
        let connection = |arrival| match arrival {
            Arrival::Connection(address, port) => Some((address, port)),
            Arrival::Question(_) => None,
        };
        self.arrivals().into_iter().filter_map(connection).collect()
    }

    pub(crate) fn stop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
