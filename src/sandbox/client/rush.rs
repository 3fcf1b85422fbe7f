//! Sandboxes that somebody waits for come before the programs of those that are ready already.
//!
//! Who asks at once with others would otherwise wait until theirs are made and their shells have started, too
//! (docs/performance.md).

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
    pub(super) fn new(processors: usize) -> Self {
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
        let last = lock(&self.awaited).last;
        loop {
            // Before the look, so that none is missed that is made in between.
            let fewer = self.fewer.notified();
            let Some(since) = self.one_too_many(last) else {
                return;
            };
            // With it, or once it does not come first any more, there may be few enough.
            timeout_at(since + self.precedence, fewer).await.ok();
        }
    }

    /// When the last was asked for that makes more of them than processors; later ones are no more than these.
    fn one_too_many(&self, last: u64) -> Option<Instant> {
        let Awaited { since, .. } = &*lock(&self.awaited);
        let (_, since) = since.range(..=last).rev().nth(self.processors)?;
        (since.elapsed() < self.precedence).then_some(*since)
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
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::pin::pin;

    use super::*;
    use crate::model::{Kind, LoginName, SandboxId};
    use crate::sandbox::channel::{self, Channel};
    use crate::sandbox::client::Monitor;
    use crate::sandbox::protocol::{Answer, Message, Numbered, Program, Request, Spawn, encode};

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
        let _later = rush.join();
        assert!(passes(rush.give_way()).await, "whatever comes after them");
    }

    #[tokio::test]
    async fn the_wait_ends_with_the_oldest_of_too_many() {
        let rush = Rush::on(2, LONG);
        let begun: Vec<_> = (0..4)
            .map(|_| {
                std::thread::sleep(Duration::from_millis(1));
                rush.join()
            })
            .collect();
        let since = |at: usize| Some(lock(&rush.awaited).since[&begun[at].number]);
        assert_eq!(rush.one_too_many(4), since(1), "after it, two are left");
        assert_eq!(rush.one_too_many(3), since(0));
        assert_eq!(rush.one_too_many(2), None);
    }

    /// The next request that comes.
    async fn asked(monitors: &Channel) -> Numbered {
        let mut buffer = channel::buffer();
        loop {
            if let Ok(received) = channel::receive(monitors.as_fd(), &mut buffer) {
                return Numbered::try_from(&*received.bytes).unwrap();
            }
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    }

    fn built(monitors: &Channel, number: u64) {
        let answer = Ok(Answer::Built(SandboxId(number)));
        let message = encode(&Message::Answer { number, answer }).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        channel::send(monitors.as_fd(), &message, &[listener.as_fd()]).unwrap();
    }

    #[tokio::test]
    async fn the_monitor_is_asked_for_sandboxes_before_programs() {
        let (gates, monitors) = Channel::pair().unwrap();
        let attached = Monitor::attach(gates, 1).unwrap();
        let (monitor, _carrier) = (attached.monitor, tokio::spawn(attached.lost));
        let kind = Kind {
            login: LoginName::try_from("one".to_owned()).unwrap(),
            definition: None,
        };
        let lease = || {
            let (monitor, kind) = (monitor.clone(), kind.clone());
            tokio::spawn(async move { monitor.lease(&kind).await })
        };
        let ready = lease();
        built(&monitors, asked(&monitors).await.number);
        let ready = ready.await.unwrap().unwrap();
        let begun = Instant::now();
        let _awaited = [lease(), lease()];
        for _ in 0..2 {
            let request = asked(&monitors).await.request;
            assert!(matches!(request, Request::Build { .. }), "{request:?}");
        }
        let spawn = Spawn {
            program: Program::Shell,
            environment: Vec::new(),
            terminal: None,
        };
        let _program = tokio::spawn(async move { ready.spawn(spawn).await.map(drop) });
        let request = asked(&monitors).await.request;
        assert!(matches!(request, Request::Spawn { .. }), "{request:?}");
        assert!(begun.elapsed() >= PRECEDENCE, "it did not wait for them");
    }
}
