//! File attributes: on the wire, from the kernel, and applied to a file (draft-ietf-secsh-filexfer-02 §5).

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::packet::{Fields, Malformed, Reply};
use std::os::fd::BorrowedFd;

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const PERMISSIONS: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;

/// What a mode's permissions are, the three special bits included (chmod(2)).
const PERMISSION_BITS: u32 = 0o7777;

/// Each is there or not, by the packet's flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    /// Uid and gid.
    pub(super) owner: Option<(u32, u32)>,
    /// Type and permissions, as st_mode.
    pub(super) mode: Option<u32>,
    /// Of access and of modification, in seconds since 1970.
    pub(super) times: Option<(u32, u32)>,
}

/// What attributes are applied to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    Open(BorrowedFd<'a>),
    /// What the path leads to.
    Followed(&'a [u8]),
    /// What the path names, be it a symbolic link.
    Named(&'a [u8]),
}

pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Attributes, Malformed> {
    let flags = fields.u32()?;
    let mut attributes = Attributes::default();
    if flags & SIZE != 0 {
        attributes.size = Some(fields.u64()?);
    }
    if flags & OWNER != 0 {
        attributes.owner = Some((fields.u32()?, fields.u32()?));
    }
    if flags & PERMISSIONS != 0 {
        attributes.mode = Some(fields.u32()?);
    }
    if flags & TIMES != 0 {
        attributes.times = Some((fields.u32()?, fields.u32()?));
    }
    if flags & EXTENDED != 0 {
        // No extended attribute is known here; they only have to be there.
        for _ in 0..fields.u32()? {
            fields.string()?;
            fields.string()?;
        }
    }
    Ok(attributes)
}

pub(super) fn encode(attributes: &Attributes, reply: &mut Reply) {
    let flag = |present, flag| if present { flag } else { 0 };
    reply.u32(
        flag(attributes.size.is_some(), SIZE)
            | flag(attributes.owner.is_some(), OWNER)
            | flag(attributes.mode.is_some(), PERMISSIONS)
            | flag(attributes.times.is_some(), TIMES),
    );
    if let Some(size) = attributes.size {
        reply.u64(size);
    }
    if let Some((uid, gid)) = attributes.owner {
        reply.u32(uid);
        reply.u32(gid);
    }
    if let Some(mode) = attributes.mode {
        reply.u32(mode);
    }
    if let Some((accessed, modified)) = attributes.times {
        reply.u32(accessed);
        reply.u32(modified);
    }
}

impl From<&Stat> for Attributes {
    fn from(stat: &Stat) -> Self {
        // The protocol's seconds are 32 bits without a sign: what lies outside becomes the nearest.
        let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
        Self {
            size: u64::try_from(stat.st_size).ok(),
            owner: Some((stat.st_uid, stat.st_gid)),
            mode: Some(stat.st_mode),
            times: Some((seconds(stat.st_atime), seconds(stat.st_mtime))),
        }
    }
}

impl Attributes {
    /// The permissions for something new, or these where none are given; the umask is the kernel's.
    pub(super) fn mode_or(&self, otherwise: u32) -> Mode {
        permissions(self.mode.unwrap_or(otherwise))
    }

    /// Applies what is there, in OpenSSH's order: a failure of one does not spare the others, and the
    /// first is told.
    pub(super) fn apply(&self, subject: Subject<'_>) -> Result<(), Errno> {
        let results = [
            self.size.map(|size| truncate(subject, size)),
            self.mode
                .map(|mode| change_mode(subject, permissions(mode))),
            self.times.map(|times| change_times(subject, times)),
            self.owner.map(|owner| change_owner(subject, owner)),
        ];
        results.into_iter().flatten().collect()
    }
}

fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & PERMISSION_BITS)
}

fn truncate(subject: Subject<'_>, size: u64) -> Result<(), Errno> {
    let open = |path, flags| {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | flags;
        rustix::fs::ftruncate(rustix::fs::open(path, flags, Mode::empty())?, size)
    };
    match subject {
        Subject::Open(file) => rustix::fs::ftruncate(file, size),
        Subject::Followed(path) => open(path, OFlags::empty()),
        Subject::Named(path) => open(path, OFlags::NOFOLLOW),
    }
}

fn change_mode(subject: Subject<'_>, mode: Mode) -> Result<(), Errno> {
    match subject {
        Subject::Open(file) => rustix::fs::fchmod(file, mode),
        Subject::Followed(path) => rustix::fs::chmod(path, mode),
        Subject::Named(path) => {
            // A link has no permissions. Who swaps the file meanwhile could have asked for either.
            let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::lstat(path)?.st_mode);
            if kind.is_symlink() {
                return Err(Errno::OPNOTSUPP);
            }
            rustix::fs::chmod(path, mode)
        }
    }
}

fn change_times(subject: Subject<'_>, (accessed, modified): (u32, u32)) -> Result<(), Errno> {
    let at = |seconds: u32| Timespec {
        tv_sec: seconds.into(),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: at(accessed),
        last_modification: at(modified),
    };
    match subject {
        Subject::Open(file) => rustix::fs::futimens(file, &times),
        Subject::Followed(path) => rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()),
        Subject::Named(path) => rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW),
    }
}

fn change_owner(subject: Subject<'_>, (uid, gid): (u32, u32)) -> Result<(), Errno> {
    // All ones means "leave it" to chown(2), and is no id.
    let uid = (uid != u32::MAX).then(|| Uid::from_raw(uid));
    let gid = (gid != u32::MAX).then(|| Gid::from_raw(gid));
    match subject {
        Subject::Open(file) => rustix::fs::fchown(file, uid, gid),
        Subject::Followed(path) => rustix::fs::chownat(CWD, path, uid, gid, AtFlags::empty()),
        Subject::Named(path) => rustix::fs::chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
    }
}
