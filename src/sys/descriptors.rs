//! Descriptors across execve(2).

use std::io;

/// Marks every descriptor from `first` up CLOEXEC, also those that nobody here knows of (close_range(2)).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: only flags of descriptors change; none is closed.
    super::check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })?;
    Ok(())
}

/// Closes every descriptor from `first` to `last`, whoever owns it: for a child that keeps none of
/// its parent's and drops no owner afterwards (close_range(2)).
pub fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: the caller is a forked child whose owners of these descriptors never run their destructors.
    super::check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}
