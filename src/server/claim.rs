//! The ids of a daemon are its own: no other that lives on this host serves with any of them.
//!
//! What is one account to the kernel shares its limits (RLIMIT_NPROC, inotify, pending signals, keyrings) and its
//! files, whatever namespaces it is in. A file stands for all ids, each by the byte at its number, and a daemon locks
//! its own. The kernel ends a lock with the process that took it (fcntl(2), "Advisory record locking"), so that
//! nothing a killed daemon leaves can be in the way, and says who has the one that is.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use super::parent;
use crate::config::Uids;

/// The same for all daemons of root's that see the same /run, wherever their sockets are.
const PLACE: &str = "/run/sandgate/uids";

/// How often a lock is asked for that was refused, and had no owner any more when that was looked for.
const TRIES: u32 = 8;

/// How many daemons' ids are passed over in search of free ones to name.
const NEIGHBOURS: u32 = 64;

/// Why ids are not the daemon's.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another daemon serves with some of them.
    #[error("uids: {own} are not free: {holder} serves with {theirs}; {mend}")]
    Taken {
        /// Those of this daemon that were asked for.
        own: Span,
        /// Those of the other.
        theirs: Span,
        /// Who that is.
        holder: Holder,
        /// What to do.
        mend: Mend,
    },
    /// As many connections are served as there are ids for.
    #[error("SandboxUids: connections have all of {0}; give more, or let fewer come at once")]
    Full(Span),
    /// They were free and taken in turn.
    #[error("uids: {0} are taken and given back by others all the time; try again")]
    Restless(Span),
    /// The file can't be used.
    #[error(
        "uids: cannot see to it that no other daemon has them: {}: {source}; let root write to {} (a tmpfs will do)",
        path.display(), parent(path).display()
    )]
    Place {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Ids that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    first: u32,
    last: u32,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{} to {}", self.first, self.last)
        }
    }
}

/// Who has ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder(i32);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ..1 => f.write_str("a daemon in another pid namespace"),
            pid => write!(f, "the daemon with pid {pid}"),
        }
    }
}

/// Ids that are free now, if any were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mend(Option<Uids>);

impl fmt::Display for Mend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Uids { gate, first, count }) => write!(
                f,
                "give this one others, such as `uids: {{gate: {gate}, first: {first}, count: {count}}}` (sshd_config: `SandboxUids {gate} {first} {count}`)"
            ),
            None => f.write_str("give this one others by `uids`"),
        }
    }
}

/// Ids of this process, until it drops this or ends. A fork has no part in it.
#[derive(Debug)]
pub(super) struct Claim {
    /// No other of this file may be closed by this process: that would end the locks as well.
    _file: File,
}

impl Claim {
    /// All that a daemon has.
    pub(super) fn all(uids: Uids) -> Result<Self, ClaimError> {
        let file = open()?;
        match take(&file, uids)? {
            None => Ok(Self { _file: file }),
            Some((own, theirs, holder)) => Err(ClaimError::Taken {
                own,
                theirs,
                holder,
                mend: Mend(free(&file, theirs, uids.count)?),
            }),
        }
    }

    /// For a server of one connection, of which many may live with the same configuration: the first part that is
    /// free, with an id for its gate and its judge in it.
    pub(super) fn part(uids: Uids) -> Result<(Self, Uids), ClaimError> {
        if uids.parts().next().is_none() {
            return Ok((Self::all(uids)?, uids));
        }
        let file = open()?;
        for part in uids.parts() {
            if take(&file, part)?.is_none() {
                return Ok((Self { _file: file }, part));
            }
        }
        Err(ClaimError::Full(Span {
            first: uids.first,
            last: uids.first + (uids.count - 1),
        }))
    }
}

fn unusable(source: impl Into<io::Error>) -> ClaimError {
    ClaimError::Place {
        path: PLACE.into(),
        source: source.into(),
    }
}

/// Whoever could write to it could keep daemons from starting: it is root's alone.
fn open() -> Result<File, ClaimError> {
    let mut directory = std::fs::DirBuilder::new();
    let made = directory.recursive(true).mode(0o755);
    made.create(parent(Path::new(PLACE))).map_err(unusable)?;
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let opened = options.custom_flags(libc::O_NOFOLLOW).open(PLACE);
    opened.map_err(unusable)
}

