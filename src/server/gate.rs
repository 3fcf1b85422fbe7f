//! The gate: the network-facing process, unprivileged before its first byte from outside.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::process::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::check::Checked;
use super::judge::Court;
use super::launch::{self, Entrance};
use super::notify::{Notifier, State};
use super::texts::Texts;
use super::{handover, inference, inspection, keys, reload, supervisor};
use crate::audit::{self, Event, Trail};
use crate::config::{Config, Network, OnFailure};
use crate::egress::{Bindings, Door, Gateway, Inspector, Parent, Resolver, Secrets, Whois};
use crate::model::{Generation, Kind};
use crate::policy::{Codes, Snapshot};
use crate::sandbox::{
    self, Account, Attached, Channel, Filter, LandlockError, Monitor, PrivilegeError, Renewal,
    SeccompError,
};
use crate::ssh::{self, Host, SpillDir};

/// The policy that allows nothing out.
const NOTHING: &str = "version: 1\n";

/// Why the gate did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum GateError {
    #[error("{what}: {source}")]
    Open {
        what: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    #[error(transparent)]
    Landlock(#[from] LandlockError),
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    #[error("the monitor: {0}")]
    Monitor(String),
    #[error("the keeper of secrets: {0}")]
    Keeper(io::Error),
    #[error("what evaluates the rules: {0}")]
    Judge(io::Error),
    #[error("the rules: {0}")]
    Rules(String),
    #[error(transparent)]
    Serve(#[from] ssh::ServeError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What root opens and the gate uses.
struct Opened {
    listeners: Vec<(SocketAddr, socket2::Socket)>,
    identity: ssh::Identity,
    trail: Trail,
    spill: SpillDir,
    resolver: Resolver,
    inspector: Inspector,
    parent: Option<Parent>,
}

/// Where clients come from, and whom to tell that they are served.
pub(super) struct Threshold {
    pub(super) sockets: Vec<(SocketAddr, socket2::Socket)>,
    pub(super) entrance: Entrance,
    pub(super) ready: OwnedFd,
    /// Where the monitor reads what sandboxes trust.
    pub(super) trust: OwnedFd,
    /// Where the keeper tells the secrets, if there are any.
    pub(super) secrets: Option<UnixStream>,
    /// Where chambers are asked for.
    pub(super) court: UnixStream,
}

/// Runs the gate in its own process until a signal, or the monitor's end, ends it.
pub(super) fn run(
    checked: &Checked,
    channel: Channel,
    threshold: Threshold,
    notifier: &Notifier,
) -> Result<(), GateError> {
    let Threshold {
        sockets,
        entrance,
        ready,
        trust,
        secrets,
        court,
    } = threshold;
    let parent =
        rustix::process::getppid().ok_or_else(|| io::Error::other("the supervisor is gone"))?;
    let opened = open(checked.config(), sockets)?;
    inspection::tell(&opened.inspector, trust)?;
    // Now, since a quota is in files that are out of sight later.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    give_up_root(checked, &opened.spill, parent)?;
    // Threads start here and not before: they inherit all of the above.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors)
        .enable_all()
        .thread_name("sg-gate")
        .build()?;
    let say_ready = || {
        notifier.tell(State::Ready);
        let said = launch::say(&ready);
        drop(ready);
        said
    };
    let ends = Ends {
        channel,
        keeper: secrets,
        court: Court::new(court),
        entrance,
        processors,
    };
    runtime.block_on(serve(checked, opened, ends, say_ready))
}

/// Sockets that were handed over are taken instead of those that the configuration names.
fn open(config: &Config, sockets: Vec<(SocketAddr, socket2::Socket)>) -> Result<Opened, GateError> {
    let wrong = |what: String| {
        move |source: Box<dyn std::error::Error + Send + Sync>| GateError::Open { what, source }
    };
    let mut listeners = sockets;
    if listeners.is_empty() {
        for address in &config.listen {
            let socket = bind(*address)
                .map_err(|e| wrong(format!("cannot listen on {address}"))(e.into()))?;
            listeners.push((*address, socket));
        }
    }
    let mut identity = ssh::Identity::default();
    for path in &config.host_keys {
        let key = keys::read(path).map_err(wrong(format!("host key {}", path.display())))?;
        identity.keys.push(key);
    }
    for path in &config.host_certificates {
        let certificate = keys::read_certificate(path, &identity.keys)
            .map_err(wrong(format!("host certificate {}", path.display())))?;
        identity.certificates.push(certificate);
    }
    Ok(Opened {
        listeners,
        identity,
        trail: Trail::open(config.audit.as_deref()).map_err(|e| wrong("audit".into())(e.into()))?,
        spill: SpillDir::open(&config.spill).map_err(|e| wrong("spill".into())(e.into()))?,
        resolver: Resolver::from_system().map_err(|e| wrong("resolver".into())(e.into()))?,
        inspector: inspection::open(&config.inspection)
            .map_err(|e| wrong("inspection".into())(e.into()))?,
        parent: (config.egress.upstream_proxy.as_ref())
            .map(Parent::read)
            .transpose()
            .map_err(|e| wrong("egress.upstream_proxy".into())(e.into()))?,
    })
}

/// Takes the port without opening it: connections are refused until `listen`, which comes when the
/// sandboxes are there.
fn bind(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the last connections' TIME_WAIT (socket(7)).
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Own uid, no capability, no new privileges, own Landlock and seccomp; for good.
fn give_up_root(checked: &Checked, spill: &SpillDir, parent: Pid) -> Result<(), GateError> {
    let own = checked.config().uids.gate;
    sandbox::forbid_core_dumps()?;
    sandbox::raise_open_files()?;
    let account = Account { uid: own, gid: own };
    sandbox::drop_to(account, checked.charter().footing)?;
    // After the change of ids, which clears it; before the filter, which would refuse it.
    supervisor::die_with(parent)?;
    sandbox::hide_memory()?;
    sandbox::enforce(checked.charter().kernel.gate(spill)?)?;
    Filter::gate()?.apply()?;
    Ok(())
}

/// Whom the gate talks to.
struct Ends {
    channel: Channel,
    keeper: Option<UnixStream>,
    court: Court,
    entrance: Entrance,
    processors: usize,
}

async fn serve(
    checked: &Checked,
    opened: Opened,
    ends: Ends,
    say_ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), GateError> {
    let config = checked.config();
    let Attached {
        monitor,
        lost,
        mut reloads,
    } = Monitor::attach(ends.channel, ends.processors)?;
    let mut lost = tokio::spawn(lost);
    monitor
        .fill_pools(pools(config).filter(|(kind, _)| checked.is_whole(kind)))
        .await
        .map_err(|refusal| GateError::Monitor(refusal.to_string()))?;
    let trail = Arc::new(opened.trail);
    let (secrets, mut keeper) = secrets(config, ends.keeper).await?;
    let court = ends.court;
    let mut judge = tokio::spawn(court.attend()?);
    let outside = Outside {
        resolver: opened.resolver,
        inspector: opened.inspector,
        parent: opened.parent,
        secrets,
    };
    let host = Host {
        config: config.clone(),
        transport: ssh::Transport::new(config, &opened.identity),
        codes: Arc::new(Codes::default()),
        banner: checked.texts().banner.clone(),
        motd: checked.texts().motd.clone(),
        monitor: monitor.clone(),
        trail: Arc::clone(&trail),
        spill: Arc::new(opened.spill),
        tenancies: Arc::default(),
        gateway: Arc::new(gateway(checked, &court, (trail, monitor), outside)?),
    };
    let (addresses, listeners): (Vec<_>, Vec<_>) = opened.listeners.into_iter().unzip();
    let listeners = listeners
        .into_iter()
        .map(listen)
        .collect::<io::Result<Vec<_>>>()?;
    announce(config, &addresses);
    say_ready()?;
    let ending = ssh::Ending::default();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (hosts, latest) = watch::channel(Arc::new(host));
    let mut generation = Generation(1);
    let end = ending.clone();
    let serving = async {
        match ends.entrance {
            Entrance::Listeners => ssh::serve(listeners, latest, end).await,
            Entrance::One(wire) => {
                let host = Arc::clone(&latest.borrow());
                ssh::serve_one(wire, host, end).await
            }
        }
    };
    tokio::pin!(serving);
    loop {
        tokio::select! {
            served = &mut serving => return Ok(served?),
            ended = &mut lost => return Err(GateError::Monitor(ended.map_or_else(|e| e.to_string(), |lost| lost.to_string()))),
            gone = &mut keeper => return Err(GateError::Keeper(gone.unwrap_or_else(io::Error::from))),
            gone = &mut judge => return Err(GateError::Judge(gone.unwrap_or_else(io::Error::from))),
            Some(renewal) = reloads.recv() => {
                generation = follow(&hosts, (&opened.identity, &court), renewal, generation);
            }
            _ = terminate.recv() => {
                ending.drain.cancel();
            }
            _ = interrupt.recv() => {
                ending.drain.cancel();
                ending.now.cancel();
            }
        }
    }
}

/// Takes what came of a reload; the generation that holds from here on.
fn follow(
    hosts: &watch::Sender<Arc<Host>>,
    fixed: (&ssh::Identity, &Court),
    renewal: Renewal,
    generation: Generation,
) -> Generation {
    let running = Arc::clone(&hosts.borrow());
    let next = Generation(generation.0 + 1);
    let renewed = match renewal {
        Renewal::Texts(texts) => renew(&running, fixed, texts, next),
        Renewal::Failed(reason) => Err(reason),
    };
    match renewed {
        Ok(host) => {
            host.gateway.bind(bindings(&host.config));
            host.monitor.renew_pools(pools(&host.config));
            // It holds before it is said that it does.
            let host = Arc::new(host);
            hosts.send_replace(Arc::clone(&host));
            write_down(&host.trail, next, None);
            tracing::info!(generation = next.0, "configuration reloaded");
            next
        }
        Err(reason) => {
            fail(&running, generation, reason);
            generation
        }
    }
}

/// A host by new texts, for the connections that follow; sandboxes that run follow its policies as well.
fn renew(
    running: &Host,
    (identity, court): (&ssh::Identity, &Court),
    texts: OwnedFd,
    generation: Generation,
) -> Result<Host, String> {
    let texts = Texts::read(texts).map_err(|error| error.to_string())?;
    let (config, _) =
        reload::renewed(&running.config, &texts.config).map_err(|error| error.to_string())?;
    let policies = court.policies(&texts, &config, generation)?;
    running.gateway.renew_inference(inference::book(&config));
    Ok(Host {
        transport: ssh::Transport::new(&config, identity),
        codes: Arc::clone(&running.codes),
        banner: texts.banner,
        motd: texts.motd,
        monitor: running.monitor.clone(),
        trail: Arc::clone(&running.trail),
        spill: Arc::clone(&running.spill),
        tenancies: Arc::clone(&running.tenancies),
        gateway: Arc::new(running.gateway.renewed(&policies)),
        config,
    })
}

/// What is new is bad: what was there stays, without a way out where the operator says so.
fn fail(running: &Host, generation: Generation, reason: String) {
    let denied = match running.config.reloading.on_failure {
        OnFailure::Keep => Ok(false),
        OnFailure::Deny => Snapshot::parse("nothing", NOTHING, generation).map(|nothing| {
            running.gateway.shut(&Arc::new(nothing));
            true
        }),
    };
    match denied {
        Ok(false) => tracing::error!(reason, "the new configuration was not taken"),
        Ok(true) => tracing::error!(
            reason,
            "the new configuration was not taken; until a good one comes nothing leaves a sandbox (reload.on_failure)"
        ),
        Err(error) => {
            let error = super::explain(&error);
            tracing::error!(reason, error, "egress could not be shut");
        }
    }
    write_down(&running.trail, generation, Some(reason));
}

/// A trail that takes nothing keeps nobody from being served as before: each decision has to go there first.
fn write_down(trail: &Trail, generation: Generation, reason: Option<String>) {
    let taken = reason.is_none();
    let event = Event::Reload(audit::Reload {
        taken,
        generation,
        reason,
    });
    if let Err(error) = trail.record(&event) {
        tracing::error!(%error, taken, "a reload is not in the audit trail");
    }
}

/// How many sandboxes of each kind wait. None of one whose changes are kept, or that enters a namespace of somebody
/// else's: one at a time has them.
fn pools(config: &Config) -> impl Iterator<Item = (Kind, usize)> {
    config.kinds().into_iter().map(|(kind, login)| {
        let sandbox = &login.sandbox;
        let single = sandbox.files.changes.is_some() || sandbox.network != Network::Own;
        (kind, if single { 0 } else { config.pool })
    })
}

/// The secrets as the keeper tells them, and what ends with it.
async fn secrets(
    config: &Config,
    keeper: Option<UnixStream>,
) -> Result<(Arc<Secrets>, JoinHandle<io::Error>), GateError> {
    let secrets = Arc::new(Secrets::default());
    secrets.bind(bindings(config));
    let attending = handover::attend(keeper, Arc::clone(&secrets)).await;
    let gone = tokio::spawn(attending.map_err(GateError::Keeper)?);
    Ok((secrets, gone))
}

/// Which sandboxes may have which secrets put into their requests, and where.
fn bindings(config: &Config) -> Bindings {
    let kinds = config.kinds().into_iter();
    Bindings {
        providers: config.providers.clone(),
        kinds: kinds
            .map(|(kind, login)| (kind, login.sandbox.providers))
            .collect(),
    }
}

fn listen(socket: socket2::Socket) -> io::Result<tokio::net::TcpListener> {
    socket.listen(1024)?;
    tokio::net::TcpListener::from_std(TcpListener::from(socket))
}

/// What connections to the outside are made with.
struct Outside {
    resolver: Resolver,
    inspector: Inspector,
    parent: Option<Parent>,
    secrets: Arc<Secrets>,
}

/// The policies that were checked; under an operator's rules again, now before those who evaluate them.
fn policies(checked: &Checked, court: &Court) -> Result<BTreeMap<Kind, Arc<Snapshot>>, GateError> {
    if checked.texts().rules.are_own() {
        let policies = court.policies(checked.texts(), checked.config(), Generation(1));
        return policies.map_err(GateError::Rules);
    }
    Ok(checked.policies().clone())
}

/// The way out of every login's sandboxes.
fn gateway(
    checked: &Checked,
    court: &Court,
    (trail, monitor): (Arc<Trail>, Monitor),
    outside: Outside,
) -> Result<Gateway, GateError> {
    let whois: Whois = Box::new(move |sandbox, connection| {
        let monitor = monitor.clone();
        Box::pin(async move { monitor.identify(sandbox, connection).await })
    });
    let Outside {
        resolver,
        inspector,
        parent,
        secrets,
    } = outside;
    let door = Door::new(trail, resolver, whois, inspector, secrets)?
        .through(parent)
        .with_inference(inference::book(checked.config()));
    Ok(Gateway::new(door, &policies(checked, court)?))
}

/// The line to type; scripts wait for it.
fn announce(config: &Config, addresses: &[SocketAddr]) {
    for address in addresses {
        let identity = config
            .client_key
            .as_ref()
            .map(|key| format!("-i {} ", key.path.display()))
            .unwrap_or_default();
        for login in config.logins.keys() {
            println!(
                "ready: ssh -p {} {identity}{login}@{}",
                address.port(),
                address.ip()
            );
        }
    }
}
