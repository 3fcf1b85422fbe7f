//! Signal dispositions of a new process.

use std::io;

use nix::sys::signal::SigmaskHow;

/// Gives every signal its default action and blocks none. What is ignored survives execve(2), and
/// the Rust runtime ignores SIGPIPE.
pub fn reset() -> io::Result<()> {
    reset_but_block(&[])
}

/// The same, with these left blocked: one that was blocked before is at no moment delivered.
pub fn reset_but_block(blocked: &[nix::sys::signal::Signal]) -> io::Result<()> {
    // What SIG_DFL, no flags, no restorer and an empty mask look like to the kernel.
    let default = [0_u64; 4];
    for number in 1..=libc::SIGRTMAX() {
        if number != libc::SIGKILL && number != libc::SIGSTOP {
            // The call itself and not the C library, which hides signals 32 and 33 (nptl(7)); they can
            // be inherited as ignored too.
            // SAFETY: the kernel reads a struct sigaction of four words (rt_sigaction(2)) and writes nothing.
            super::check(unsafe {
                libc::syscall(
                    libc::SYS_rt_sigaction,
                    number,
                    default.as_ptr(),
                    std::ptr::null::<u8>(),
                    size_of::<u64>(),
                )
            })?;
        }
    }
    let mask: nix::sys::signal::SigSet = blocked.iter().copied().collect();
    // Not SigSet::thread_set_mask: pthread_sigmask(3) returns its error, and nix looks for it in errno.
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
    Ok(())
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
