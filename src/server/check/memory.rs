//! What keeps sessions from executing what is in memory and on no path.

use crate::config::{Config, Gap};
use crate::sandbox::{Footing, MemoryFiles};

/// What holds it here.
pub(super) struct Seal {
    /// Whether vm.memfd_noexec (Linux 6.3) of a sandbox's pid namespace is to be set.
    pub(super) by_namespace: bool,
    /// What filters ask.
    pub(super) by_filter: MemoryFiles,
    /// What an operator should know.
    pub(super) warning: Option<String>,
}

impl Seal {
    /// `sysctl` is the host's vm.memfd_noexec, where it has one. The files of /proc/sys belong to the host's root: a user
    /// can't write there, and their sandboxes inherit what they were given, of which 1 and 2 hold.
    pub(super) fn find(config: &Config, footing: Footing, sysctl: Option<&str>) -> Self {
        let held = |by_namespace| Self {
            by_namespace,
            by_filter: MemoryFiles::Any,
            warning: None,
        };
        let mend = match (footing, sysctl.map(str::trim)) {
            (Footing::Root, Some(_)) => return held(true),
            (Footing::Subordinate | Footing::OneId, Some("1" | "2")) => return held(false),
            (Footing::Subordinate | Footing::OneId, Some(_)) => "sysctl vm.memfd_noexec=1",
            (_, None) => "Linux 6.3",
        };
        let accepted = config.accept_weaker.has(Gap::MemfdExec);
        let (by_filter, warning) = if accepted {
            let name = Gap::MemfdExec;
            let warning = format!("weaker by the operator's word: {name} is not enforced here");
            (MemoryFiles::Any, warning)
        } else {
            let how = config.consent(&[Gap::MemfdExec]);
            let warning = format!(
                "memfd_create(2) is refused to programs that don't ask for MFD_NOEXEC_SEAL, so that none runs from memory; {mend} gives it back to them, and so does `{how}`, which lets programs run from memory"
            );
            (MemoryFiles::Sealed, warning)
        };
        Self {
            by_namespace: false,
            by_filter,
            warning: Some(warning),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Accepted, Invoker};

    #[test]
    fn memory_is_sealed_by_what_there_is_and_open_by_the_operators_word_alone() {
        let mut config = Config::builtin(&Invoker::from_environment()).unwrap();
        let by = |config: &Config, footing, sysctl| {
            let seal = Seal::find(config, footing, sysctl);
            (seal.by_namespace, seal.by_filter, seal.warning.is_some())
        };
        let (any, sealed) = (MemoryFiles::Any, MemoryFiles::Sealed);
        let users = [Footing::Subordinate, Footing::OneId];
        assert_eq!(by(&config, Footing::Root, Some("0\n")), (true, any, false));
        assert_eq!(by(&config, Footing::Root, None), (false, sealed, true));
        for user in users {
            assert_eq!(by(&config, user, Some("0\n")), (false, sealed, true));
            assert_eq!(by(&config, user, None), (false, sealed, true));
            assert_eq!(by(&config, user, Some("1\n")), (false, any, false));
            assert_eq!(by(&config, user, Some("2\n")), (false, any, false));
        }
        config.accept_weaker = Accepted::default().and_spoken(vec![Gap::MemfdExec]);
        assert_eq!(by(&config, Footing::Root, Some("0\n")), (true, any, false));
        for user in users {
            assert_eq!(by(&config, user, Some("0\n")), (false, any, true));
            assert_eq!(by(&config, user, Some("1\n")), (false, any, false));
        }
    }
}
