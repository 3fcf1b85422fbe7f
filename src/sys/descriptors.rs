//! Descriptors across execve(2).

use std::io;

/// Marks every descriptor from `first` up CLOEXEC, also those that nobody here knows of (close_range(2)).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: only flags of descriptors change; none is closed.
    super::check(unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    })?;
    Ok(())
}
