//! How many may be connected, and how many of them may wait to log in: altogether and from one source.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use tokio::time::Instant;

use super::penalties::{Debts, Offence};
use super::shares::Shares;
use crate::config::{Config, Startups};

/// The counts; they outlive a configuration.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    counts: Mutex<Counts>,
    dice: RandomState,
    shares: Arc<Shares>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    waiting: usize,
    /// Of each source, those that wait; no more than `waiting` entries.
    sources: HashMap<IpNet, usize>,
    debts: Debts,
    thrown: u64,
}

/// Why a connection is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Turned {
    #[error("too many connections")]
    Connections,
    #[error("too many connections wait to log in")]
    Full,
    #[error("dropped at random, because many connections wait to log in")]
    Random,
    #[error("too many connections of this source wait to log in")]
    Source,
    #[error("this source failed too often")]
    Penalty,
    #[error("nobody talks with this source")]
    Unwelcome,
}

impl Turned {
    /// The line that the client gets (RFC 4253 §4.2).
    pub(super) fn line(self) -> &'static [u8] {
        match self {
            Self::Penalty | Self::Unwelcome => b"sandgate: not allowed at this time\r\n",
            Self::Connections | Self::Full | Self::Random | Self::Source => {
                b"sandgate: too many connections\r\n"
            }
        }
    }
}

/// A connection's place.
#[derive(Debug)]
pub(super) struct Place(Arc<Strangers>);

/// Its place among those that have not logged in.
#[derive(Debug)]
pub(super) struct Waiting {
    strangers: Arc<Strangers>,
    source: IpNet,
}

impl Strangers {
    /// Takes a connection in, or says why not.
    pub(super) fn admit(
        self: &Arc<Self>,
        config: &Config,
        address: IpAddr,
    ) -> Result<(Place, Waiting), Turned> {
        let startups = &config.manners.startups;
        let source = startups.source(address);
        let mut counts = self.lock();
        if let Some(penalties) = &config.manners.penalties
            && counts
                .debts
                .refuse(penalties, source, address, Instant::now())
        {
            return Err(Turned::Penalty);
        }
        if config.manners.refuse.covers(address) {
            drop(counts);
            self.blame(config, address, Offence::Unwelcome);
            return Err(Turned::Unwelcome);
        }
        if counts.connections >= config.limits.connections {
            return Err(Turned::Connections);
        }
        if counts.sources.get(&source).copied().unwrap_or(0) >= startups.per_source {
            return Err(Turned::Source);
        }
        if counts.waiting >= startups.full {
            return Err(Turned::Full);
        }
        if counts.waiting >= startups.start {
            counts.thrown = counts.thrown.wrapping_add(1);
            // SipHash under a random key: nobody outside foresees its next value.
            if self.dice.hash_one(counts.thrown) % 100 < odds(startups, counts.waiting) {
                return Err(Turned::Random);
            }
        }
        counts.connections += 1;
        counts.waiting += 1;
        *counts.sources.entry(source).or_default() += 1;
        let strangers = Arc::clone(self);
        Ok((Place(Arc::clone(self)), Waiting { strangers, source }))
    }

    /// Notes what a connection did that ended without a login.
    pub(super) fn blame(&self, config: &Config, address: IpAddr, offence: Offence) {
        if let Some(penalties) = &config.manners.penalties {
            let source = config.manners.startups.source(address);
            let mut counts = self.lock();
            counts
                .debts
                .add(penalties, source, address, offence, Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In percent: `rate` at `start`, 100 at `full` (OpenSSH's sshd.c, `should_drop_connection`).
fn odds(startups: &Startups, waiting: usize) -> u64 {
    let above = waiting.saturating_sub(startups.start) as u64;
    let span = startups.full.saturating_sub(startups.start).max(1) as u64;
    startups.rate + (100 - startups.rate) * above / span
}

impl Waiting {
    /// What each key may have of the connections.
    pub(super) fn shares(&self) -> Arc<Shares> {
        Arc::clone(&self.strangers.shares)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.lock().connections -= 1;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut counts = self.strangers.lock();
        counts.waiting -= 1;
        if let Entry::Occupied(mut source) = counts.sources.entry(self.source) {
            *source.get_mut() -= 1;
            if *source.get() == 0 {
                source.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(startups: &str) -> Config {
        let text = format!(
            "host_keys: [k]\nlogins: {{a: {{authorized_keys: [a], policy: p}}}}\nstartups: {startups}\n"
        );
        crate::config::parse(std::path::Path::new("sandgate.yaml"), &text).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_source_leaves_room_for_others() {
        let config = config("{start: 4, full: 4, per_source: 2, ipv6_prefix: 64}");
        let strangers = Arc::new(Strangers::default());
        let admit = |text| strangers.admit(&config, address(text));
        let held: Vec<_> = (0..2).map(|_| admit("2001:db8::1").unwrap()).collect();
        assert_eq!(admit("2001:db8::2").unwrap_err(), Turned::Source);
        let others = (
            admit("2001:db8:0:1::1").unwrap(),
            admit("192.0.2.1").unwrap(),
        );
        assert_eq!(admit("192.0.2.2").unwrap_err(), Turned::Full);
        drop(held);
        drop(others);
        assert!(admit("2001:db8::2").is_ok());
        assert!(strangers.lock().sources.is_empty(), "nothing is remembered");
    }

    #[test]
    fn the_odds_grow_from_rate_to_certainty() {
        let startups = config("{start: 10, rate: 30, full: 100}").manners.startups;
        assert_eq!(odds(&startups, 10), 30);
        assert_eq!(odds(&startups, 55), 65);
        assert_eq!(odds(&startups, 99), 99);
    }

    #[test]
    fn some_are_dropped_and_some_are_not() {
        let config = config("{start: 1, rate: 50, full: 1000, per_source: 1000}");
        let strangers = Arc::new(Strangers::default());
        let tried: Vec<_> = (0..200)
            .map(|_| strangers.admit(&config, address("192.0.2.1")))
            .collect();
        let dropped = tried.iter().filter(|one| one.is_err()).count();
        assert!((40..180).contains(&dropped), "{dropped} of 200");
    }
}
