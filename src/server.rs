//! Wiring: from a configuration to the three processes of a running server.
//!
//! ```text
//! serve (root; waits, and clears up) ─┬─ monitor (root, one thread, no network)
//!                                     └─ gate (unprivileged: SSH, policy, egress)
//! ```

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sys::signal::Signal;

use crate::admin::{self, Place};
use crate::config::{Activation, Config};
use crate::sandbox::{self, Channel, Lines, Tree};
use crate::sys::clone::{SingleThreaded, fork_with};

mod check;
mod gate;
mod key_files;
mod keys;
mod notify;
mod reload;
mod supervisor;
mod texts;

pub use check::{CheckError, Checked, check};

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Sandboxes are made by root.
    #[error(
        "sandgate serve makes namespaces and drops to other users: run it as root (sudo make run)"
    )]
    NotRoot,
    /// The configuration, a policy or this host does not allow serving.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// A key file can't be made.
    #[error("cannot make {}: {source}", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Root could ask nothing.
    #[error("admin: cannot listen on {}: {source}; name another path", path.display())]
    Admin {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The daemon's cgroup can't be made.
    #[error("cgroup v2: {0}")]
    Cgroup(std::io::Error),
    /// The processes can't be started or waited for.
    #[error("{step}: {source}")]
    Process {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Operators' messages go to standard error; RUST_LOG selects them (default: info).
pub fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,russh=warn"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .init();
}

/// Serves until a signal or a failure ends it. Everything that can be checked is checked before any
/// process, socket or thread exists.
pub fn serve(config: Config, activation: &Activation) -> Result<ExitCode, ServerError> {
    let wrong = |step| move |source| ServerError::Process { step, source };
    let sockets = notify::take_sockets(activation.sockets).map_err(wrong("systemd's sockets"))?;
    let notifier =
        notify::Notifier::connect(activation.notify.as_deref()).map_err(wrong("NOTIFY_SOCKET"))?;
    if !rustix::process::geteuid().is_root() {
        return Err(ServerError::NotRoot);
    }
    let checked = check(config)?;
    for warning in checked.warnings() {
        tracing::warn!("{warning}");
    }
    keys::make_missing(checked.config())?;
    let tree = Tree::create().map_err(ServerError::Cgroup)?;
    let configured = checked.config().admin.as_deref();
    let (place, admin) = Place::open(configured).map_err(|source| ServerError::Admin {
        path: configured.unwrap_or(Path::new(admin::DIRECTORY)).to_owned(),
        source,
    })?;
    tracing::info!(socket = %place.path().display(), "root may ask for sandboxes");
    let given = Given {
        tree,
        sockets,
        admin,
    };
    let ended = start(&checked, given, &notifier).map_err(wrong("start"));
    place.close();
    ended
}

/// What the processes get that is opened before them.
struct Given {
    tree: Tree,
    /// systemd's.
    sockets: Vec<(SocketAddr, socket2::Socket)>,
    /// The listener for root's questions.
    admin: OwnedFd,
}

fn start(
    checked: &Checked,
    given: Given,
    notifier: &notify::Notifier,
) -> std::io::Result<ExitCode> {
    let one_thread = SingleThreaded::prove()?;
    let supervisor = supervisor::Supervisor::prepare()?;
    let (gate_end, monitor_end) = Channel::pair()?;
    let (monitor, given) = fork_with(
        &one_thread,
        (given, gate_end, monitor_end),
        |(given, gate_end, monitor_end)| {
            let Given {
                tree,
                sockets,
                admin,
            } = given;
            drop((gate_end, sockets));
            let lines = Lines {
                gate: monitor_end,
                admin,
            };
            supervisor::begin_child(c"sg-monitor", &[Signal::SIGHUP]);
            let charter = checked.charter().clone();
            supervisor::end_child(sandbox::serve_as_monitor(charter, tree, lines, || {
                reload::reload(checked, notifier)
            }))
        },
    )?;
    let (given, gate_end, monitor_end) = given;
    let Given {
        tree,
        sockets,
        admin,
    } = given;
    drop((monitor_end, admin));
    let given = (tree, gate_end, sockets);
    let (gate, given) = fork_with(&one_thread, given, |(tree, gate_end, sockets)| {
        // The lock on the daemon's cgroup stays with supervisor and monitor.
        drop(tree);
        supervisor::begin_child(c"sg-gate", &[]);
        supervisor::end_child(gate::run(checked, gate_end, sockets, notifier))
    })?;
    let (tree, gate_end, sockets) = given;
    drop((gate_end, sockets));
    let family = supervisor::Family {
        monitor,
        gate,
        tree,
    };
    supervisor.watch(&family, checked.config().manners.drain, notifier)
}

/// The directory of a file, for making it.
fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// An error and its sources on one line, each once.
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
