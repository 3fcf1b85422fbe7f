//! Which sandbox a connection gets: its own, or one that it shares, and how long that one stays.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::guest::StartError;
use super::presence::{Occupied, Presence};
use crate::config::{Scope, Sharing};
use crate::egress::Gateway;
use crate::model::{Fingerprint, Holder, Kind, Roster, SandboxId, SessionId, Subject};
use crate::policy::Principal;
use crate::sandbox::{Lease, Monitor};

/// How long before a sandbox's end its terminals are warned.
const WARNING: Duration = Duration::from_secs(60);

/// The sandboxes that connections share.
#[derive(Default)]
pub struct Tenancies {
    shared: Mutex<HashMap<Tenant, Arc<Place>>>,
}

/// For whom a sandbox is shared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Tenant {
    kind: Kind,
    /// In the scope `key`.
    key: Option<Fingerprint>,
}

/// A place for one sandbox at a time.
pub(super) struct Place {
    kind: Kind,
    /// Whose it is where it is one key's alone.
    key: Option<Fingerprint>,
    sharing: Sharing,
    current: tokio::sync::Mutex<Option<Arc<Sandbox>>>,
    /// Connections that may use it.
    guests: Presence,
    /// Sessions that run in it, and forwarded connections.
    uses: Presence,
    visitors: Mutex<HashMap<u64, Presence>>,
}

/// Why a sandbox ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Gone,
    Deserted,
    Idle,
    Old,
}

impl End {
    fn reason(self) -> &'static str {
        match self {
            Self::Gone => "it was ended, or its init was",
            Self::Deserted => "nobody is connected",
            Self::Idle => "nobody uses it",
            Self::Old => "it is too old",
        }
    }
}

/// A leased sandbox whose egress is served.
pub(super) struct Sandbox {
    lease: Lease,
    roster: Arc<Roster>,
    _proxy: AbortOnDropHandle<()>,
}

/// A connection's right to a place, counted for as long as it is there.
pub(super) struct Stay {
    tenancies: Arc<Tenancies>,
    place: Arc<Place>,
    number: u64,
    /// `None` only while it is dropped.
    counted: Option<Occupied>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tenancies {
    /// The place for a connection by this key.
    pub(super) fn stay(
        self: &Arc<Self>,
        kind: Kind,
        key: Fingerprint,
        sharing: Sharing,
        visitor: Presence,
    ) -> Stay {
        let tenant = match sharing.scope {
            Scope::Connection => {
                let place = Arc::new(Place::new(kind, Some(key), sharing));
                return Stay::new(Arc::clone(self), place, visitor);
            }
            Scope::Login => Tenant { kind, key: None },
            Scope::Key => Tenant {
                kind,
                key: Some(key),
            },
        };
        let mut shared = lock(&self.shared);
        let place = shared.entry(tenant).or_insert_with_key(|tenant| {
            Arc::new(Place::new(tenant.kind.clone(), tenant.key.clone(), sharing))
        });
        // Counted under the lock: a place is forgotten under it, too, and only while nobody is counted.
        Stay::new(Arc::clone(self), Arc::clone(place), visitor)
    }

    /// Forgets a place with nobody and nothing in it. Where its sandbox cannot be looked at, somebody is about
    /// to change it, and comes here after that.
    fn forget(&self, place: &Arc<Place>) {
        let mut shared = lock(&self.shared);
        let empty = || {
            place
                .current
                .try_lock()
                .is_ok_and(|current| current.is_none())
        };
        if !place.guests.in_use() && empty() {
            shared.retain(|_, known| !Arc::ptr_eq(known, place));
        }
    }
}

impl Place {
    fn new(kind: Kind, key: Option<Fingerprint>, sharing: Sharing) -> Self {
        Self {
            kind,
            key,
            sharing,
            current: tokio::sync::Mutex::default(),
            guests: Presence::new(),
            uses: Presence::new(),
            visitors: Mutex::default(),
        }
    }

    /// On whose behalf its sandbox runs.
    fn subject(&self, sandbox: SandboxId, roster: &Arc<Roster>) -> Subject {
        Subject {
            sandbox,
            kind: self.kind.clone(),
            holder: match &self.key {
                Some(key) => Holder::Key(key.clone()),
                None => Holder::Sessions(Arc::clone(roster)),
            },
        }
    }

    async fn settle(&self, monitor: &Monitor, gateway: &Gateway) -> Result<Sandbox, StartError> {
        let asked = Instant::now();
        let mut lease = monitor.lease(&self.kind).await.map_err(StartError::Lease)?;
        let listener = lease
            .take_listener()
            .ok_or(StartError::Listener(lease.id()))?;
        lease.take(self.key.clone());
        let roster = Arc::new(Roster::default());
        let subject = self.subject(lease.id(), &roster);
        let proxy = gateway
            .start_proxy(subject, listener)
            .map_err(StartError::Proxy)?;
        let microseconds = asked.elapsed().as_micros();
        tracing::debug!(sandbox = %lease.id(), microseconds, "sandbox ready");
        Ok(Sandbox {
            lease,
            roster,
            _proxy: proxy,
        })
    }

