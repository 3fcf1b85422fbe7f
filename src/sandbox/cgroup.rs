//! The daemon's cgroups: one for each sandbox and, below it, one for each session.
//!
//! The unified hierarchy (version 2) has all of them and ends what is in them. Bounds are held there, or
//! in those hierarchies of version 1 that have the controllers; each is reached through a detached mount
//! of our own, wherever the host mounts it.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RawDir};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::config::Resource;

mod alarm;
mod controllers;
mod limits;
mod swap;
mod sweep;

pub(super) use alarm::Alarm;
pub use controllers::{Controllers, Version, is_delegated};
pub use limits::Limits;
pub use swap::Swap;

use controllers::{Separate, is_root, own_directory, separate_directory, unified_path};
use limits::write_text;
use swap::Counting;
use sweep::{claim, clear, raze};

/// The start of the names of our directories below the daemon's own cgroup.
const PREFIX: &str = "sandgate.";

/// Where the daemon itself goes when its own cgroup gives controllers to sandboxes and may not have
/// processes any more. A killed daemon leaves it; who is started in it works in the group above.
const DAEMON: &str = "sandgate-daemon";

/// Where a sandbox's init is, since its cgroup may give controllers to sessions.
const INIT: &str = "init";

/// The directory of one daemon. Its lock is held by every process that has this descriptor,
/// so that a later start can tell the dead from the living.
#[derive(Debug)]
pub(crate) struct Tree {
    parent: OwnedFd,
    name: String,
    directory: OwnedFd,
    /// What version 2 holds.
    unified: Vec<Resource>,
    separate: Vec<Hierarchy>,
    counting: Counting,
}

/// The daemon's directory in a hierarchy of version 1.
#[derive(Debug)]
struct Hierarchy {
    parent: OwnedFd,
    directory: OwnedFd,
    resources: Vec<Resource>,
}

/// A cgroup below the daemon's, by descriptors of its directory and of its cgroup.kill: ending what is
/// in it needs nothing that may have run out by then.
#[derive(Debug)]
pub(super) struct Group {
    directory: OwnedFd,
    kill: OwnedFd,
    /// From the daemon's directory, in every hierarchy.
    path: String,
    /// Its `tasks` in the hierarchies of version 1, where it is there too.
    separate: Vec<OwnedFd>,
    alarm: Option<Alarm>,
}

fn open_directory(base: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(base, name, flags, Mode::empty())?)
}

impl Tree {
    /// Sweeps what dead daemons left here and makes this daemon's directories.
    pub(crate) fn create(controllers: &Controllers) -> io::Result<Self> {
        let membership = std::fs::read_to_string("/proc/self/cgroup")?;
        let parent = own_directory(unified_path(&membership)?)?;
        let name = own_name()?;
        let directory = claim(&parent, &name, raze)?;
        if !controllers.unified.is_empty() {
            if !is_root(&parent) {
                make_directory(&parent, DAEMON)?;
                write_text(&open_directory(&parent, DAEMON)?, "cgroup.procs", "0")?;
            }
            for group in [&parent, &directory] {
                control(group, '+', &controllers.unified)?;
            }
        }
        let hierarchy = |separate| Hierarchy::create(separate, &name);
        let separate =
            (controllers.separate.iter().map(hierarchy)).collect::<io::Result<Vec<_>>>()?;
        // A hierarchy's root of version 2 has no bounds: asked are groups of our own.
        let has = |resources: &[Resource]| resources.contains(&Resource::Memory);
        let one = separate.iter().find(|one| has(&one.resources));
        let one = one.map(|hierarchy| (&hierarchy.directory, Version::One));
        let two = has(&controllers.unified).then_some((&directory, Version::Two));
        let memory = two.or(one);
        Ok(Self {
            counting: Counting::of(memory)?,
            separate,
            unified: controllers.unified.clone(),
            parent,
            name,
            directory,
        })
    }

    /// A new child group without bounds.
    pub(super) fn group(&self, name: &str) -> io::Result<Group> {
        Group::create(&self.directory, name.to_owned(), name)
    }

