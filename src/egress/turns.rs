//! Who may ask an operator's rules now: they may be slow, and one sandbox must not keep the others waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::model::SandboxId;
use crate::policy::Snapshot;

/// How long a question waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a judgement may take at no cost: a thousand times what it does.
const CHEAP: Duration = Duration::from_millis(50);
/// A sandbox whose judgement took longer leaves its place empty for this many times as long.
const REST: u32 = 4;
/// The fewest and the most judgements at once. Each takes a process, which keeps its memory.
const PLACES: std::ops::RangeInclusive<usize> = 2..=8;

/// Why a question was not answered.
#[derive(Debug)]
pub(super) enum Unjudged {
    /// Its turn did not come; what a denial says of it.
    Busy(&'static str),
    /// The cause is in the log.
    Failed,
}

/// As many places as processors; of these a sandbox has half at most. Those who wait for a place stand in one queue,
/// and of a sandbox no more stand in it than it may have places.
pub(super) struct Turns {
    places: Arc<Semaphore>,
    share: usize,
    sandboxes: Mutex<HashMap<SandboxId, Arc<Semaphore>>>,
}

impl Turns {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let places = processors.clamp(*PLACES.start(), *PLACES.end());
        Self {
            places: Arc::new(Semaphore::new(places)),
            share: places / 2,
            sandboxes: Mutex::default(),
        }
    }

    /// Asks a policy on a thread where it may take its time, once it is this sandbox's turn.
    pub(super) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        sandbox: SandboxId,
        policy: &Arc<Snapshot>,
        question: impl FnOnce(&Snapshot) -> T + Send + 'static,
    ) -> Result<T, Unjudged> {
        let turn = if policy.is_slow() {
            Some(self.turn(sandbox).await?)
        } else {
            None
        };
        let policy = Arc::clone(policy);
        // The turn goes with the judgement, which nobody can stop: not with whoever waits for it.
        let judging = tokio::task::spawn_blocking(move || {
            let answer = question(&policy);
            drop(turn);
            answer
        });
        judging.await.map_err(|error| {
            tracing::error!(%error, "a judgement failed");
            Unjudged::Failed
        })
    }

    async fn turn(self: &Arc<Self>, sandbox: SandboxId) -> Result<Turn, Unjudged> {
        let own = self.sandbox(sandbox);
        let both = async {
            let own = Arc::clone(&own).acquire_owned().await?;
            let place = Arc::clone(&self.places).acquire_owned().await?;
            Ok::<_, tokio::sync::AcquireError>((own, place))
        };
        let waited = timeout(PATIENCE, both).await;
        match waited {
            Ok(Ok((own, place))) => Ok(Turn {
                turns: Arc::clone(self),
                sandbox,
                begun: Instant::now(),
                own: Some(own),
                place: Some(place),
                runtime: tokio::runtime::Handle::current(),
            }),
            Ok(Err(_)) => Err(Unjudged::Failed),
            Err(_) => {
                drop(own);
                self.forget(sandbox);
                Err(Unjudged::Busy(
                    "the operator's rules were busy with other questions for 5 s",
                ))
            }
        }
    }

    fn sandbox(&self, sandbox: SandboxId) -> Arc<Semaphore> {
        let mut sandboxes = self.lock();
        let new = || Arc::new(Semaphore::new(self.share));
        Arc::clone(sandboxes.entry(sandbox).or_insert_with(new))
    }

    /// Drops what is kept of a sandbox that asks nothing now.
    fn forget(&self, sandbox: SandboxId) {
        let mut sandboxes = self.lock();
        if sandboxes
            .get(&sandbox)
            .is_some_and(|own| Arc::strong_count(own) == 1)
        {
            sandboxes.remove(&sandbox);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SandboxId, Arc<Semaphore>>> {
        self.sandboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place and the sandbox's right to it.
struct Turn {
    turns: Arc<Turns>,
    sandbox: SandboxId,
    begun: Instant,
    own: Option<OwnedSemaphorePermit>,
    place: Option<OwnedSemaphorePermit>,
    runtime: tokio::runtime::Handle,
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.place.take());
        let (turns, sandbox, own) = (Arc::clone(&self.turns), self.sandbox, self.own.take());
        let took = self.begun.elapsed();
        if took <= CHEAP {
            drop(own);
            turns.forget(sandbox);
            return;
        }
        self.runtime.spawn(async move {
            tokio::time::sleep(took * REST).await;
            drop(own);
            turns.forget(sandbox);
        });
    }
}
