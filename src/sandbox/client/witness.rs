//! Who belongs to a session, long after its start.

use super::{Given, Monitor, Session};
use crate::model::SessionId;
use crate::sandbox::protocol::Request;

/// Knows a session's processes; keeps nothing of it alive.
#[derive(Debug, Clone)]
pub struct Witness {
    monitor: Monitor,
    session: SessionId,
}

impl Session {
    /// Who can tell its processes from others.
    pub fn witness(&self) -> Witness {
        Witness {
            monitor: self.monitor.clone(),
            session: self.id,
        }
    }
}

impl Witness {
    /// Whether a process, by its id outside the sandbox, is one of the session's. When in doubt it is not.
    pub async fn holds(&self, pid: u32) -> bool {
        let session = self.session;
        match self.monitor.ask(Request::Member { session, pid }).await {
            Ok(Given::Member(held)) => held,
            Ok(_) => false,
            Err(refusal) => {
                tracing::debug!(%session, pid, %refusal, "nobody knows whose process it is");
                false
            }
        }
    }
}
