//! Whether a connection is in use, whether its channels move, and what its terminals are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// One connection's use, seen by whoever follows it and by what runs on it.
#[derive(Debug, Clone)]
pub(super) struct Presence {
    open: Arc<watch::Sender<usize>>,
    notice: Arc<watch::Sender<String>>,
    /// When any of its channels last carried data.
    moved: Arc<Moved>,
}

/// Something that runs on a connection.
#[derive(Debug)]
pub(super) struct Occupied(Arc<watch::Sender<usize>>);

impl Presence {
    pub(super) fn new() -> Self {
        Self {
            open: Arc::new(watch::Sender::new(0)),
            notice: Arc::new(watch::Sender::new(String::new())),
            moved: Arc::new(Moved::now()),
        }
    }

    /// Counts as use until the guard is dropped.
    pub(super) fn occupy(&self) -> Occupied {
        self.open.send_modify(|open| *open += 1);
        Occupied(Arc::clone(&self.open))
    }

    /// Whether something runs.
    pub(super) fn in_use(&self) -> bool {
        *self.open.borrow() > 0
    }

    /// Waits until nothing has run for so long.
    pub(super) async fn unused(&self, limit: Duration) {
        loop {
            until(&self.open, |open| open == 0).await;
            let used = until(&self.open, |open| open > 0);
            if timeout(limit, used).await.is_err() {
                return;
            }
        }
    }

    /// The pulse of a channel that opens now.
    pub(super) fn pulse(&self, limits: Limits) -> Pulse {
        let pulse = Pulse {
            own: Moved::now(),
            all: Arc::clone(&self.moved),
            limits,
        };
        pulse.beat();
        pulse
    }

    /// Shows a line on every terminal, those to come excluded.
    pub(super) fn tell(&self, line: String) {
        self.notice.send_replace(line);
    }

    /// The lines that are told from now on.
    pub(super) fn lines(&self) -> watch::Receiver<String> {
        self.notice.subscribe()
    }
}

async fn until(open: &watch::Sender<usize>, is_so: impl Fn(usize) -> bool) {
    // The sender is borrowed: it cannot be gone.
    let mut open = open.subscribe();
    if open.wait_for(|open| is_so(*open)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// How long nothing may be carried; `None` is for ever.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// By the channel itself.
    pub(super) own: Option<Duration>,
    /// By all channels of its connection.
    pub(super) all: Option<Duration>,
}

/// Whether a channel carries data.
#[derive(Debug)]
pub(super) struct Pulse {
    own: Moved,
    all: Arc<Moved>,
    limits: Limits,
}

impl Pulse {
    /// Data was carried.
    pub(super) fn beat(&self) {
        self.own.beat();
        self.all.beat();
    }

    /// Waits until nothing has been carried for too long.
    pub(super) async fn stopped(&self) {
        tokio::select! {
            () = self.own.rested(self.limits.own) => {}
            () = self.all.rested(self.limits.all) => {}
        }
    }
}

/// When something last moved.
#[derive(Debug)]
struct Moved {
    start: Instant,
    /// Milliseconds after `start`.
    last: AtomicU64,
}

impl Moved {
    fn now() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn beat(&self) {
        self.last.store(self.elapsed(), Ordering::Relaxed);
    }

    async fn rested(&self, limit: Option<Duration>) {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        loop {
            let now = self.elapsed();
            let rested = now - self.last.load(Ordering::Relaxed).min(now);
            let left = limit.saturating_sub(Duration::from_millis(rested));
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
