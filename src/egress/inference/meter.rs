//! What one sandbox has taken of its models, held against what it may.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::inference::Allowance;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A period is counted in so many parts: what was taken is forgotten at most one part late, never early.
const PARTS: u32 = 60;
/// What bodies of one sandbox's requests take of memory at once, in KiB.
const ROOM: u32 = 128 * 1024;

/// Why a request has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exceeded {
    /// The limit's key in the configuration.
    pub(super) limit: &'static str,
    /// When a request would find room again.
    pub(super) wait: Duration,
}

/// One sandbox's account; gone with it.
#[derive(Debug)]
pub(in crate::egress) struct Meter {
    taken: Mutex<Taken>,
    /// For bodies.
    pub(super) room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Taken {
    at_once: usize,
    requests: Window,
    minute: Window,
    day: Window,
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Turn(Arc<Meter>);

impl Default for Meter {
    fn default() -> Self {
        Self {
            taken: Mutex::new(Taken {
                at_once: 0,
                requests: Window::new(MINUTE),
                minute: Window::new(MINUTE),
                day: Window::new(DAY),
            }),
            room: Arc::new(Semaphore::new(ROOM as usize)),
        }
    }
}

impl Meter {
    /// Lets a request begin, and counts it. Tokens are counted when they are known: what begins below a
    /// limit may end above it.
    pub(super) fn begin(self: &Arc<Self>, allowance: &Allowance) -> Result<Turn, Exceeded> {
        let now = Instant::now();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.at_once >= allowance.at_once {
            return Err(Exceeded {
                limit: "at_once",
                wait: Duration::from_secs(1),
            });
        }
        let limits = [
            ("tokens_per_day", allowance.tokens_per_day),
            ("tokens_per_minute", allowance.tokens_per_minute),
            ("requests_per_minute", allowance.requests_per_minute),
        ];
        let Taken {
            requests,
            minute,
            day,
            ..
        } = &mut *taken;
        for ((limit, most), window) in limits.into_iter().zip([day, minute, requests]) {
            if let Some(wait) = most.and_then(|most| window.wait(most, now)) {
                return Err(Exceeded { limit, wait });
            }
        }
        taken.requests.add(1, now);
        taken.at_once += 1;
        Ok(Turn(Arc::clone(self)))
    }

    /// Counts tokens.
    pub(super) fn charge(&self, tokens: u64) {
        let now = Instant::now();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.minute.add(tokens, now);
        taken.day.add(tokens, now);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.at_once -= 1;
    }
}

/// Memory for bodies, of a sandbox's share and of the gate's.
#[derive(Debug)]
pub(super) struct Room {
    _own: OwnedSemaphorePermit,
    _shared: OwnedSemaphorePermit,
}

impl Room {
    /// Waits for room for so many bytes. `None` where there never is.
    pub(super) async fn take(meter: &Meter, shared: &Arc<Semaphore>, bytes: u64) -> Option<Self> {
        let kib = u32::try_from(bytes.div_ceil(1024)).ok()?;
        let own = Arc::clone(&meter.room).acquire_many_owned(kib).await.ok()?;
        let shared = Arc::clone(shared).acquire_many_owned(kib).await.ok()?;
        Some(Self {
            _own: own,
            _shared: shared,
        })
    }
}

/// What was taken in a period that ends now.
#[derive(Debug)]
struct Window {
    period: Duration,
    /// When each part is forgotten, and what it holds.
    parts: VecDeque<(Instant, u64)>,
    total: u64,
}

impl Window {
    fn new(period: Duration) -> Self {
        Self {
            period,
            parts: VecDeque::new(),
            total: 0,
        }
    }

    fn add(&mut self, amount: u64, now: Instant) {
        self.forget(now);
        self.total = self.total.saturating_add(amount);
        let end = now + self.period;
        match self.parts.back_mut() {
            Some((until, held)) if end <= *until => *held = held.saturating_add(amount),
            _ => self.parts.push_back((end + self.period / PARTS, amount)),
        }
    }

    /// How long until less than `most` is held; `None` where it is already.
    fn wait(&mut self, most: u64, now: Instant) -> Option<Duration> {
        self.forget(now);
        let mut left = self.total;
        let mut wait = None;
        for (until, held) in &self.parts {
            if left < most {
                break;
            }
            left = left.saturating_sub(*held);
            wait = Some(until.saturating_duration_since(now));
        }
        wait
    }

    fn forget(&mut self, now: Instant) {
        while let Some((until, held)) = self.parts.front()
            && *until <= now
        {
            self.total = self.total.saturating_sub(*held);
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Allowance = Allowance {
        requests_per_minute: None,
        tokens_per_minute: None,
        tokens_per_day: None,
        at_once: 2,
    };

    #[test]
    fn a_window_holds_what_came_in_its_period_and_no_more() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut window = Window::new(MINUTE);
        assert_eq!(window.wait(1, start), None);
        window.add(5, at(0));
        window.add(5, at(30));
        assert_eq!(window.wait(11, at(30)), None);
        // The first five are forgotten 60 s after they came, and one part of a period at most.
        assert_eq!(window.wait(10, at(30)), Some(Duration::from_secs(31)));
        assert_eq!(window.wait(5, at(30)), Some(Duration::from_secs(61)));
        assert!(window.wait(10, at(60)).is_some());
        assert_eq!(window.wait(10, at(61)), None);
        assert_eq!(window.wait(1, at(91)), None);
        assert_eq!(window.total, 0);
    }

    #[test]
    fn what_comes_often_is_kept_in_few_parts() {
        let start = Instant::now();
        let mut window = Window::new(MINUTE);
        for tenth in 0..6000 {
            window.add(1, start + Duration::from_millis(100) * tenth);
        }
        assert!(window.parts.len() <= 62, "{}", window.parts.len());
        // 600 came in the last minute; a part of them more may be remembered.
        assert!((600..=620).contains(&window.total), "{}", window.total);
    }

    #[test]
    fn each_limit_refuses_by_its_name() {
        let meter = Arc::new(Meter::default());
        let first = meter.begin(&OPEN).unwrap();
        let _second = meter.begin(&OPEN).unwrap();
        assert_eq!(meter.begin(&OPEN).unwrap_err().limit, "at_once");
        drop(first);
        let few = Allowance {
            requests_per_minute: Some(3),
            ..OPEN
        };
        drop(meter.begin(&few).unwrap());
        let exceeded = meter.begin(&few).unwrap_err();
        assert_eq!(exceeded.limit, "requests_per_minute");
        assert!(exceeded.wait > Duration::from_secs(50), "{exceeded:?}");
        let tokens = Allowance {
            tokens_per_minute: Some(100),
            tokens_per_day: Some(150),
            ..OPEN
        };
        meter.charge(99);
        drop(meter.begin(&tokens).unwrap());
        meter.charge(1);
        assert_eq!(meter.begin(&tokens).unwrap_err().limit, "tokens_per_minute");
        meter.charge(50);
        assert_eq!(meter.begin(&tokens).unwrap_err().limit, "tokens_per_day");
    }
}
