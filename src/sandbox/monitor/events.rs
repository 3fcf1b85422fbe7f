//! What the monitor waits for: descriptors, and whose event each of them tells.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

use crate::model::{SandboxId, SessionId};

/// Whose event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Gate,
    /// A sandbox's init reports, or ended.
    Birth(SandboxId),
    InitEnd(SandboxId),
    /// A session's child reports, or ended.
    Start(SessionId),
    End(SessionId),
    /// An errand's child ended.
    Errand(u64),
    /// SIGHUP.
    Signal,
    /// A program that tells keys wrote, or ended.
    Output(u64),
    CommandEnd(u64),
    /// Its memory ends.
    SandboxAlarm(SandboxId),
    SessionAlarm(SessionId),
    /// Somebody calls who wants to know about sandboxes, or asks.
    Desk,
    Caller(u64),
    /// What gets bundles tells of one.
    Bundle,
    /// Something was mounted or unmounted on the host.
    Mounts,
}

impl Source {
    pub(super) fn token(self) -> epoll::EventData {
        let (kind, number) = match self {
            Self::Gate => (0, 0),
            Self::Birth(id) => (1, id.0),
            Self::InitEnd(id) => (2, id.0),
            Self::Start(id) => (3, id.0),
            Self::End(id) => (4, id.0),
            Self::Errand(id) => (5, id),
            Self::Signal => (6, 0),
            Self::Output(id) => (7, id),
            Self::CommandEnd(id) => (8, id),
            Self::SandboxAlarm(id) => (9, id.0),
            Self::SessionAlarm(id) => (10, id.0),
            Self::Desk => (11, 0),
            Self::Caller(id) => (12, id),
            Self::Bundle => (13, 0),
            Self::Mounts => (14, 0),
        };
        epoll::EventData::new_u64(kind << 56 | number)
    }

    pub(super) fn of(token: epoll::EventData) -> Option<Self> {
        let token = token.u64();
        let number = token & (u64::MAX >> 8);
        Some(match token >> 56 {
            0 => Self::Gate,
            1 => Self::Birth(SandboxId(number)),
            2 => Self::InitEnd(SandboxId(number)),
            3 => Self::Start(SessionId(number)),
            4 => Self::End(SessionId(number)),
            5 => Self::Errand(number),
            6 => Self::Signal,
            7 => Self::Output(number),
            8 => Self::CommandEnd(number),
            9 => Self::SandboxAlarm(SandboxId(number)),
            10 => Self::SessionAlarm(SessionId(number)),
            11 => Self::Desk,
            12 => Self::Caller(number),
            13 => Self::Bundle,
            14 => Self::Mounts,
            _ => return None,
        })
    }
}

/// Where events come from; what is added must be dropped to be removed.
#[derive(Debug)]
pub(super) struct Events(pub(super) OwnedFd);

impl Events {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    pub(super) fn watch(&self, what: impl AsFd, source: Source) -> io::Result<()> {
        Ok(epoll::add(
            &self.0,
            what,
            source.token(),
            epoll::EventFlags::IN,
        )?)
    }

    /// Each change of what can always be read (proc_pid_mountinfo(5)), once.
    pub(super) fn watch_changes(&self, what: impl AsFd, source: Source) -> io::Result<()> {
        let flags = epoll::EventFlags::PRI | epoll::EventFlags::ET;
        Ok(epoll::add(&self.0, what, source.token(), flags)?)
    }

    /// All of them, or none.
    pub(super) fn watch_all(&self, all: &[(BorrowedFd<'_>, Source)]) -> io::Result<()> {
        for (added, (what, source)) in all.iter().enumerate() {
            if let Err(error) = self.watch(what, *source) {
                for (what, _) in all.iter().take(added) {
                    self.forget(what)?;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) fn forget(&self, what: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.0, what)?)
    }
}

/// What epoll_pwait2(2) takes.
pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().cast_signed(),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
