//! The filters of processes that work out something and speak to nobody but who started them.

use seccompiler::{SeccompAction, SeccompRule};

use super::{Filter, Rules, SeccompError, calls, compile, equal, masked, rule};

impl Filter {
    /// For what reads bytes of strangers: memory and the descriptors that it has.
    pub(crate) fn reader() -> Result<Self, SeccompError> {
        let otherwise = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        compile(calls::READER.iter(), Rules::new(), otherwise)
    }

    /// For what compiles an operator's rules and forks what evaluates them.
    pub(crate) fn judge() -> Result<Self, SeccompError> {
        let processes = masked(0, calls::NAMESPACES | calls::PARENT | calls::THREAD, 0)?;
        let conditions = vec![
            (libc::SYS_clone, vec![rule([processes])?]),
            (libc::SYS_tgkill, aborts()?),
        ];
        let otherwise = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        compile(
            calls::JUROR.iter().chain(calls::JUDGE),
            conditions,
            otherwise,
        )
    }

    /// For what evaluates an operator's rules.
    pub(crate) fn juror() -> Result<Self, SeccompError> {
        let otherwise = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        let conditions = vec![(libc::SYS_tgkill, aborts()?)];
        compile(calls::JUROR.iter(), conditions, otherwise)
    }
}

/// The signal that a failed allocation ends a process with (abort(3)).
fn aborts() -> Result<Vec<SeccompRule>, SeccompError> {
    Ok(vec![rule([equal(2, libc::SIGABRT)?])?])
}
