//! Signal dispositions of a new process.

use std::io;

/// Gives every signal its default action and blocks none. What is ignored survives execve(2), and
/// the Rust runtime ignores SIGPIPE.
pub fn reset() -> io::Result<()> {
    for number in 1..=libc::SIGRTMAX() {
        let changeable = number != libc::SIGKILL && number != libc::SIGSTOP;
        // 32 and 33 belong to the C library (nptl(7)), which refuses them.
        if changeable && !(32..34).contains(&number) {
            set(number, libc::SIG_DFL)?;
        }
    }
    nix::sys::signal::SigSet::empty()
        .thread_set_mask()
        .map_err(io::Error::from)
}

/// Ignores SIGCHLD: the kernel then reaps children by itself (sigaction(2), SA_NOCLDWAIT).
pub fn reap_children_automatically() -> io::Result<()> {
    set(libc::SIGCHLD, libc::SIG_IGN)
}

fn set(number: libc::c_int, action: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: SIG_DFL and SIG_IGN install no code.
    let previous = unsafe { libc::signal(number, action) };
    if previous == libc::SIG_ERR {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Ignores SIGPIPE, as the Rust runtime does: writing to a closed pipe is an error to handle, not an end.
pub fn ignore_broken_pipes() -> io::Result<()> {
    set(libc::SIGPIPE, libc::SIG_IGN)
}
