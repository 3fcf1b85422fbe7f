//! The privileged calls that a sandbox is made by, tried once before a port opens: what a container's engine refuses
//! is named then, with the mend, and not by the first client's failure.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::init::NAMESPACES;
use super::root::{Guarded, READ_ONLY, WORKPLACE};
use super::seal;
use super::surroundings::{Attempt, Surroundings};
use crate::sys::clone::{self, SingleThreaded};
use crate::sys::mount::{Depth, add_attributes};
use crate::sys::{descriptors, keyring};

/// Why no sandbox can be made here.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// A call was refused.
    #[error("no sandbox can be made here: {call}: {source}: {mend}")]
    Refused {
        /// As seccomp profiles name it, and what for where it is not plain.
        call: String,
        /// How it was refused.
        source: io::Error,
        /// What it is likely refused by, and the mend.
        mend: String,
    },
    /// A call ended its process.
    #[error("no sandbox can be made here: {call}: signal {signal}: {mend}")]
    Killed {
        /// Which.
        call: String,
        /// The signal's number.
        signal: i32,
        /// The same.
        mend: String,
    },
    /// It could not be tried.
    #[error("cannot try what a sandbox needs: {0}")]
    Process(#[from] io::Error),
}

/// Makes, in a child with namespaces of its own, what a sandbox is made of, and drops it. Nothing of it is seen
/// outside, and nothing stays.
pub(crate) fn rehearse() -> Result<(), RehearsalError> {
    let host = rustix::fs::stat("/proc/self/ns/mnt").map_err(io::Error::from)?;
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
    let one_thread = SingleThreaded::prove()?;
    let child = clone::fork(&one_thread, NAMESPACES, None, || {
        end(act(&Script(&write), host.st_ino))
    });
    drop(write);
    let child = child.map_err(|source| refused("clone3", source))?;
    let mut calls = String::new();
    io::Read::read_to_string(&mut std::fs::File::from(read), &mut calls)?;
    let call = calls.lines().last().unwrap_or("clone3");
    let ended = rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED)
        .map_err(io::Error::from)?
        .ok_or_else(|| io::Error::other("the child is not there"))?;
    match (ended.exit_status(), ended.terminating_signal()) {
        (Some(0), _) => Ok(()),
        (Some(errno), _) => Err(refused(call, io::Error::from_raw_os_error(errno))),
        (None, signal) => Err(RehearsalError::Killed {
            call: call.to_owned(),
            signal: signal.unwrap_or_default(),
            mend: Surroundings::read().mend(&Attempt { call, errno: None }),
        }),
    }
}

fn refused(call: &str, source: io::Error) -> RehearsalError {
    let attempt = Attempt {
        call,
        errno: source.raw_os_error(),
    };
    RehearsalError::Refused {
        mend: Surroundings::read().mend(&attempt),
        call: call.to_owned(),
        source,
    }
}

/// Says which call comes next, a line each: the last one is the one that failed.
struct Script<'a>(&'a OwnedFd);

impl Script<'_> {
    fn next(&self, call: &str) -> io::Result<()> {
        rustix::io::write(self.0, call.as_bytes())?;
        rustix::io::write(self.0, b"\n")?;
        Ok(())
    }
}

/// The exit status is the errno(3) of the call that failed.
fn end(outcome: io::Result<()>) -> Infallible {
    let status = match outcome {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    clone::exit_now(status)
}

/// What `init` and the monitor do for each sandbox, in init's order. `host` is the inode of the host's mount
/// namespace.
fn act(script: &Script<'_>, host: u64) -> io::Result<()> {
    script.next("unshare")?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    script.next("setns")?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let network = rustix::fs::open("/proc/self/ns/net", flags, Mode::empty())?;
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
    script.next("keyctl")?;
    keyring::join_fresh_session()?;
    script.next("sethostname")?;
    nix::unistd::sethostname("sandgate")?;
    script.next("unshare")?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let mounts = rustix::fs::open("/proc/self/ns/mnt", flags, Mode::empty())?;
    let _guarded = Guarded::check(host).map_err(io::Error::other)?;
    script.next("mount")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    let root = mount_root(script)?;
    mount_proc(script, &root)?;
    script.next("pivot_root")?;
    rustix::process::fchdir(&root)?;
    rustix::process::pivot_root(".", ".")?;
    script.next("umount2")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    script.next("setns")?;
    move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))?;
    script.next("unshare")?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    script.next("close_range")?;
    descriptors::close_range(u32::MAX - 1, u32::MAX)?;
    script.next("write to /proc/sys/vm/memfd_noexec")?;
    if Path::new(seal::SETTING).exists() {
        seal::seal_memory_files()?;
    }
    Ok(())
}

/// A tmpfs, read-only and part of the tree.
fn mount_root(script: &Script<'_>) -> io::Result<OwnedFd> {
    script.next("fsopen")?;
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    script.next("fsconfig")?;
    rustix::mount::fsconfig_create(&context)?;
    script.next("fsmount")?;
    let attributes = MountAttrFlags::empty();
    let root = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    rustix::fs::mkdirat(&root, "proc", Mode::RWXU)?;
    script.next("move_mount")?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&root, "", CWD, WORKPLACE, flags)?;
    script.next("open_tree")?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let copy = rustix::mount::open_tree(&root, "", flags)?;
    script.next("mount_setattr")?;
    add_attributes(copy.as_fd(), READ_ONLY, Depth::One)?;
    Ok(root)
}

/// A /proc of the new pid namespace.
fn mount_proc(script: &Script<'_>, root: &OwnedFd) -> io::Result<()> {
    script.next("openat2")?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let place = rustix::fs::openat2(root, "proc", flags, Mode::empty(), resolve)?;
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    script.next(Attempt::PROC)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(&proc, "", &place, "", flags)?;
    Ok(())
}
