//! The filters of sessions, compiled once: one for each combination of what definitions allow.

use super::{Filter, SeccompError};
use crate::config::Allow;

/// A filter for each `Allow`.
#[derive(Debug)]
pub(crate) struct SessionFilters {
    plain: Filter,
    tracing: Filter,
    nesting: Filter,
    both: Filter,
}

impl SessionFilters {
    pub(crate) fn compile() -> Result<Self, SeccompError> {
        let filter = |user_namespaces, ptrace| {
            Filter::session(Allow {
                user_namespaces,
                ptrace,
            })
        };
        Ok(Self {
            plain: filter(false, false)?,
            tracing: filter(false, true)?,
            nesting: filter(true, false)?,
            both: filter(true, true)?,
        })
    }

    pub(crate) fn of(&self, allow: Allow) -> &Filter {
        match (allow.user_namespaces, allow.ptrace) {
            (false, false) => &self.plain,
            (false, true) => &self.tracing,
            (true, false) => &self.nesting,
            (true, true) => &self.both,
        }
    }
}
