//! The daemon's cgroups: one for each sandbox and, below it, one for each session (cgroup v2).
//!
//! The hierarchy is reached through a detached mount of our own, wherever the host mounts it.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RawDir};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

/// The start of the names of our directories below the daemon's own cgroup.
const PREFIX: &str = "sandgate.";

/// The directory of one daemon. Its lock is held by every process that has this descriptor,
/// so that a later start can tell the dead from the living.
#[derive(Debug)]
pub(crate) struct Tree {
    parent: OwnedFd,
    name: String,
    directory: OwnedFd,
}

/// A cgroup below the daemon's, by descriptors of its directory and of its cgroup.kill: ending what is
/// in it needs nothing that may have run out by then.
#[derive(Debug)]
pub(super) struct Group {
    directory: OwnedFd,
    kill: OwnedFd,
}

fn open_directory(base: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(base, name, flags, Mode::empty())?)
}

/// The daemon's own cgroup directory.
fn own_directory() -> io::Result<OwnedFd> {
    let membership = std::fs::read_to_string("/proc/self/cgroup")?;
    let path = membership
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .ok_or_else(|| {
            io::Error::other("this kernel has no cgroup v2 hierarchy (CONFIG_CGROUPS)")
        })?;
    let context = rustix::mount::fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    open_directory(&root, if path.is_empty() { "." } else { path })
}

impl Tree {
    /// Sweeps what dead daemons left here and makes this daemon's directory.
    pub(crate) fn create() -> io::Result<Self> {
        let parent = own_directory()?;
        // Between making a directory and locking it, it looks like a dead daemon's: one start at a time.
        let starting = open_directory(&parent, ".")?;
        rustix::fs::flock(&starting, FlockOperation::LockExclusive)?;
        for name in children(&parent)? {
            if name.starts_with(PREFIX) {
                // What can't be cleared away now has a name of its own and is no reason not to serve.
                if let Err(error) = sweep_if_dead(&parent, &name) {
                    tracing::warn!(cgroup = name, %error, "not swept");
                }
            }
        }
        let name = format!("{PREFIX}{}", rustix::process::getpid());
        rustix::fs::mkdirat(&parent, &*name, Mode::from_raw_mode(0o755))?;
        let directory = open_directory(&parent, &name)?;
        rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self {
            parent,
            name,
            directory,
        })
    }

    /// A new child group.
    pub(super) fn group(&self, name: &str) -> io::Result<Group> {
        Group::create(&self.directory, name)
    }

    /// Removes an empty child with its empty children; `false` while something lives in it.
    pub(super) fn remove(&self, name: &str) -> io::Result<bool> {
        remove_tree(&self.directory, name)
    }

    /// Ends every process below and removes the directory; waits for at most two seconds.
    pub(crate) fn raze(&self) -> io::Result<()> {
        raze(&self.parent, &self.name)
    }
}

impl Group {
    fn create(base: impl AsFd, name: &str) -> io::Result<Self> {
        rustix::fs::mkdirat(&base, name, Mode::from_raw_mode(0o755))?;
        let directory = open_directory(base, name)?;
        let kill = open_file(&directory, "cgroup.kill", OFlags::WRONLY)?;
        Ok(Self { directory, kill })
    }

    /// A group below this one.
    pub(super) fn child(&self, name: &str) -> io::Result<Self> {
        Self::create(&self.directory, name)
    }

