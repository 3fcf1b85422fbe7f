//! The filters of sessions, compiled once: one for each combination of what definitions allow, and share.

use super::{Filter, MemoryFiles, SeccompError};
use crate::config::{Allow, Scope};

/// A filter for each `Allow`, for sandboxes of one connection and for shared ones.
#[derive(Debug)]
pub(crate) struct SessionFilters {
    apart: Allowed,
    shared: Allowed,
}

#[derive(Debug)]
struct Allowed {
    plain: Filter,
    tracing: Filter,
    nesting: Filter,
    both: Filter,
}

impl SessionFilters {
    pub(crate) fn compile(memory_files: MemoryFiles) -> Result<Self, SeccompError> {
        Ok(Self {
            apart: Allowed::compile(Scope::Connection, memory_files)?,
            shared: Allowed::compile(Scope::Login, memory_files)?,
        })
    }

    pub(crate) fn of(&self, allow: Allow, scope: Scope) -> &Filter {
        let filters = if scope.is_shared() {
            &self.shared
        } else {
            &self.apart
        };
        match (allow.user_namespaces, allow.ptrace) {
            (false, false) => &filters.plain,
            (false, true) => &filters.tracing,
            (true, false) => &filters.nesting,
            (true, true) => &filters.both,
        }
    }
}

impl Allowed {
    fn compile(scope: Scope, memory_files: MemoryFiles) -> Result<Self, SeccompError> {
        let filter = |user_namespaces, ptrace| {
            let allow = Allow {
                user_namespaces,
                ptrace,
            };
            let filter = Filter::session(allow, scope)?;
            Ok::<_, SeccompError>(filter.with(memory_files))
        };
        Ok(Self {
            plain: filter(false, false)?,
            tracing: filter(false, true)?,
            nesting: filter(true, false)?,
            both: filter(true, true)?,
        })
    }
}
