//! memfd_create(2) where vm.memfd_noexec is not ours to set: only files that nobody can ever execute.

use seccompiler::sock_filter;

use super::{Filter, calls, number};

/// What sessions' filters ask of memory files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryFiles {
    /// Nothing but that MFD_EXEC is not asked for: something else keeps them from being executed, or nothing does, by
    /// the operator's word.
    Any,
    /// MFD_NOEXEC_SEAL (Linux 6.3), which fchmod(2) can't take back. To all who don't ask for it the call is one that
    /// this kernel lacks.
    Sealed,
}

impl Filter {
    /// The same filter behind this condition.
    pub(in crate::sandbox) fn with(mut self, memory_files: MemoryFiles) -> Self {
        if memory_files == MemoryFiles::Sealed {
            self.0.splice(0..0, unsealed_is_unknown());
        }
        self
    }
}

/// ENOSYS, on which programs fall back to what they did before Linux 3.17, is no answer that seccompiler can give to one
/// call and EPERM to the others.
fn unsealed_is_unknown() -> [sock_filter; 8] {
    // The low half of the second argument, which the kernel reads as an unsigned int.
    const FLAGS: u32 = 24;
    // linux/bpf_common.h: load a word of struct seccomp_data, jump if equal, mask, return.
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let load = |at| step(0x20, 0, 0, at);
    [
        load(4),
        step(0x15, 0, 6, calls::AUDIT_ARCHITECTURE),
        load(0),
        step(0x15, 0, 4, number(libc::SYS_memfd_create)),
        load(FLAGS),
        step(0x54, 0, 0, libc::MFD_NOEXEC_SEAL),
        step(0x15, 1, 0, libc::MFD_NOEXEC_SEAL),
        step(0x06, 0, 0, 0x0005_0000 | libc::ENOSYS.cast_unsigned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ALLOW, ENOSYS, EPERM, judge};
    use super::*;
    use crate::config::{Allow, Scope};

    #[test]
    fn a_file_that_could_be_executed_is_one_that_the_kernel_lacks() {
        let asks = |filter: &Filter, flags| {
            let call = number(libc::SYS_memfd_create);
            judge(filter, calls::AUDIT_ARCHITECTURE, call, &[0, flags])
        };
        let of = |memory_files| {
            let filter = Filter::session(Allow::default(), Scope::Connection).unwrap();
            filter.with(memory_files)
        };
        let (any, sealed) = (of(MemoryFiles::Any), of(MemoryFiles::Sealed));
        let (cloexec, seal, exec) = (1, libc::MFD_NOEXEC_SEAL, 0x10);
        assert_eq!(
            [0, cloexec, seal, exec].map(|f| asks(&any, f)),
            [ALLOW, ALLOW, ALLOW, EPERM]
        );
        assert_eq!(
            [0, cloexec, exec, seal, seal | cloexec, seal | exec].map(|f| asks(&sealed, f)),
            [ENOSYS, ENOSYS, ENOSYS, ALLOW, ALLOW, EPERM]
        );
    }

    #[test]
    fn every_other_call_is_judged_as_before() {
        let plain = Filter::session(Allow::default(), Scope::Connection).unwrap();
        let sealed = plain.clone().with(MemoryFiles::Sealed);
        for architecture in [calls::AUDIT_ARCHITECTURE, 0x4000_0003] {
            for call in (0..number(calls::FIRST_UNKNOWN)).chain([0x4000_0000, 0x4000_013f]) {
                let same = architecture != calls::AUDIT_ARCHITECTURE
                    || call != number(libc::SYS_memfd_create);
                let answers = [&plain, &sealed].map(|of| judge(of, architecture, call, &[]));
                assert_eq!(answers[0] == answers[1], same, "{architecture:#x} {call}");
            }
        }
    }
}
