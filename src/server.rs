//! Wiring: from a configuration to the processes of a running server.
//!
//! ```text
//! serve (root; waits, and clears up) ─┬─ keeper (root: secrets, where there are any or may be)
//!                                     ├─ judge (unprivileged: evaluates an operator's rules)
//!                                     ├─ bundle (root: gets policies, where they come from one)
//!                                     ├─ monitor (root, one thread, no network)
//!                                     └─ gate (unprivileged: SSH, policy, egress)
//! ```

use std::convert::Infallible;
use std::ffi::CString;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sys::signal::Signal;

use crate::admin::{self, Place};
use crate::config::{Activation, Config, Home, PolicySource, Root, Source};
use crate::policy::Rules;
use crate::policy::bundle::Contents;
use crate::sandbox::{self, BundleListener, CapabilityError, Channel, Footing, Lines, Tree, Wants};
use crate::sys;
use crate::sys::clone::{Child, SingleThreaded, fork_with};
use claim::Claim;
use rootless::Rootless;

mod bundle;
mod check;
mod claim;
pub mod doctor;
mod files;
mod gate;
mod handover;
mod inference;
mod inspection;
mod judge;
mod keeper;
mod keeps;
mod key_files;
mod keys;
mod launch;
mod notify;
mod providers;
mod reload;
mod rootless;
mod supervisor;
mod texts;
mod watch;

