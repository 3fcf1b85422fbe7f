//! Connections that were turned away, for the log and the audit trail: one line a second at most.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::strangers::Turned;
use crate::audit::{Event, Refused, Trail, Verdict};

/// From one line to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Counts what is not written; a flood of connections must not become a flood of lines.
#[derive(Debug, Default)]
pub(super) struct Turnstile(Mutex<Passed>);

#[derive(Debug, Default)]
struct Passed {
    last: Option<Instant>,
    unrecorded: u64,
}

impl Turnstile {
    /// Writes the refusal down, or counts it for the next that is.
    pub(super) fn note(&self, trail: &Trail, source: SocketAddr, turned: Turned) {
        let Some(unrecorded) = self.pass(Instant::now()) else {
            return;
        };
        tracing::warn!(%source, reason = %turned, unrecorded, "connection refused");
        let refused = Refused {
            source,
            verdict: Verdict::Deny,
            reason: turned.to_string(),
            unrecorded,
        };
        if let Err(error) = trail.record(&Event::Refused(refused)) {
            tracing::error!(%source, %error, "a refused connection's audit event could not be written");
        }
    }

    /// How many were not written since the last that was; `None` where this is one more of them.
    fn pass(&self, now: Instant) -> Option<u64> {
        let mut passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if passed.last.is_some_and(|last| now < last + PAUSE) {
            passed.unrecorded += 1;
            return None;
        }
        passed.last = Some(now);
        Some(std::mem::take(&mut passed.unrecorded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_is_written_and_the_others_counted() {
        let (turnstile, now) = (Turnstile::default(), Instant::now());
        assert_eq!(turnstile.pass(now), Some(0));
        assert_eq!(turnstile.pass(now), None);
        assert_eq!(turnstile.pass(now + PAUSE / 2), None);
        assert_eq!(turnstile.pass(now + PAUSE), Some(2));
    }
}
