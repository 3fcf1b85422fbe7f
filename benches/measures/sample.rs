//! Times of one thing done many times, and two things done in turns.

use std::time::{Duration, Instant};

/// How often each thing is done before it counts.
const WARM_UP: usize = 3;

/// The pause before each turn: what one server clears away afterwards (processes, cgroups, a pool's
/// refill) must not fall into the other's time.
const REST: Duration = Duration::from_millis(25);

/// Times, sorted.
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "nothing was measured");
        times.sort_unstable();
        Self(times)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that this share of all, in percent, keeps to (nearest rank).
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        *self.0.get(rank - 1).expect("at most 100 percent")
    }
}

/// Times both, `count` times, in turns; each goes first in every other turn.
pub(crate) fn in_turns(
    count: usize,
    mut one: impl FnMut() -> Duration,
    mut other: impl FnMut() -> Duration,
) -> [Samples; 2] {
    let mut times = [Vec::with_capacity(count), Vec::with_capacity(count)];
    for turn in 0..WARM_UP + count {
        let (ours, theirs) = if turn % 2 == 0 {
            let ours = rested(&mut one);
            (ours, rested(&mut other))
        } else {
            let theirs = rested(&mut other);
            (rested(&mut one), theirs)
        };
        if turn >= WARM_UP {
            let [one, other] = &mut times;
            one.push(ours);
            other.push(theirs);
        }
    }
    times.map(Samples::new)
}

fn rested(action: &mut impl FnMut() -> Duration) -> Duration {
    std::thread::sleep(REST);
    action()
}

/// How long it takes.
pub(crate) fn timed(action: impl FnOnce()) -> Duration {
    let start = Instant::now();
    action();
    start.elapsed()
}