    /// A new child group for a sandbox, without bounds yet, which the caller removes if it is not made whole; and where
    /// its own processes go, so that its sessions may have bounds of their own.
    pub(super) fn sandbox(&self, name: &str) -> io::Result<(Group, Option<Group>)> {
        let mut group = self.group(name)?;
        self.spread(&mut group)?;
        let divisible = !self.unified.is_empty();
        let cradle = divisible.then(|| group.child(INIT)).transpose()?;
        Ok((group, cradle))
    }

    /// Sets a sandbox's bounds, and lets sessions have theirs.
    pub(super) fn bound_sandbox(
        &self,
        group: &mut Group,
        limits: &Limits,
        sessions: &Limits,
    ) -> io::Result<()> {
        self.bound(group, limits)?;
        if !sessions.any() || self.unified.is_empty() {
            return Ok(());
        }
        control(&group.directory, '+', &self.unified)
    }

    /// A new group for a session below its sandbox's, which the caller removes if it is not made whole.
    pub(super) fn session(
        &self,
        sandbox: &Group,
        name: &str,
        limits: &Limits,
    ) -> io::Result<Group> {
        let mut group = sandbox.child(name)?;
        if limits.any() {
            self.spread(&mut group)?;
            self.bound(&mut group, limits)?;
        }
        Ok(group)
    }

    /// Makes a group in the hierarchies of version 1, too.
    fn spread(&self, group: &mut Group) -> io::Result<()> {
        for Hierarchy { directory, .. } in &self.separate {
            make_directory(directory, &group.path)?;
            let tasks = format!("{}/tasks", group.path);
            let tasks = open_file(directory, &tasks, OFlags::WRONLY)?;
            group.separate.push(tasks);
        }
        Ok(())
    }

    fn bound(&self, group: &mut Group, limits: &Limits) -> io::Result<()> {
        limits.write_unified(&group.directory, &self.unified, self.counting)?;
        for hierarchy in &self.separate {
            let directory = open_directory(&hierarchy.directory, &group.path)?;
            limits.write_separate(&directory, &hierarchy.resources, self.counting)?;
            if limits.memory.is_some() && hierarchy.resources.contains(&Resource::Memory) {
                group.alarm = Some(Alarm::of(directory)?);
            }
        }
        Ok(())
    }

    /// Removes an empty child with its empty children; `false` while something lives in it.
    pub(crate) fn remove(&self, path: &str) -> io::Result<bool> {
        let mut gone = remove_tree(&self.directory, path)?;
        for hierarchy in &self.separate {
            gone &= remove_tree(&hierarchy.directory, path)?;
        }
        Ok(gone)
    }

    /// Ends every process below and removes the directories; waits for at most two seconds in each
    /// hierarchy.
    pub(crate) fn raze(&self) -> io::Result<()> {
        raze(&self.parent, &self.name)?;
        for hierarchy in &self.separate {
            clear(&hierarchy.parent, &self.name)?;
        }
        Ok(())
    }

    /// Leaves the daemon's own cgroup as it was found: one that gives controllers on takes no process, so nobody
    /// else could be started in it. For the last process, after `raze`. Not while others are there, or have groups,
    /// which may be bounded.
    pub(crate) fn leave(&self) -> io::Result<()> {
        if self.unified.is_empty() || is_root(&self.parent) {
            return Ok(());
        }
        let starting = open_directory(&self.parent, ".")?;
        rustix::fs::flock(&starting, FlockOperation::LockExclusive)?;
        let own = open_directory(&self.parent, DAEMON)?;
        let last = pids(&own)? == [rustix::process::getpid()];
        if last && children(&self.parent)? == [DAEMON] {
            control(&self.parent, '-', &self.unified)?;
            write_text(&self.parent, "cgroup.procs", "0")?;
            remove_tree(&self.parent, DAEMON)?;
        }
        Ok(())
    }
}

