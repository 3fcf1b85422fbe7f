//! What sources owe for failures: OpenSSH's PerSourcePenalties (sshd_config(5)).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;

use crate::config::Penalties;

/// The most sources that are remembered; beyond, the one that would be forgotten first goes
/// (`max-sources` and `overflow:permissive` of sshd_config(5)).
const SOURCES: usize = 16 * 1024;

/// What a connection did before it ended without a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offence {
    /// Tried to log in, and could not.
    Failed,
    /// Went without trying.
    Silent,
    /// Let its time pass.
    Late,
    /// Is one with whom nobody talks, or wanted to be.
    Unwelcome,
    /// Broke its task.
    Crash,
}

impl Offence {
    fn price(self, penalties: &Penalties) -> Duration {
        match self {
            Self::Failed => penalties.authfail,
            Self::Silent => penalties.noauth,
            Self::Late => penalties.grace_exceeded,
            Self::Unwelcome => penalties.refused,
            Self::Crash => penalties.crash,
        }
    }
}

/// The worst that a connection has done on its way to a login.
#[derive(Debug, Default)]
pub(super) struct Conduct(AtomicU8);

impl Conduct {
    const FAILED: u8 = 1;
    const UNWELCOME: u8 = 2;

    /// An attempt was refused.
    pub(super) fn failed(&self) {
        self.0.fetch_max(Self::FAILED, Ordering::Relaxed);
    }

    /// It wanted to be somebody with whom nobody talks.
    pub(super) fn unwelcome(&self) {
        self.0.fetch_max(Self::UNWELCOME, Ordering::Relaxed);
    }

    /// What it comes to if there is no login any more.
    pub(super) fn offence(&self) -> Offence {
        match self.0.load(Ordering::Relaxed) {
            Self::UNWELCOME => Offence::Unwelcome,
            Self::FAILED => Offence::Failed,
            _ => Offence::Silent,
        }
    }
}

/// Who owes how much time.
#[derive(Debug, Default)]
pub(super) struct Debts(HashMap<IpNet, Debt>);

#[derive(Debug)]
struct Debt {
    until: Instant,
    /// It has once reached the least that counts, and counts until it is over.
    due: bool,
}

impl Debts {
    /// Adds an offence's price to what the source owes.
    pub(super) fn add(
        &mut self,
        penalties: &Penalties,
        source: IpNet,
        address: IpAddr,
        offence: Offence,
        now: Instant,
    ) {
        let price = offence.price(penalties);
        if price.is_zero() || exempt(penalties, address) {
            return;
        }
        self.make_room(source, now);
        let debt = self.0.entry(source).or_insert(Debt {
            until: now,
            due: false,
        });
        if debt.until < now {
            (debt.until, debt.due) = (now, false);
        }
        debt.until = (debt.until + price).min(now + penalties.max);
        let owed = debt.until.duration_since(now);
        if !debt.due && owed >= penalties.min {
            debt.due = true;
            tracing::info!(%source, ?offence, seconds = owed.as_secs(), "source penalized");
        }
    }

    /// Whether the source is to be refused now.
    pub(super) fn refuse(
        &self,
        penalties: &Penalties,
        source: IpNet,
        address: IpAddr,
        now: Instant,
    ) -> bool {
        let due = |debt: &Debt| debt.due && debt.until > now;
        !exempt(penalties, address) && self.0.get(&source).is_some_and(due)
    }

    fn make_room(&mut self, source: IpNet, now: Instant) {
        if self.0.len() < SOURCES || self.0.contains_key(&source) {
            return;
        }
        self.0.retain(|_, debt| debt.until > now);
        let first = self.0.iter().min_by_key(|(_, debt)| debt.until);
        if let Some(first) = first.map(|(source, _)| *source)
            && self.0.len() >= SOURCES
        {
            self.0.remove(&first);
        }
    }
}

fn exempt(penalties: &Penalties, address: IpAddr) -> bool {
    let address = address.to_canonical();
    penalties.exempt.iter().any(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn penalties() -> Penalties {
        Penalties {
            authfail: Duration::from_secs(5),
            noauth: Duration::ZERO,
            grace_exceeded: Duration::from_secs(10),
            refused: Duration::from_secs(30),
            crash: Duration::from_secs(90),
            min: Duration::from_secs(15),
            max: Duration::from_secs(60),
            exempt: vec!["10.0.0.0/8".parse().unwrap()],
        }
    }

    fn pay(debts: &mut Debts, address: &str, offence: Offence, now: Instant) -> bool {
        let address: IpAddr = address.parse().unwrap();
        debts.add(&penalties(), address.into(), address, offence, now);
        debts.refuse(&penalties(), address.into(), address, now)
    }

    #[test]
    fn small_debts_add_up_until_they_count_and_then_until_they_are_over() {
        let (mut debts, now) = (Debts::default(), Instant::now());
        assert!(!pay(&mut debts, "192.0.2.1", Offence::Failed, now));
        assert!(!pay(&mut debts, "192.0.2.1", Offence::Failed, now));
        assert!(pay(&mut debts, "192.0.2.1", Offence::Failed, now));
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let refused = |seconds| {
            let then = now + Duration::from_secs(seconds);
            debts.refuse(&penalties(), address.into(), address, then)
        };
        assert!(refused(14), "below the minimum again, but not over");
        assert!(!refused(15));
        let other: IpAddr = "192.0.2.2".parse().unwrap();
        assert!(!debts.refuse(&penalties(), other.into(), other, now));
    }

    #[test]
    fn debts_end_at_the_maximum_and_some_never_begin() {
        let (mut debts, now) = (Debts::default(), Instant::now());
        assert!(pay(&mut debts, "192.0.2.1", Offence::Crash, now));
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let later = now + Duration::from_secs(60);
        assert!(!debts.refuse(&penalties(), address.into(), address, later));
        assert!(!pay(&mut debts, "192.0.2.9", Offence::Silent, now));
        assert!(!pay(&mut debts, "10.1.2.3", Offence::Crash, now), "exempt");
    }

    #[test]
    fn memory_is_bounded() {
        let (mut debts, now) = (Debts::default(), Instant::now());
        for number in 0..u32::try_from(SOURCES).unwrap() + 100 {
            let address = IpAddr::from(std::net::Ipv4Addr::from_bits(number));
            debts.add(&penalties(), address.into(), address, Offence::Late, now);
        }
        assert_eq!(debts.0.len(), SOURCES);
    }
}
