//! Sandboxes that are made ahead of need.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::{Given, Lease, Monitor, Refusal, lock, unexpected};
use crate::model::{Kind, SandboxId};
use crate::sandbox::protocol::Request;

/// Without a lease for so long, a pool is refilled: sessions that have just begun come first. Making a sandbox takes
/// about as much of a processor as starting two of them.
const CALM: Duration = Duration::from_millis(20);

/// It is refilled after this without a calm, too: who comes every few milliseconds would find it empty for good.
const LONGEST: Duration = Duration::from_millis(250);

/// Before a prepared sandbox that ended is replaced: what ends each of them ends one a second.
const AGAIN: Duration = Duration::from_secs(1);

/// Sandboxes that wait for their first session.
#[derive(Debug, Default)]
pub(super) struct Pool {
    ready: VecDeque<Lease>,
    size: usize,
    /// Counts configurations: what was asked for under an earlier one is not for this pool.
    edition: u64,
    /// When what is missing may be made, where somebody sees to that.
    due: Option<Instant>,
}

impl Pool {
    /// The next one that lives: one can have ended before it was put here.
    fn take(&mut self) -> Option<Lease> {
        std::iter::from_fn(|| self.ready.pop_front()).find(Lease::lives)
    }

    fn is_full(&mut self) -> bool {
        self.ready.retain(Lease::lives);
        self.ready.len() >= self.size
    }
}

impl Monitor {
    /// Builds every kind's pool, of the size beside it. Called before the port opens, so that what can't be
    /// confined is found out by the operator and not by a user; to this end one is built for an empty pool, too.
    pub async fn fill_pools(
        &self,
        pools: impl IntoIterator<Item = (Kind, usize)>,
    ) -> Result<(), Refusal> {
        for (kind, size) in pools {
            lock(&self.0.pools).entry(kind.clone()).or_default().size = size;
            for _ in 0..size.max(1) {
                let ready = self.build(&kind).await?;
                let mut pools = lock(&self.0.pools);
                let pool = pools.entry(kind.clone()).or_default();
                pool.ready.push_back(ready);
                let over = pool.ready.split_off(pool.ready.len().min(pool.size));
                drop((pools, over));
            }
        }
        Ok(())
    }

    /// Gives the prepared sandboxes back, which were made by an earlier configuration, and prepares new
    /// ones in the background.
    pub fn renew_pools(&self, pools: impl IntoIterator<Item = (Kind, usize)>) {
        let old: Vec<_> = lock(&self.0.pools)
            .values_mut()
            .map(|pool| {
                pool.size = 0;
                pool.edition += 1;
                std::mem::take(&mut pool.ready)
            })
            .collect();
        drop(old);
        for (kind, size) in pools {
            lock(&self.0.pools).entry(kind.clone()).or_default().size = size;
            self.refill(&kind);
        }
    }

    async fn build(&self, kind: &Kind) -> Result<Lease, Refusal> {
        match self.ask(Request::Build { kind: kind.clone() }).await? {
            Given::Sandbox(lease) => Ok(lease),
            other => Err(unexpected(&other)),
        }
    }

    /// A fresh sandbox of this kind, from its pool where one is ready.
    pub async fn lease(&self, kind: &Kind) -> Result<Lease, Refusal> {
        let ready = lock(&self.0.pools).get_mut(kind).and_then(Pool::take);
        let lease = if let Some(ready) = ready {
            ready
        } else {
            let _first = self.0.rush.join();
            self.build(kind).await?
        };
        self.refill(kind);
        Ok(lease)
    }

    /// A prepared sandbox that has ended by itself gives way to a new one.
    pub(super) fn replace(&self, gone: SandboxId) {
        let holds = |pool: &Pool| pool.ready.iter().any(|lease| lease.id() == gone);
        let kind = lock(&self.0.pools)
            .iter()
            .find_map(|(kind, pool)| holds(pool).then(|| kind.clone()));
        if let Some(kind) = kind {
            let monitor = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(AGAIN).await;
                monitor.refill(&kind);
            });
        }
    }

    /// Has what the pool lacks built in the background, once no sandbox has been asked for during `CALM`.
    fn refill(&self, kind: &Kind) {
        let now = Instant::now();
        {
            let mut pools = lock(&self.0.pools);
            // Whatever their kind, sessions run on the same processors.
            for pool in pools.values_mut() {
                pool.due = pool.due.map(|_| now + CALM);
            }
            let pool = pools.entry(kind.clone()).or_default();
            if pool.due.is_some() || pool.is_full() {
                return;
            }
            pool.due = Some(now + CALM);
        }
        let (monitor, kind) = (self.clone(), kind.clone());
        tokio::spawn(async move { monitor.fill(&kind, now + LONGEST).await });
    }

    /// Builds one after the other what the pool lacks, beginning at `latest`. A failure is logged; the next lease
    /// tries again.
    async fn fill(&self, kind: &Kind, latest: Instant) {
        loop {
            let edition = {
                let mut pools = lock(&self.0.pools);
                let pool = pools.entry(kind.clone()).or_default();
                if pool.is_full() {
                    pool.due = None;
                    return;
                }
                match pool.due.map(|due| due.min(latest)) {
                    Some(due) if due > Instant::now() => Err(due),
                    _ => Ok(pool.edition),
                }
            };
            let edition = match edition {
                Ok(edition) => edition,
                Err(due) => {
                    tokio::time::sleep_until(due).await;
                    continue;
                }
            };
            let built = self.build(kind).await;
            let mut pools = lock(&self.0.pools);
            let pool = pools.entry(kind.clone()).or_default();
            match built {
                Ok(ready) if pool.edition == edition => pool.ready.push_back(ready),
                Ok(stale) => {
                    drop(pools);
                    drop(stale);
                }
                Err(refusal) => {
                    tracing::warn!(%refusal, "the pool is not refilled");
                    pool.due = None;
                    return;
                }
            }
        }
    }
}
