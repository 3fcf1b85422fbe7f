//! Descriptors across execve(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

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

/// Takes over `count` descriptors from `first` on that this process was started with, such as systemd's
/// (sd_listen_fds(3)), and marks them CLOEXEC. To be called once, before anything else is opened.
pub fn take_inherited(first: RawFd, count: u32) -> io::Result<Vec<OwnedFd>> {
    let last = RawFd::try_from(count)
        .ok()
        .and_then(|count| first.checked_add(count))
        .ok_or(io::ErrorKind::InvalidInput)?;
    let take = |number: RawFd| {
        // SAFETY: F_SETFD changes only the flags of what is open under this number, or fails.
        super::check(unsafe {
            libc::syscall(libc::SYS_fcntl, number, libc::F_SETFD, libc::FD_CLOEXEC)
        })?;
        // SAFETY: it is open, and whoever started this process meant it for it; nobody here owns it yet.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    (first..last).map(take).collect()
}

/// Closes every descriptor from `first` up but those `kept`: see `close_range`.
pub fn close_all_but<'a>(
    kept: impl IntoIterator<Item = BorrowedFd<'a>>,
    first: u32,
) -> io::Result<()> {
    let kept = kept.into_iter().map(|one| one.as_raw_fd().cast_unsigned());
    let mut kept: Vec<u32> = kept.filter(|number| *number >= first).collect();
    kept.sort_unstable();
    let mut next = first;
    for number in kept {
        if number > next {
            close_range(next, number - 1)?;
        }
        next = number + 1;
    }
    close_range(next, u32::MAX)
}

/// Closes every descriptor from `first` to `last`, whoever owns it: for a child that keeps none of
/// its parent's and drops no owner afterwards (close_range(2)).
pub fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: the caller is a forked child whose owners of these descriptors never run their destructors.
    super::check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}