impl Hierarchy {
    fn create(separate: &Separate, name: &str) -> io::Result<Self> {
        let wrong = |e: io::Error| {
            let names = separate.controllers.join(",");
            io::Error::new(e.kind(), format!("cgroup v1 {names}: {e}"))
        };
        let parent = separate_directory(separate).map_err(wrong)?;
        // Nothing is killed here: that is for version 2, which has the same processes.
        let directory = claim(&parent, name, |parent, name| {
            remove_tree(parent, name).map(drop)
        });
        Ok(Self {
            directory: directory.map_err(wrong)?,
            resources: separate.resources.clone(),
            parent,
        })
    }
}

/// No living daemon has the same: two in containers that share a cgroup may both be process 1.
fn own_name() -> io::Result<String> {
    let namespace = rustix::fs::stat("/proc/self/ns/pid")?.st_ino;
    let pid = rustix::process::getpid();
    Ok(format!("{PREFIX}{pid}.{namespace}"))
}

fn make_directory(parent: &OwnedFd, path: &str) -> io::Result<()> {
    match rustix::fs::mkdirat(parent, path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Gives a group's controllers to the groups below it (`+`), or takes them back (`-`).
fn control(group: &OwnedFd, sign: char, resources: &[Resource]) -> io::Result<()> {
    let names: Vec<String> = resources
        .iter()
        .map(|resource| format!("{sign}{}", controllers::name(*resource)))
        .collect();
    write_text(group, "cgroup.subtree_control", &names.join(" "))
}

impl Group {
    fn create(base: impl AsFd, path: String, name: &str) -> io::Result<Self> {
        rustix::fs::mkdirat(&base, name, Mode::from_raw_mode(0o755))?;
        let directory = open_directory(base, name)?;
        let kill = open_file(&directory, "cgroup.kill", OFlags::WRONLY)?;
        Ok(Self {
            directory,
            kill,
            path,
            separate: Vec::new(),
            alarm: None,
        })
    }

    /// What a child that was born into a session's group of version 2 writes `0` to, to be in the same of version
    /// 1, or in its sandbox's. Files of threads: that of a process would wait for a grace period of the kernel's.
    pub(super) fn joins<'a>(&'a self, sandbox: &'a Self) -> &'a [OwnedFd] {
        if self.separate.is_empty() {
            &sandbox.separate
        } else {
            &self.separate
        }
    }

    fn child(&self, name: &str) -> io::Result<Self> {
        Self::create(&self.directory, format!("{}/{name}", self.path), name)
    }

    /// Its path below the daemon's directory.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// What tells of its end of memory, where the kernel does not end it by itself.
    pub(super) fn alarm(&self) -> Option<&Alarm> {
        self.alarm.as_ref()
    }

    pub(super) fn alarm_mut(&mut self) -> Option<&mut Alarm> {
        self.alarm.as_mut()
    }

    /// Whether the kernel has killed in it for its memory, as far as it can be told.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let kills = match &self.alarm {
            Some(alarm) => alarm.kills(),
            None => alarm::kills(&self.directory, "memory.events"),
        };
        kills.is_ok_and(|kills| kills > 0)
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

    /// Bytes charged to it and below; `None` where nothing counts them.
    pub(super) fn memory(&self) -> Option<u64> {
        let text = match &self.alarm {
            Some(alarm) => alarm.usage(),
            None => read(&self.directory, "memory.current"),
        };
        text.ok()?.trim_ascii_end().parse().ok()
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

/// Looks into it only where something is left in it.
fn remove_tree(parent: &OwnedFd, name: &str) -> io::Result<bool> {
    if remove_directory(parent, name)? {
        return Ok(true);
    }
    let directory = match open_directory(parent, name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        other => other?,
    };
    for child in children(&directory)? {
        if !remove_tree(&directory, &child)? {
            return Ok(false);
        }
    }
    remove_directory(parent, name)
}

/// `false` while there is a process or a group in it.
fn remove_directory(parent: &OwnedFd, name: &str) -> io::Result<bool> {
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
    let text = match read(directory, "cgroup.procs") {
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

fn read(directory: &OwnedFd, name: &str) -> io::Result<String> {
    let file = open_file(directory, name, OFlags::RDONLY)?;
    io::read_to_string(std::fs::File::from(file))
}
