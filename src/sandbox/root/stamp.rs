//! What a root was made of, so that a later sandbox of its kind can tell whether it would be made the same.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Stat};

use super::devices::Device;
use super::listed::Plan;
use super::mounts::{RootError, at, inside};
use super::source::{Source, present};
use super::written::open_plain;
use crate::sandbox::blueprint::Access;
use crate::sandbox::files::COMMON;

/// A directory that changes again within one tick of the kernel's clock keeps its time of change. File systems
/// count them by 2 s at most (FAT).
const SETTLED: Duration = Duration::from_secs(3);

/// A longer one would be no message of init's.
const LONGEST: usize = 64 * 1024;

/// Two are equal where the same root is made, as far as paths tell: what they lead to, what is denied, the
/// directories whose entries are mounted one by one, and what files of ours lie over. That the mounts are the same, on the
/// host and in the mould, is the monitor's to see.
#[derive(Default)]
pub(super) struct Stamp(Vec<u8>);

impl Stamp {
    /// `None` where that cannot be told: a directory has changed a moment ago, or there is too much to tell.
    pub(super) fn of(
        source: &Source,
        plan: &Plan,
        devices: &[Device],
    ) -> Result<Option<Self>, RootError> {
        let mut stamp = Self::default();
        let mut last_change = UNIX_EPOCH;
        for path in &plan.denied {
            stamp.path(b'-', path);
        }
        for link in &plan.links {
            stamp.path(b'l', &link.path);
            stamp.path(b'>', &link.target);
        }
        for (path, (file, access)) in &plan.found {
            stamp.path(
                if *access == Access::ReadOnly {
                    b'r'
                } else {
                    b'w'
                },
                path,
            );
            stamp.identity(&stat(file, path)?);
        }
        for path in plan.carved() {
            let found = at("open", path, present(open_plain(source.root(), path)))?;
            stamp.path(if found.is_some() { b'c' } else { b'n' }, path);
            let Some(directory) = found else { continue };
            let stat = stat(&directory, path)?;
            stamp.identity(&stat);
            stamp.nature(&stat);
            stamp.times(&stat);
            last_change = last_change.max(changed(&stat));
        }
        for path in COMMON.map(Path::new) {
            // Whatever keeps it away: what matters is whether it is another now.
            let found = rustix::fs::statat(source.root(), inside(path), AtFlags::empty());
            stamp.path(if found.is_ok() { b'h' } else { b'm' }, path);
            if let Ok(stat) = found {
                stamp.identity(&stat);
            }
        }
        for device in devices {
            stamp.path(b'd', &device.path);
            stamp.identity(&device.stat);
            stamp.nature(&device.stat);
        }
        let age = SystemTime::now().duration_since(last_change);
        // One in the future says nothing either.
        let settled = age.is_ok_and(|age| age >= SETTLED);
        Ok((settled && stamp.0.len() <= LONGEST).then_some(stamp))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn path(&mut self, mark: u8, path: &Path) {
        let name = path.as_os_str().as_bytes();
        self.0.push(mark);
        self.number(name.len() as u64);
        self.0.extend_from_slice(name);
    }

    /// An inode that a root refers to is nobody else's number meanwhile.
    fn identity(&mut self, stat: &Stat) {
        self.number(stat.st_dev);
        self.number(stat.st_ino);
    }

    fn nature(&mut self, stat: &Stat) {
        for number in [stat.st_mode, stat.st_uid, stat.st_gid] {
            self.number(number.into());
        }
        self.number(stat.st_rdev);
    }

    fn times(&mut self, stat: &Stat) {
        for time in [stat.st_mtime, stat.st_ctime] {
            self.number(time.cast_unsigned());
        }
        for nanoseconds in [stat.st_mtime_nsec, stat.st_ctime_nsec] {
            self.number(nanoseconds);
        }
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_ne_bytes());
    }
}

fn stat(file: &OwnedFd, path: &Path) -> Result<Stat, RootError> {
    at("stat", path, rustix::fs::fstat(file.as_fd()))
}

fn changed(stat: &Stat) -> SystemTime {
    let time = |seconds: i64, nanoseconds: u64| {
        UNIX_EPOCH
            + Duration::from_secs(seconds.max(0).cast_unsigned())
            + Duration::from_nanos(nanoseconds)
    };
    time(stat.st_mtime, stat.st_mtime_nsec).max(time(stat.st_ctime, stat.st_ctime_nsec))
}
