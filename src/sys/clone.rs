//! clone3(2) from a process that is proven to have one thread.

use std::convert::Infallible;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

/// Proof that this process has one thread, so that a forked child may allocate and take locks:
/// no other thread can have held them. Not `Send`: it stays on that thread.
#[derive(Debug)]
pub struct SingleThreaded(PhantomData<*const ()>);

impl SingleThreaded {
    /// Counts /proc/self/task (proc(5)); anything but one thread is an error.
    pub fn prove() -> io::Result<Self> {
        let mut threads = 0;
        for thread in std::fs::read_dir("/proc/self/task")? {
            // What cannot be listed is not one thread.
            thread?;
            threads += 1;
        }
        match threads {
            1 => Ok(Self(PhantomData)),
            n => Err(io::Error::other(format!(
                "{n} threads run where only one may"
            ))),
        }
    }
}

/// Ends a child that panics where its own code ends: what is on the stack above is its parent's, and so is what
/// unwinding would drop there.
struct EndOnUnwind;

impl Drop for EndOnUnwind {
    fn drop(&mut self) {
        exit_now(PANICKED)
    }
}

/// The exit status of a child that panicked.
const PANICKED: i32 = 255;

/// A child of this process.
#[derive(Debug)]
pub struct Child {
    /// Its id in this process's pid namespace.
    pub pid: Pid,
    /// Its pidfd, CLOEXEC.
    pub pidfd: OwnedFd,
}

/// Forks a child into new namespaces (`CLONE_NEW*` in `namespaces`) and, where given, into a cgroup.
/// The child runs `body` with all signal handlers at their defaults and never returns from here.
/// The parent learns of its end by the pidfd; SIGCHLD is sent as by fork(2).
#[allow(
    unreachable_code,
    reason = "a value of no type still has to be matched away"
)]
pub fn fork(
    proof: &SingleThreaded,
    namespaces: libc::c_int,
    cgroup: Option<BorrowedFd<'_>>,
    body: impl FnOnce() -> Infallible,
) -> io::Result<Child> {
    if let Some(child) = raw_fork(proof, namespaces, cgroup)? {
        return Ok(child);
    }
    let _end = EndOnUnwind;
    match body() {}
}

/// Forks a child of which both sides own `things`: it disposes of its copies (descriptors among them)
/// in `body`, and the parent gets its own back. New namespaces as with `fork`.
#[allow(
    unreachable_code,
    reason = "a value of no type still has to be matched away"
)]
pub fn fork_with<T>(
    proof: &SingleThreaded,
    namespaces: libc::c_int,
    things: T,
    body: impl FnOnce(T) -> Infallible,
) -> io::Result<(Child, T)> {
    if let Some(child) = raw_fork(proof, namespaces, None)? {
        return Ok((child, things));
    }
    let _end = EndOnUnwind;
    match body(things) {}
}

/// `None` in the child.
fn raw_fork(
    _proof: &SingleThreaded,
    namespaces: libc::c_int,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Option<Child>> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain data, for which zero means "none" in every field (clone(2)).
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    let flags = libc::CLONE_PIDFD | namespaces;
    args.flags = u64::from(flags.cast_unsigned()) | CLONE_CLEAR_SIGHAND;
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: without CLONE_VM the child has its own copy of memory and returns here like fork(2)'s;
    // one thread exists (`_proof`), so no lock is left held by a thread that the child lacks.
    let pid = super::check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_mut(&mut args),
            size_of::<libc::clone_args>(),
        )
    })?;
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: CLONE_PIDFD stored a new descriptor here, which nobody else owns.
    unsafe { born(pid, pidfd) }.map(Some)
}

/// Forks a child by clone(2), whose flags a seccomp filter can see where clone3's lie in memory. Otherwise
/// as `fork_with`, but for signal handlers, which stay: there are to be none.
#[allow(
    unreachable_code,
    reason = "a value of no type still has to be matched away"
)]
pub fn fork_seen<T>(
    _proof: &SingleThreaded,
    things: T,
    body: impl FnOnce(T) -> Infallible,
) -> io::Result<(Child, T)> {
    let mut pidfd: libc::c_int = -1;
    let flags = libc::c_long::from(libc::CLONE_PIDFD | libc::SIGCHLD);
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: as in `raw_fork`; no stack is given, so that the child goes on with its copy of this one. The
    // pidfd is stored where the third argument points (clone(2)), on every architecture.
    let pid = super::check(unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags,
            none,
            std::ptr::from_mut(&mut pidfd),
            none,
            none,
        )
    })?;
    if pid == 0 {
        let _end = EndOnUnwind;
        match body(things) {}
    }
    // SAFETY: CLONE_PIDFD stored a new descriptor here, which nobody else owns.
    let child = unsafe { born(pid, pidfd) }?;
    Ok((child, things))
}

/// A child in new namespaces that has this process's own memory, on a stack of its own, and waits in pause(2) until it
/// is killed: for what only wants a process to be there. It takes a fraction of a fork's time, since no memory is copied.
/// The caller must have no signal handlers: the child would run them, too.
pub fn station(_proof: &SingleThreaded, namespaces: libc::c_int) -> io::Result<Child> {
    let mut pidfd: libc::c_int = -1;
    // Never freed: a child that is killed leaves its stack when the kernel comes to it.
    let stack = Box::leak(Box::new(Stack([0; STACK])));
    let top = stack.0.as_mut_ptr_range().end;
    let flags = libc::CLONE_VM | libc::CLONE_PIDFD | libc::SIGCHLD | namespaces;
    // SAFETY: the child runs `wait` alone, on a stack that nobody else has. That touches nothing that is shared: pause(2)
    // returns, and sets errno, only after a signal handler. The pidfd is stored where the fifth argument points (clone(2)).
    let pid = super::check(libc::c_long::from(unsafe {
        libc::clone(
            wait,
            top.cast(),
            flags,
            std::ptr::null_mut(),
            std::ptr::from_mut(&mut pidfd),
        )
    }))?;
    // SAFETY: CLONE_PIDFD stored a new descriptor here, which nobody else owns.
    unsafe { born(pid, pidfd) }
}

const STACK: usize = 16 * 1024;

/// Aligned as every architecture asks.
#[repr(align(16))]
struct Stack([u8; STACK]);

extern "C" fn wait(_: *mut libc::c_void) -> libc::c_int {
    loop {
        // SAFETY: pause(2) has no preconditions.
        unsafe { libc::pause() };
    }
}

/// The child as its parent knows it.
///
/// # Safety
/// Nobody else may own `pidfd`.
unsafe fn born(pid: libc::c_long, pidfd: libc::c_int) -> io::Result<Child> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Err(io::Error::other("the kernel gave no pid"));
    };
    // SAFETY: the caller's word.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd })
}

/// Ends this process without running destructors or exit handlers, which belong to the parent.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(status) }
}

const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
