//! What ended sessions left running, and whose it is; what failed ones leave.

use super::{Phase, Sandbox, Session, Sessions};
use crate::model::{SandboxId, SessionId};
use crate::sandbox::monitor::Context;

/// A cgroup that outlived its session's leader.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) sandbox: SandboxId,
    pub(super) session: SessionId,
    /// From the daemon's directory.
    pub(super) group: String,
}

/// The name of a session's cgroup in its sandbox's.
pub(super) fn name(session: SessionId) -> String {
    format!("n{session}")
}

/// Removes the cgroup of a session that came to nothing, if it came to a cgroup.
pub(super) fn discard(context: &Context, place: &Sandbox, session: SessionId) {
    let path = format!("{}/{}", place.group().path(), name(session));
    if let Err(error) = context.tree.remove(&path) {
        tracing::warn!(%session, %error, "its cgroup stays until its sandbox ends");
    }
}

impl Sessions {
    /// Removes the cgroups of ended sessions in which nothing is left: a sandbox that stays for long would
    /// gather them. What a session left in the background keeps its own.
    pub(super) fn sweep(&mut self, context: &Context, sandbox: SandboxId) {
        self.left.retain(|_, left| {
            left.sandbox != sandbox
                || !context.tree.remove(&left.group).unwrap_or_else(|error| {
                    let session = left.session;
                    tracing::warn!(%session, %error, "its cgroup stays until its sandbox ends");
                    true
                })
        });
    }

    /// Nothing of a sandbox is left. Its sessions are forgotten with it, whether the gate lets go of them or not: one
    /// that was taken over cannot gather more of them than `sessions` for each sandbox that there may be.
    pub(in crate::sandbox::monitor) fn forget(&mut self, sandbox: SandboxId) {
        self.left.retain(|_, left| left.sandbox != sandbox);
        let all = self.started.values_mut();
        for session in all.filter(|session| session.sandbox == sandbox) {
            session.forgotten = true;
        }
    }

    /// How many sessions run in a sandbox.
    pub(in crate::sandbox::monitor) fn running_in(&self, sandbox: SandboxId) -> usize {
        let there = |session: &&Session| session.sandbox == sandbox;
        self.running().filter(there).count()
    }

    /// How many run in all.
    pub(in crate::sandbox::monitor) fn count(&self) -> usize {
        self.running().count()
    }

    fn running(&self) -> impl Iterator<Item = &Session> {
        let runs =
            |session: &&Session| matches!(session.phase, Phase::Starting { .. } | Phase::Running);
        self.started.values().filter(runs)
    }

    /// The session whose cgroup has this id, ended or not, and that cgroup's path below the daemon's.
    pub(in crate::sandbox::monitor) fn by_cgroup(&self, cgroup: u64) -> Option<(SessionId, &str)> {
        let running = self.started.iter().find_map(|(id, session)| {
            (session.cgroup == cgroup).then_some((*id, session.group.path()))
        });
        running.or_else(|| {
            let left = self.left.get(&cgroup)?;
            Some((left.session, left.group.as_str()))
        })
    }
}
