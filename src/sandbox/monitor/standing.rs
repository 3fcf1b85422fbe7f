//! Since when the monitor serves, and what came of the last reload.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::sandbox::protocol::admin::{Failure, Status};
use crate::sandbox::protocol::bundle::BundleStanding;

/// The most bytes of a reason that are kept: a message holds it.
const LONGEST_REASON: usize = 4096;

#[derive(Debug)]
pub(super) struct Standing {
    since: u64,
    generation: u64,
    loaded: u64,
    failure: Option<Failure>,
    /// What was last told of the bundle.
    pub(super) bundle: Option<BundleStanding>,
}

impl Standing {
    /// At the first generation, now.
    pub(super) fn new() -> Self {
        let now = now();
        Self {
            since: now,
            generation: 1,
            loaded: now,
            failure: None,
            bundle: None,
        }
    }

    /// What was read again was good.
    pub(super) fn taken(&mut self) {
        self.generation += 1;
        self.loaded = now();
        self.failure = None;
    }

    /// It was bad; its reason as far as it is kept.
    pub(super) fn failed(&mut self, mut reason: String) -> String {
        let mut end = reason.len().min(LONGEST_REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason.truncate(end);
        self.failure = Some(Failure {
            at: now(),
            reason: reason.clone(),
        });
        reason
    }

    /// With nothing counted yet.
    pub(super) fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: rustix::process::getppid().map_or(0, |parent| parent.as_raw_pid().cast_unsigned()),
            since: self.since,
            generation: self.generation,
            loaded: self.loaded,
            failure: self.failure.clone(),
            sandboxes: [0; 4],
            sessions: 0,
            kinds: 0,
            bundle: self.bundle.clone(),
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_reload_ends_a_failure() {
        let mut standing = Standing::new();
        let kept = standing.failed("€".repeat(LONGEST_REASON));
        assert_eq!(kept.len(), LONGEST_REASON - 1);
        let status = standing.status();
        assert_eq!(
            (
                status.generation,
                status.failure.map(|failure| failure.reason)
            ),
            (1, Some(kept))
        );
        standing.taken();
        assert_eq!(
            (standing.status().generation, standing.status().failure),
            (2, None)
        );
    }
}
