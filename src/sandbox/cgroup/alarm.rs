//! A group that runs out of memory ends as a whole, where the kernel ends one process of it alone.
//!
//! Version 2 does this by itself (memory.oom.group). Version 1 tells by an eventfd (cgroup-v1/memory.rst,
//! OOM Control), but before it kills, and it tells every group below the one that is full: a group is at
//! its end when the kernel then did kill in it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;
use rustix::fs::OFlags;

use super::limits::write_text;
use super::{children, open_directory, open_file, read};

/// How often the kernel's count is read after it has told.
const INTERVAL: Duration = Duration::from_millis(5);

/// How long it may take to kill; a machine without memory is slow.
const SUSPICION: Duration = Duration::from_secs(2);

/// The end of one group's memory.
#[derive(Debug)]
pub(in crate::sandbox) struct Alarm {
    event: OwnedFd,
    /// Its directory in the memory hierarchy.
    group: OwnedFd,
    suspected: Option<Suspected>,
}

#[derive(Debug, Clone, Copy)]
struct Suspected {
    until: Instant,
    next: Instant,
}

impl Alarm {
    /// Asks to be told of a group's end of memory.
    pub(super) fn of(group: OwnedFd) -> io::Result<Self> {
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let control = open_file(&group, "memory.oom_control", OFlags::RDONLY)?;
        let numbers = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
        write_text(&group, "cgroup.event_control", &numbers)?;
        Ok(Self {
            event,
            group,
            suspected: None,
        })
    }

    /// It has told.
    pub(in crate::sandbox) fn rung(&mut self, now: Instant) -> io::Result<()> {
        match rustix::io::read(&self.event, &mut [0_u8; 8]) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
            Err(e) => return Err(e.into()),
        }
        self.suspected = Some(Suspected {
            until: now + SUSPICION,
            next: now,
        });
        Ok(())
    }

    pub(super) fn kills(&self) -> io::Result<u64> {
        kills(&self.group, "memory.oom_control")
    }

    /// When to look whether the kernel has killed.
    pub(in crate::sandbox) fn next_due(&self) -> Option<Instant> {
        self.suspected.map(|suspected| suspected.next)
    }

    /// Whether the kernel has killed in it, once it told. A count that can't be read is as good as a kill.
    pub(in crate::sandbox) fn is_over(&mut self, now: Instant) -> bool {
        let Some(suspected) = self.suspected.as_mut().filter(|it| it.next <= now) else {
            return false;
        };
        suspected.next = now + INTERVAL;
        if suspected.until < now {
            self.suspected = None;
        }
        self.kills().map_or_else(
            |error| {
                tracing::warn!(%error, "cannot read whether a group has lost a process");
                true
            },
            |kills| kills > 0,
        )
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// How many processes of a group, and of those right below it, were killed for their memory.
pub(super) fn kills(group: &OwnedFd, file: &str) -> io::Result<u64> {
    let mut sum = count(group, file)?;
    for name in children(group)? {
        match open_directory(group, &name) {
            Ok(child) => sum += count(&child, file)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(sum)
}

/// A group that is gone has lost nothing more.
fn count(group: &OwnedFd, file: &str) -> io::Result<u64> {
    let text = match read(group, file) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => String::new(),
        other => other?,
    };
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok());
    Ok(count.unwrap_or(0))
}
