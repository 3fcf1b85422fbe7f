//! How soon and where a process runs: each its own, where sessions are kept apart.
//!
//! The kernel asks for one account only (`setpriority(2)`, `sched(7)`, `ioprio_set(2)`), which all sessions of a sandbox
//! have, and Landlock has no hook here. A filter sees numbers, not whose they are: what is left is 0, the caller. So a
//! thread that is named by its number is refused, its own included.

use seccompiler::SeccompRule;

use super::{Rules, SeccompError, equal, rule};

/// linux/ioprio.h.
const IOPRIO_WHO_PROCESS: i32 = 1;
const IOPRIO_WHO_PGRP: i32 = 2;

/// What changes a schedule. Not among them `sched_setparam(2)`: it sets the priority of real-time policies, which
/// nobody has without RLIMIT_RTPRIO or a capability, and of others accepts the 0 that they have.
pub(super) fn own() -> Result<Rules, SeccompError> {
    let caller = || Ok::<_, SeccompError>(vec![rule([equal(0, 0)?])?]);
    let ordinary = rule([equal(1, libc::SCHED_OTHER)?])?;
    Ok(vec![
        (libc::SYS_sched_setaffinity, caller()?),
        (libc::SYS_sched_setattr, caller()?),
        // glibc names threads that it starts by their numbers (pthread_attr_setinheritsched(3)), nearly always for
        // the policy that everybody has: it takes nothing from anybody.
        (
            libc::SYS_sched_setscheduler,
            vec![rule([equal(0, 0)?])?, ordinary],
        ),
        (
            libc::SYS_setpriority,
            own_process_or_group(
                libc::PRIO_PROCESS.cast_signed(),
                libc::PRIO_PGRP.cast_signed(),
            )?,
        ),
        (
            libc::SYS_ioprio_set,
            own_process_or_group(IOPRIO_WHO_PROCESS, IOPRIO_WHO_PGRP)?,
        ),
    ])
}

/// A session has process groups of its own (setsid(2)); all that one user has is every session's.
fn own_process_or_group(process: i32, group: i32) -> Result<Vec<SeccompRule>, SeccompError> {
    let own = |which| rule([equal(0, which)?, equal(1, 0)?]);
    Ok(vec![own(process)?, own(group)?])
}