/// Locks all ids of a daemon, or says which of them another has, with what, and who that is.
fn take(file: &File, uids: Uids) -> Result<Option<(Span, Span, Holder)>, ClaimError> {
    // In their order: of two that start at once, whoever gets the first that both want gets the rest.
    for own in spans(uids) {
        if let Some((theirs, holder)) = lock(file, own)? {
            return Ok(Some((own, theirs, holder)));
        }
    }
    Ok(None)
}

/// Everything that a daemon has, in as few spans as it takes.
fn spans(uids: Uids) -> Vec<Span> {
    let Uids { gate, first, count } = uids;
    let one = |id| Span {
        first: id,
        last: id,
    };
    let last = first + (count - 1);
    let mut all = [one(gate), one(uids.judge()), Span { first, last }];
    all.sort_unstable();
    let mut merged: Vec<Span> = Vec::new();
    for span in all {
        match merged.last_mut() {
            Some(before) if before.last + 1 == span.first => before.last = span.last,
            _ => merged.push(span),
        }
    }
    merged
}

/// A constant of the kernel's as `struct flock` has it (fcntl(2)).
#[expect(
    clippy::cast_possible_truncation,
    reason = "all of them are small: they are made for this field"
)]
const fn short(constant: libc::c_int) -> libc::c_short {
    constant as libc::c_short
}

fn record(span: Span) -> libc::flock {
    libc::flock {
        l_type: short(libc::F_WRLCK),
        l_whence: short(libc::SEEK_SET),
        l_start: i64::from(span.first),
        l_len: i64::from(span.last - span.first) + 1,
        l_pid: 0,
    }
}

/// `None` where the lock is had, and otherwise who has which.
fn lock(file: &File, span: Span) -> Result<Option<(Span, Holder)>, ClaimError> {
    for _ in 0..TRIES {
        match fcntl(file, FcntlArg::F_SETLK(&record(span))) {
            Ok(_) => return Ok(None),
            Err(Errno::EAGAIN | Errno::EACCES) => {}
            Err(errno) => return Err(unusable(errno)),
        }
        let found = holder(file, span)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Err(ClaimError::Restless(span))
}

/// The first that has any of these.
fn holder(file: &File, span: Span) -> Result<Option<(Span, Holder)>, ClaimError> {
    let mut found = record(span);
    fcntl(file, FcntlArg::F_GETLK(&mut found)).map_err(unusable)?;
    if found.l_type == short(libc::F_UNLCK) {
        return Ok(None);
    }
    let id = |at: i64| u32::try_from(at).unwrap_or(u32::MAX);
    let theirs = Span {
        first: id(found.l_start),
        last: id(found.l_start + (found.l_len - 1).max(0)),
    };
    Ok(Some((theirs, Holder(found.l_pid))))
}

/// As many ids, with a gate's and a judge's, after those and whatever else is taken.
fn free(file: &File, mut taken: Span, count: u32) -> Result<Option<Uids>, ClaimError> {
    for _ in 0..NEIGHBOURS {
        let Some(next) = taken.last.checked_add(1) else {
            return Ok(None);
        };
        let Some(uids) = Uids::block(next, count) else {
            return Ok(None);
        };
        let all = Span {
            first: next,
            last: uids.first + (count - 1),
        };
        match holder(file, all)? {
            None => return Ok(Some(uids)),
            Some((other, _)) => taken = other,
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(uids: Uids) -> Vec<String> {
        spans(uids).iter().map(Span::to_string).collect()
    }

    #[test]
    fn gate_and_judge_belong_to_a_daemons_ids() {
        assert_eq!(told(Uids::default()), ["1899999999 to 1900004096"]);
        let apart = Uids {
            gate: 5000,
            first: 6000,
            count: 10,
        };
        assert_eq!(told(apart), ["4999 to 5000", "6000 to 6009"]);
        let after = Uids {
            gate: 6010,
            first: 6000,
            count: 10,
        };
        assert_eq!(told(after), ["6000 to 6011"]);
    }

    #[test]
    fn parts_are_whole_lie_inside_and_do_not_meet() {
        let uids = Uids {
            gate: 5000,
            first: 6000,
            count: 100,
        };
        let parts: Vec<String> = uids.parts().flat_map(told).collect();
        assert_eq!(parts.len(), 6);
        assert_eq!(
            parts.first().map(String::as_str),
            Some("6000 to 6015"),
            "{parts:?}"
        );
        assert_eq!(parts.last().map(String::as_str), Some("6080 to 6095"));
    }
}