    /// Its id, as sock_diag reports it for a socket's creator: the directory's inode number.
    pub(super) fn id(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.directory)?.st_ino)
    }

    /// SIGKILL for everything in it and below, forks included (cgroup.kill, Linux 5.14). A group that is
    /// removed already holds nothing.
    pub(super) fn kill(&self) -> io::Result<()> {
        match rustix::io::write(&self.kill, b"1") {
            Ok(_) | Err(rustix::io::Errno::NODEV) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// The processes in it and below.
    pub(super) fn processes(&self) -> io::Result<Vec<Pid>> {
        let mut pids = pids(&self.directory)?;
        for name in children(&self.directory)? {
            match open_directory(&self.directory, &name) {
                Ok(child) => pids.extend(self::pids(&child)?),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(pids)
    }

    /// Bytes charged to it and below (cgroup v2, memory.current); `None` where the host's memory controller
    /// is not there for it.
    pub(super) fn memory(&self) -> Option<u64> {
        let file = open_file(&self.directory, "memory.current", OFlags::RDONLY).ok()?;
        let text = io::read_to_string(std::fs::File::from(file)).ok()?;
        text.trim_ascii_end().parse().ok()
    }

    /// Signals what is in it and wanted. A pid may be used anew between reading and signalling: only
    /// what is still a member once its pidfd is held gets one. A batch of pidfds at a time: a sandbox
    /// chooses how many processes it has, but not how many descriptors this takes.
    pub(super) fn signal(
        &self,
        signals: &[Signal],
        wanted: impl Fn(Pid) -> bool,
    ) -> io::Result<()> {
        const BATCH: usize = 256;
        let targets: Vec<Pid> = self
            .processes()?
            .into_iter()
            .filter(|pid| wanted(*pid))
            .collect();
        for batch in targets.chunks(BATCH) {
            let mut held = Vec::with_capacity(batch.len());
            for pid in batch {
                match rustix::process::pidfd_open(*pid, PidfdFlags::empty()) {
                    Ok(pidfd) => held.push((pid, pidfd)),
                    // It has ended meanwhile.
                    Err(rustix::io::Errno::SRCH) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            let members: HashSet<Pid> = self.processes()?.into_iter().collect();
            for (_, pidfd) in held.iter().filter(|(pid, _)| members.contains(pid)) {
                send(pidfd, signals)?;
            }
        }
        Ok(())
    }
}

pub(super) fn send(pidfd: &OwnedFd, signals: &[Signal]) -> io::Result<()> {
    for signal in signals {
        match rustix::process::pidfd_send_signal(pidfd, *signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// A directory whose lock nobody holds belongs to a dead daemon.
fn sweep_if_dead(parent: &OwnedFd, name: &str) -> io::Result<()> {
    let directory = open_directory(parent, name)?;
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            tracing::warn!(cgroup = name, "sweeping what a killed daemon left");
            raze(parent, name)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn raze(parent: &OwnedFd, name: &str) -> io::Result<()> {
    match open_directory(parent, name) {
        Ok(directory) => {
            rustix::io::write(open_file(&directory, "cgroup.kill", OFlags::WRONLY)?, b"1")?;
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    }
    for _ in 0..400 {
        if remove_tree(parent, name)? {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Err(io::Error::other(format!(
        "cgroup {name} is still populated two seconds after cgroup.kill"
    )))
}

fn remove_tree(parent: &OwnedFd, name: &str) -> io::Result<bool> {
    let directory = match open_directory(parent, name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        other => other?,
    };
    for child in children(&directory)? {
        if !remove_tree(&directory, &child)? {
            return Ok(false);
        }
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(true),
        Err(rustix::io::Errno::BUSY) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn children(directory: &OwnedFd) -> io::Result<Vec<String>> {
    // A fresh open file description: reading moves its offset.
    let fresh = open_directory(directory, ".")?;
    let mut buffer = Vec::with_capacity(8192);
    let mut entries = RawDir::new(&fresh, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().is_dir() && name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// The members of one group; none where it is removed already.
fn pids(directory: &OwnedFd) -> io::Result<Vec<Pid>> {
    let read = open_file(directory, "cgroup.procs", OFlags::RDONLY)
        .and_then(|file| io::read_to_string(std::fs::File::from(file)));
    let text = match read {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => String::new(),
        other => other?,
    };
    Ok(text
        .lines()
        .filter_map(|line| line.parse().ok().and_then(Pid::from_raw))
        .collect())
}

fn open_file(directory: &OwnedFd, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(
        directory,
        name,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}