pub use check::{CheckError, Checked};
pub use claim::ClaimError;
pub use judge::{Beside, beside, memory as rules_memory};
pub use keys::sift as sift_host_keys;
pub use launch::{Entrance, Ground, Hangup, Launch};
pub use rootless::RootlessError;

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An ordinary user can't serve here.
    #[error("rootless: {0}")]
    Rootless(#[from] RootlessError),
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
    /// Another daemon has ids of this one's.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// Root could ask nothing.
    #[error("admin: cannot listen on {}: {source}; name another path", path.display())]
    Admin {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Root's powers are not all there.
    #[error("sandgate serve as root needs a few capabilities: {0}")]
    Capabilities(#[from] CapabilityError),
    /// The daemon's cgroup can't be made.
    #[error("cgroups: {source}{}", sandbox::cgroup_mend(source).map(|mend| format!(": {mend}")).unwrap_or_default())]
    Cgroup {
        /// Why not.
        source: std::io::Error,
    },
    /// What this process runs in refuses what sandboxes are made by.
    #[error(transparent)]
    Rehearsal(#[from] sandbox::RehearsalError),
    /// The processes can't be started or waited for.
    #[error("{step}: {source}")]
    Process {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// What is logged unless somebody asks for more or less.
pub const LOG: &str = "info,russh=warn";

/// Operators' messages go to standard error; RUST_LOG selects them, and `otherwise` where it is not set.
pub fn log_to_stderr(otherwise: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(otherwise));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .init();
}

/// Serves until a signal or a failure ends it. Everything that can be checked is checked before any
/// process, socket or thread exists; until then `launch` is left as it is, its connection open.
pub fn serve(
    config: Config,
    activation: &Activation,
    launch: &mut Launch,
) -> Result<ExitCode, ServerError> {
    let wrong = |step| move |source| ServerError::Process { step, source };
    let sockets = notify::take_sockets(activation.sockets).map_err(wrong("systemd's sockets"))?;
    let notifier =
        notify::Notifier::connect(activation.notify.as_deref()).map_err(wrong("NOTIFY_SOCKET"))?;
    let usual = admin::usual(activation.runtime.as_deref());
    let (config, footing) = if rustix::process::geteuid().is_root() {
        (config, Footing::Root)
    } else {
        let user = Rootless::survey(&config, activation)?;
        user.enter()?;
        for weaker in user.weaker() {
            tracing::warn!("rootless: {weaker}");
        }
        (user.settle(config), user.footing())
    };
    let versions = watch::Versions::before_reading(&config);
    sandbox::require_capabilities(wants(&config, !sockets.is_empty()))?;
    if footing == Footing::Root {
        sandbox::rehearse()?;
    }
    let who = bundle::Who::of(&config, footing).map_err(CheckError::from)?;
    let (checked, started) = bundle::settle(&config, &who, |bundle| {
        check::check_on(config.clone(), footing, bundle)
    })?;
    if let Some(started) = &started {
        bundle::keep(&config, started)?;
    }
    for warning in checked.warnings() {
        tracing::warn!("{warning}");
    }
    keys::make_missing(checked.config())?;
    let damaged = keeps::grow(&checked)?;
    let checked = checked.without(damaged);
    let ground = launch.ground;
    let run = |served| {
        let (claim, checked) = claimed(checked, launch)?;
        let controllers = &checked.charter().holders.controllers;
        let tree = Tree::create(controllers).map_err(|source| ServerError::Cgroup { source })?;
        let configured = checked.config().admin.clone();
        let (place, admin) =
            Place::open(configured.as_deref(), &usual).map_err(|source| ServerError::Admin {
                path: configured.unwrap_or(usual),
                source,
            })?;
        tracing::debug!(socket = %place.path().display(), "root may ask for sandboxes");
        let given = Given {
            tree,
            claim,
            sockets,
            admin,
        };
        let plan = Plan {
            checked,
            notifier: &notifier,
            served,
            bundle: started.map(|started| (who, started)),
            versions,
        };
        let ended = start(plan, given, std::mem::take(launch)).map_err(wrong("start"));
        place.close();
        ended
    };
    match ground {
        Ground::Foreground => run(None),
        Ground::Background => {
            launch::detach(|served| run(Some(served))).map_err(wrong("go to the background"))
        }
    }
}

/// Sees to it that no other daemon has this one's ids. A user's are the user's, by the host's subordinate ones.
fn claimed(checked: Checked, launch: &Launch) -> Result<(Option<Claim>, Checked), ClaimError> {
    let uids = checked.config().uids;
    match (checked.charter().footing, &launch.entrance) {
        (Footing::Subordinate | Footing::OneId, _) => Ok((None, checked)),
        (Footing::Root, Entrance::Listeners) => Ok((Some(Claim::all(uids)?), checked)),
        (Footing::Root, Entrance::One(_)) => {
            let (claim, part) = Claim::part(uids)?;
            Ok((Some(claim), checked.with_uids(part)))
        }
    }
}

/// Loads what the configuration names and asks the kernel what it can enforce, as whoever asks would serve.
pub fn check(config: Config, activation: &Activation) -> Result<Checked, ServerError> {
    if rustix::process::geteuid().is_root() {
        return Ok(check_in(&config, Footing::Root)?);
    }
    let user = Rootless::survey(&config, activation)?;
    let footing = user.footing();
    Ok(check_in(&user.settle(config), footing)?)
}

/// The same where it is known on what. A bundle is fetched for it, and not kept.
fn check_in(config: &Config, footing: Footing) -> Result<Checked, CheckError> {
    let who = bundle::Who::of(config, footing)?;
    let settled = bundle::settle(config, &who, |bundle| {
        check::check_on(config.clone(), footing, bundle)
    });
    settled.map(|(checked, _)| checked)
}

/// What judges, and a policy's name and text; a bundle is fetched for that, and not kept.
pub fn policy(config: &Config, source: Option<&PolicySource>) -> Result<Named, CheckError> {
    let read = |bundle: Option<&Contents>| {
        let named = source.map(|source| check::policy_text(source, bundle));
        Ok((check::rules(config, bundle)?, named.transpose()?))
    };
    if config.bundle.is_none() {
        return read(None);
    }
    let who = bundle::Who::of(config, Footing::Root)?;
    bundle::settle(config, &who, read).map(|(named, _)| named)
}

/// Rules, and a policy's name and text where it is not the built-in one.
pub type Named = (Rules, Option<(String, String)>);

/// What takes more capabilities than every configuration does. Ports may be kept for who has one (ip(7),
/// ip_unprivileged_port_start).
fn wants(config: &Config, given: bool) -> Wants {
    let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let start = start.ok().and_then(|text| text.trim().parse().ok());
    let low = |address: &SocketAddr| address.port() < start.unwrap_or(1024);
    let kinds = config.kinds();
    let files = || kinds.values().map(|login| &login.sandbox.files);
    Wants {
        low_ports: !given && config.listen.iter().any(low),
        devices: files().any(|files| !files.devices.is_empty()),
        files: files().any(|files| {
            files.root != Root::Host || files.home != Home::default() || !files.denied.is_empty()
        }),
        changes: files().any(|files| files.changes.is_some()),
    }
}

/// What all processes know.
struct Plan<'a> {
    checked: Checked,
    notifier: &'a notify::Notifier,
    /// Gets a byte once clients are served.
    served: Option<OwnedFd>,
    /// The bundle that policies come from.
    bundle: Option<(bundle::Who, bundle::Started)>,
    /// What the files were before they were read.
    versions: watch::Versions,
}

/// What the processes get that is opened before them.
struct Given {
    tree: Tree,
    /// The supervisor's alone.
    claim: Option<Claim>,
    /// systemd's.
    sockets: Vec<(SocketAddr, socket2::Socket)>,
    /// The listener for root's questions.
    admin: OwnedFd,
}

fn start(plan: Plan<'_>, given: Given, launch: Launch) -> std::io::Result<ExitCode> {
    let Plan {
        checked,
        notifier,
        served,
        bundle,
        versions,
    } = plan;
    let one_thread = SingleThreaded::prove()?;
    let life = launch.life();
    let supervisor = supervisor::Supervisor::prepare(life)?;
    let (given, keeper, secrets) = start_keeper(&one_thread, (checked.config(), life), given)?;
    let (given, secrets, judge, court) = start_judge(&one_thread, &checked, (given, secrets))?;
    let contents = bundle
        .as_ref()
        .map(|(_, started)| started.held.contents.clone());
    let given = (given, secrets, court);
    let (given, bundler, listener) = start_bundler(&one_thread, checked.config(), given, bundle)?;
    let (given, secrets, court) = given;
    let (gate_end, monitor_end) = Channel::pair()?;
    let (ready, say_ready) = launch::signpost()?;
    let (trust, say_trust) = launch::signpost()?;
    let door = gate::Threshold {
        sockets: given.sockets,
        entrance: launch.entrance,
        ready: say_ready,
        trust: say_trust,
        secrets,
        court,
    };
    let lines = Lines {
        gate: monitor_end,
        trust,
        admin: given.admin,
        bundle: listener,
    };
    let kept = (given.tree, given.claim);
    let monitors = checked.charter().footing.monitors_namespaces();
    let given = (kept, gate_end, lines, door, checked);
    let (monitor, given) = fork_with(&one_thread, monitors, given, |given| {
        let ((tree, claim), gate_end, lines, door, checked) = given;
        drop((claim, gate_end, door));
        supervisor::begin_child(c"sg-monitor", &[Signal::SIGHUP]);
        be_monitor(checked, (tree, lines), (notifier, contents))
    })?;
    let (kept, gate_end, lines, door, checked) = given;
    drop(lines);
    let given = (kept, gate_end, door);
    let (gate, given) = fork_with(&one_thread, 0, given, |(kept, gate_end, door)| {
        // The lock on the daemon's cgroup stays with supervisor and monitor.
        drop(kept);
        supervisor::begin_child(c"sg-gate", &[]);
        supervisor::end_child(gate::run(&checked, gate_end, door, notifier))
    })?;
    let ((tree, _claim), gate_end, door) = given;
    // The connection, if there is one, ends with the gate.
    drop((gate_end, door));
    sandbox::keep_supervisors().map_err(std::io::Error::other)?;
    let _pid_file = launch::tell(&ready, launch.pid_file, served.as_ref())?;
    let config = checked.config();
    let watches = config.reloading.watch && reloads(config, life);
    let files = watches.then(|| watch::Watch::open(config, versions));
    let family = supervisor::Family {
        monitor,
        gate,
        keeper,
        bundler,
        judge,
        tree,
        files: files.transpose()?,
    };
    supervisor.watch(family, checked.config().manners.drain, notifier)
}

/// The monitor keeps of what was checked what it needs: each fork of its copies all that is left.
fn be_monitor(
    checked: Checked,
    (tree, lines): (Tree, Lines),
    (notifier, bundle): (&notify::Notifier, Option<Contents>),
) -> Infallible {
    if let Err(error) = sandbox::settle_monitor(checked.charter().footing) {
        supervisor::end_child(Err(error));
    }
    if let Err(error) = sandbox::keep_monitors(wants(checked.config(), false)) {
        supervisor::end_child(Err(error));
    }
    if let Err(error) = sys::memory::share_constants() {
        supervisor::end_child(Err(error));
    }
    let (config, charter) = checked.into_parts();
    let mut reloader = reload::Reloader::new((config, charter.holders.clone()), notifier, bundle);
    supervisor::end_child(sandbox::serve_as_monitor(
        charter,
        tree,
        lines,
        |occasion| reloader.reload(occasion),
    ))
}

/// Starts the process that has the secrets, where there are any or a reload may bring some, before the others: these
/// are forked from a process whose environment has none.
fn start_keeper(
    one_thread: &SingleThreaded,
    (config, life): (&Config, launch::Life),
    given: Given,
) -> std::io::Result<(Given, Option<Child>, Option<UnixStream>)> {
    if config.providers.is_empty() && !reloads(config, life) {
        return Ok((given, None, None));
    }
    let supervisor = rustix::process::getpid();
    let (secrets, say_secrets) = UnixStream::pair()?;
    secrets.set_nonblocking(true)?;
    let given = (given, secrets, say_secrets);
    let (keeper, (given, secrets, _)) = fork_with(
        one_thread,
        0,
        given,
        |(Given { tree, claim, .. }, secrets, say_secrets)| {
            drop((secrets, claim));
            supervisor::begin_child(c"sg-keeper", &[Signal::SIGHUP]);
            let kept = keeper::run(config, &tree, &say_secrets, supervisor);
            supervisor::end_child(kept)
        },
    )?;
    let sources = config.providers.values().flat_map(|p| p.secrets.values());
    for source in sources {
        if let Source::Environment(name) = source {
            sys::environment::wipe(one_thread, &CString::new(name.as_str())?);
        }
    }
    Ok((given, Some(keeper), Some(secrets)))
}

/// Starts the process that evaluates an operator's rules, which may come by a reload. It has none of what the
/// others have.
fn start_judge(
    one_thread: &SingleThreaded,
    checked: &Checked,
    given: (Given, Option<UnixStream>),
) -> std::io::Result<(Given, Option<UnixStream>, Child, UnixStream)> {
    let supervisor = rustix::process::getpid();
    let footing = checked.charter().footing;
    let account = judge::account(checked.config(), footing);
    let (court, far) = UnixStream::pair()?;
    let given = (given, court, far);
    let (child, (given, court, _)) = fork_with(one_thread, 0, given, |(given, court, far)| {
        drop((given, court));
        supervisor::begin_child(c"sg-judge", &[]);
        supervisor::end_child(judge::run(far, account, footing, supervisor))
    })?;
    let (given, secrets) = given;
    Ok((given, secrets, child, court))
}

/// With the gate's ends of its lines to keeper and judge.
type Inherited = (Given, Option<UnixStream>, UnixStream);

/// Starts the process that gets bundles, where policies come from one. It holds none of what others serve with.
fn start_bundler(
    one_thread: &SingleThreaded,
    config: &Config,
    given: Inherited,
    bundle: Option<(bundle::Who, bundle::Started)>,
) -> std::io::Result<(Inherited, Option<Child>, Option<BundleListener>)> {
    let (Some(settings), Some((who, started))) = (&config.bundle, bundle) else {
        return Ok((given, None, None));
    };
    let supervisor = rustix::process::getpid();
    let (teller, listener) = sandbox::bundle_line()?;
    let given = (given, teller, listener, who, started);
    let (bundler, (given, _, listener, ..)) = fork_with(
        one_thread,
        0,
        given,
        |(given, teller, listener, who, started)| {
            drop((given, listener));
            supervisor::begin_child(c"sg-bundle", &[Signal::SIGHUP]);
            let courier = bundle::Courier::new(settings, who, teller, started);
            supervisor::end_child(bundle::run(courier, supervisor))
        },
    )?;
    Ok((given, Some(bundler), Some(listener)))
}

/// Whether there is a configuration, and SIGHUP would read it.
fn reloads(config: &Config, life: launch::Life) -> bool {
    config.client_key.is_none() && life == launch::Life::Service(Hangup::Reload)
}

/// The directory of a file.
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
