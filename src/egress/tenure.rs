//! How long a connection that policy granted may stay: until a new policy would not grant it again.

use std::future::{Future, pending};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::Door;
use super::admission::{Case, readmit};
use crate::model::Subject;
use crate::policy::{Flow, Snapshot};

/// The right to an open connection.
pub(super) struct Tenure {
    pub(super) door: Arc<Door>,
    pub(super) subject: Arc<Subject>,
    /// Marks as seen the snapshot that granted the flow.
    pub(super) policy: watch::Receiver<Arc<Snapshot>>,
    pub(super) flow: Flow,
    /// The upstream's, as dialled; `None` where only an upstream proxy knows it.
    pub(super) address: Option<IpAddr>,
}

impl Tenure {
    /// Runs `work` to its end, or drops it when policy takes the flow back: `None`.
    pub(super) async fn hold<T>(mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.revoked() => None,
            done = work => Some(done),
        }
    }

    async fn revoked(&mut self) {
        while self.policy.changed().await.is_ok() {
            let policy = Arc::clone(&self.policy.borrow_and_update());
            let case = Case {
                door: &self.door,
                subject: &self.subject,
                flow: &self.flow,
                asked: None,
            };
            if !readmit(&case, &policy, self.address).await {
                return;
            }
        }
        // No policy will follow: the last good one stands.
        pending::<()>().await;
    }
}
