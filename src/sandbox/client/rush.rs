//! Sandboxes that somebody waits for come before the programs of those that are ready already.
//!
//! Who asks at once with others would otherwise wait until theirs are made and their shells have started, too: what a
//! program does first takes longer than the making of a sandbox (docs/performance.md).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::lock;

/// So long a sandbox that is being made comes before others' programs: one that does not get ready, because a file system
/// does not answer or a home is still in use, holds nobody up.
const PRECEDENCE: Duration = Duration::from_millis(20);

/// The sandboxes that are being made and that somebody waits for.
#[derive(Debug)]
pub(super) struct Rush {
    processors: usize,
    precedence: Duration,
    awaited: Mutex<Awaited>,
    fewer: Notify,
}

#[derive(Debug, Default)]
struct Awaited {
    last: u64,
    since: BTreeMap<u64, Instant>,
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub(super) struct Making<'a> {
    rush: &'a Rush,
    number: u64,
}

impl Rush {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::on(processors, PRECEDENCE)
    }

    fn on(processors: usize, precedence: Duration) -> Self {
        Self {
            processors,
            precedence,
            awaited: Mutex::default(),
            fewer: Notify::new(),
        }
    }

    /// Somebody waits for a sandbox from now on.
    pub(super) fn join(&self) -> Making<'_> {
        let mut awaited = lock(&self.awaited);
        awaited.last += 1;
        let number = awaited.last;
        awaited.since.insert(number, Instant::now());
        Making { rush: self, number }
    }

    /// Waits while there are fewer processors than sandboxes to make that somebody asked for before this.
    pub(super) async fn give_way(&self) {
        let (last, newest) = {
            let Awaited { last, since } = &*lock(&self.awaited);
            (*last, since.values().max().copied())
        };
        let Some(newest) = newest else {
            return;
        };
        let passed = async {
            loop {
                // Before the look, so that none is missed that is made in between.
                let fewer = self.fewer.notified();
                if !self.is_full(last) {
                    return;
                }
                fewer.await;
            }
        };
        // None of them comes first any more after that.
        timeout_at(newest + self.precedence, passed).await.ok();
    }

    fn is_full(&self, last: u64) -> bool {
        let Awaited { since, .. } = &*lock(&self.awaited);
        let first = |since: &&Instant| since.elapsed() < self.precedence;
        let first = since.range(..=last).filter(|(_, since)| first(since));
        first.count() > self.processors
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        lock(&self.rush.awaited).since.remove(&self.number);
        self.rush.fewer.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    /// Whether it goes on at once.
    async fn passes(way: impl Future<Output = ()>) -> bool {
        let mut way = pin!(way);
        tokio::select! {
            biased;
            () = &mut way => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn programs_wait_while_sandboxes_wait_for_a_processor() {
        let rush = Rush::on(1, LONG);
        assert!(passes(rush.give_way()).await, "none is made");
        let one = rush.join();
        assert!(passes(rush.give_way()).await, "it has a processor");
        let two = rush.join();
        let mut way = pin!(rush.give_way());
        assert!(!passes(&mut way).await, "one of them has none");
        let _later = rush.join();
        drop(two);
        assert!(passes(way).await, "one that came later is no matter");
        assert!(
            !passes(rush.give_way()).await,
            "to whoever came after it is"
        );
        drop(one);
        assert!(passes(rush.give_way()).await);
    }

    #[tokio::test]
    async fn what_does_not_get_ready_holds_nobody_up() {
        let rush = Rush::on(1, Duration::from_millis(1));
        let _stuck = [rush.join(), rush.join()];
        tokio::time::timeout(LONG, rush.give_way())
            .await
            .expect("goes on, though nothing is made");
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(passes(rush.give_way()).await, "and at once from then on");
    }
}