    /// Whether it still is so: somebody may have come at the last moment.
    fn stands(&self, end: End) -> bool {
        match end {
            End::Gone | End::Old => true,
            End::Deserted => !self.guests.in_use(),
            End::Idle => !self.uses.in_use(),
        }
    }

    async fn aged(&self, max_age: Option<Duration>) {
        let Some(age) = max_age else {
            return std::future::pending().await;
        };
        let end = Instant::now() + age;
        let warning = WARNING.min(age / 2);
        sleep_until(end.checked_sub(warning).unwrap_or(end)).await;
        for visitor in lock(&self.visitors).values() {
            let seconds = warning.as_secs();
            visitor.tell(format!(
                "this sandbox ends in {seconds} s, with all that runs in it: it is too old"
            ));
        }
        sleep_until(end).await;
    }
}

async fn unused(presence: &Presence, limit: Option<Duration>) {
    match limit {
        Some(limit) => presence.unused(limit).await,
        None => std::future::pending().await,
    }
}

/// Keeps a sandbox for as long as its terms allow.
async fn keep(tenancies: Arc<Tenancies>, place: Arc<Place>, sandbox: Arc<Sandbox>) {
    let Sharing {
        linger,
        idle,
        max_age,
        ..
    } = place.sharing;
    let mut aged = pin!(place.aged(max_age));
    let why = loop {
        let end = tokio::select! {
            () = sandbox.lease.ended() => End::Gone,
            () = place.guests.unused(linger) => End::Deserted,
            () = unused(&place.uses, idle) => End::Idle,
            () = aged.as_mut() => End::Old,
        };
        // Who comes is counted before asking for the sandbox: from here on for another.
        let mut current = place.current.lock().await;
        if !place.stands(end) {
            continue;
        }
        let is_this = |current: &Arc<Sandbox>| Arc::ptr_eq(current, &sandbox);
        if current.as_ref().is_some_and(is_this) {
            *current = None;
        }
        break end.reason();
    };
    let id = sandbox.lease.id();
    tracing::info!(sandbox = %id, kind = %place.kind, reason = why, "sandbox ended");
    sandbox.lease.end();
    tenancies.forget(&place);
}

impl Stay {
    fn new(tenancies: Arc<Tenancies>, place: Arc<Place>, visitor: Presence) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        lock(&place.visitors).insert(number, visitor);
        Self {
            counted: Some(place.guests.occupy()),
            tenancies,
            place,
            number,
        }
    }

    /// The sandbox that is there, or a new one. Whoever asks at the same time waits for the same.
    pub(super) async fn sandbox(
        &self,
        monitor: &Monitor,
        gateway: &Gateway,
    ) -> Result<Arc<Sandbox>, StartError> {
        let mut current = self.place.current.lock().await;
        if let Some(sandbox) = current.as_ref().filter(|sandbox| sandbox.lease.lives()) {
            return Ok(Arc::clone(sandbox));
        }
        let sandbox = Arc::new(self.place.settle(monitor, gateway).await?);
        *current = Some(Arc::clone(&sandbox));
        let Sharing {
            scope,
            idle,
            max_age,
            ..
        } = self.place.sharing;
        if scope != Scope::Connection || idle.is_some() || max_age.is_some() {
            let (tenancies, place) = (Arc::clone(&self.tenancies), Arc::clone(&self.place));
            tokio::spawn(keep(tenancies, place, Arc::clone(&sandbox)));
        }
        Ok(sandbox)
    }

    /// The sandbox that is there, if it lives.
    pub(super) async fn standing(&self) -> Option<Arc<Sandbox>> {
        let current = self.place.current.lock().await;
        current
            .as_ref()
            .filter(|sandbox| sandbox.lease.lives())
            .map(Arc::clone)
    }

    /// Counts as use of its sandboxes until the guard is dropped.
    pub(super) fn occupy(&self) -> Occupied {
        self.place.uses.occupy()
    }
}

impl Sandbox {
    /// Notes whose a session is.
    pub(super) fn enter(&self, session: SessionId, principal: &Principal) {
        self.roster.enter(session, principal.key().clone());
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        lock(&self.place.visitors).remove(&self.number);
        drop(self.counted.take());
        self.tenancies.forget(&self.place);
    }
}

impl std::ops::Deref for Sandbox {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LoginName;

    #[test]
    fn who_comes_at_the_last_moment_keeps_the_sandbox() {
        let kind = Kind {
            login: LoginName::try_from("sandbox".to_owned()).unwrap(),
            definition: None,
        };
        let place = Place::new(kind, None, Sharing::default());
        assert!(place.stands(End::Deserted) && place.stands(End::Idle));
        let guest = place.guests.occupy();
        assert!(!place.stands(End::Deserted) && place.stands(End::Idle));
        let session = place.uses.occupy();
        assert!(!place.stands(End::Idle));
        assert!(place.stands(End::Old) && place.stands(End::Gone));
        drop((guest, session));
        assert!(place.stands(End::Deserted) && place.stands(End::Idle));
    }
}
