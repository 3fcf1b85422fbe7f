//! The file that a volume is in, and what its superblock says of it.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{BLOCK, unsound};
use crate::sandbox::root::kept::Store;
use crate::sandbox::root::mounts::{RootError, at, ours};

/// Where the superblock is, and how long (Documentation/filesystems/ext4/super.rst).
const PLACE: u64 = 1024;
const LENGTH: usize = 1024;

/// s_magic.
const MAGIC: u16 = 0xEF53;

/// s_state: an error was found in it.
const ERRORS: u16 = 2;

/// s_feature_incompat: there are upper halves of numbers of blocks.
const WIDE: u32 = 0x80;

/// The blocks that one block of a bitmap speaks of: a file system may end so much before its image does, for a part
/// of a group that is too short for its own tables is left out.
const GROUP: u64 = 8 * (BLOCK as u64) * (BLOCK as u64);

/// An image, open.
pub(super) struct Image {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

impl Image {
    /// The image of this name, if there is one; through no link.
    pub(super) fn find(store: &Store, name: &str) -> Result<Option<Self>, RootError> {
        let path = store.path.join(name);
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(&store.directory, name, flags, Mode::empty(), resolve) {
            Err(Errno::NOENT) => Ok(None),
            opened => {
                let file = File::from(at("open", &path, opened)?);
                Ok(Some(Self { file, path }))
            }
        }
    }

    /// Why it is none that may be mounted, where it may have so many bytes at most.
    pub(super) fn examine(&self, size: u64) -> Result<(), RootError> {
        if self.sound(size)?.state & ERRORS != 0 {
            return self.damaged("its file system has errors; run e2fsck -f on it");
        }
        Ok(())
    }

    /// The same but for errors that the kernel has found in its file system.
    pub(super) fn examine_to_mend(&self, size: u64) -> Result<(), RootError> {
        self.sound(size).map(drop)
    }

    fn sound(&self, size: u64) -> Result<Superblock, RootError> {
        let stat = at("stat", &self.path, self.file.metadata())?;
        if !stat.is_file() || stat.uid() != ours().uid || stat.mode() & 0o022 != 0 {
            let problem =
                "must be a file of root's and writable by nobody else; chown and chmod go-w it";
            return unsound(&self.path, problem);
        }
        let Some(superblock) = self.superblock()? else {
            return self.damaged(
                "is no file system of ext4; restore it, or move it away for a new one to be made",
            );
        };
        if superblock.bytes > stat.len() {
            return self.damaged(
                "is shorter than its file system; restore it, or move it away for a new one to be made",
            );
        }
        if superblock.bytes > size {
            return unsound(
                &self.path,
                "is larger than `size`, and nothing is shrunk; write the size that it has, or shrink it (resize2fs(8), then truncate(1))",
            );
        }
        Ok(superblock)
    }

    /// What has befallen it, and the mend.
    pub(super) fn damaged<T>(&self, problem: impl Into<String>) -> Result<T, RootError> {
        Err(RootError::Damaged {
            path: self.path.clone(),
            problem: problem.into(),
        })
    }

    /// Whether its file system can have more of `size` bytes than it has.
    pub(super) fn can_grow_to(&self, size: u64) -> Result<bool, RootError> {
        let length = at("stat", &self.path, self.file.metadata())?.len();
        let bytes = self.superblock()?.map_or(0, |superblock| superblock.bytes);
        Ok(length < size || bytes.saturating_add(GROUP) <= size)
    }

    /// The bytes that it has on its host: what was never written, or removed, has none.
    pub(super) fn taken(&self) -> Result<u64, RootError> {
        let stat = at("stat", &self.path, self.file.metadata())?;
        Ok(stat.blocks().saturating_mul(512))
    }

    /// `None` where there is none.
    fn superblock(&self) -> Result<Option<Superblock>, RootError> {
        let mut block = [0; LENGTH];
        match self.file.read_exact_at(&mut block, PLACE) {
            Ok(()) => Ok(Superblock::read(&block)),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => at("read", &self.path, Err(e)),
        }
    }
}

/// What counts of a superblock.
#[derive(Debug, PartialEq, Eq)]
struct Superblock {
    /// The whole file system's.
    bytes: u64,
    state: u16,
}

impl Superblock {
    fn read(block: &[u8; LENGTH]) -> Option<Self> {
        if u16::from_le_bytes(part(block, 0x38)?) != MAGIC {
            return None;
        }
        let is_wide = u32::from_le_bytes(part(block, 0x60)?) & WIDE != 0;
        let high = u32::from_le_bytes(part(block, 0x150)?);
        let high = if is_wide { high } else { 0 };
        let blocks = u64::from(high) << 32 | u64::from(u32::from_le_bytes(part(block, 0x4)?));
        let size = 1024_u64.checked_shl(u32::from_le_bytes(part(block, 0x18)?))?;
        Some(Self {
            bytes: blocks.saturating_mul(size),
            state: u16::from_le_bytes(part(block, 0x3A)?),
        })
    }
}

/// So many bytes from `at` on.
fn part<const N: usize>(block: &[u8; LENGTH], at: usize) -> Option<[u8; N]> {
    block.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_superblock_says_how_large_its_file_system_is() {
        let mut block = [0; LENGTH];
        assert_eq!(Superblock::read(&block), None);
        block[0x38..0x3A].copy_from_slice(&MAGIC.to_le_bytes());
        block[0x4..0x8].copy_from_slice(&7_u32.to_le_bytes());
        block[0x18] = 2;
        block[0x3A] = 3;
        block[0x150] = 1;
        let read = Superblock::read(&block).unwrap();
        assert_eq!((read.bytes, read.state), (7 << 12, 3));
        block[0x60] = 0x80;
        let read = Superblock::read(&block).unwrap();
        assert_eq!(read.bytes, ((1 << 32) + 7) << 12);
        block[0x18] = 64;
        assert_eq!(Superblock::read(&block), None);
    }
}
