//! A channel's unread input, in order and bounded: memory first, then an unlinked file.
//!
//! russh gives window credit for what it has received, read or not, and awaiting in its callbacks
//! stops every channel of the connection. So a channel's input has to go somewhere at once: as long
//! as its program keeps up into a little memory, beyond that to disk.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use tokio::sync::Notify;

/// How much waits in memory, in bytes, and how much is read back from the file at a time.
const MEMORY: usize = 256 * 1024;

/// How much of the file is read before it is given back to the disk, in bytes; a multiple of any block size.
const PUNCH: u64 = 4 << 20;

/// How much may wait for one channel, in bytes.
pub const CAPACITY: u64 = 8 << 30;

/// Why input could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// The directory cannot be opened.
    #[error("cannot open the spill directory {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The directory's filesystem lacks what spilling needs.
    #[error(
        "the spill directory {path} needs a filesystem with O_TMPFILE and fallocate(2) holes, such as ext4, xfs, btrfs or tmpfs"
    )]
    Unfit {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The program left too much unread.
    #[error("more than {0} bytes wait for the program")]
    Full(u64),
    /// The file cannot be written or read.
    #[error("cannot use a spill file")]
    File(#[from] io::Error),
}

/// A directory for unlinked files. Opened early, so that later only its descriptor is needed.
#[derive(Debug)]
pub struct SpillDir(OwnedFd);

impl AsFd for SpillDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl SpillDir {
    /// Opens the directory and tries everything that spilling does there.
    pub fn open(path: &Path) -> Result<Self, SpillError> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .map(Self)
            .map_err(|errno| SpillError::Directory {
                path: path.to_owned(),
                source: errno.into(),
            })?;
        directory
            .file()
            .and_then(|file| {
                file.write_all_at(&[1; 8192], 0)?;
                punch(&file, 0, 4096)
            })
            .map_err(|source| SpillError::Unfit {
                path: path.to_owned(),
                source,
            })?;
        Ok(directory)
    }

    /// A file that no name leads to, now or later: `O_EXCL` keeps linkat(2) away (open(2)).
    fn file(&self) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, c".", flags, Mode::RUSR | Mode::WUSR)?.into())
    }
}

/// Gives a range of the file back to the disk.
fn punch(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(file, flags, offset, length)?)
}

/// The two ends of one channel's input.
pub(super) fn spill(directory: Arc<SpillDir>, capacity: u64) -> (Writer, Reader) {
    let shared = Arc::new(Shared {
        queue: Mutex::default(),
        changed: Notify::new(),
    });
    (
        Writer {
            shared: shared.clone(),
            directory,
            capacity,
        },
        Reader { shared },
    )
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What waits: first `memory`, then `overflow`. Nothing enters memory while there is an overflow.
#[derive(Debug, Default)]
struct Queue {
    memory: BytesMut,
    overflow: Option<Overflow>,
    stage: Stage,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// The client sent EOF.
    Finished,
    /// The program no longer reads.
    Abandoned,
}

/// The file: bytes from `head` to `tail` wait, those before `punched` are already holes.
#[derive(Debug)]
struct Overflow {
    file: Arc<File>,
    punched: u64,
    head: u64,
    tail: u64,
}

/// The client's end.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    directory: Arc<SpillDir>,
    capacity: u64,
}

impl Writer {
    /// Takes all of `data`, without waiting for the reader; a spilling write goes to the page cache.
    /// After the reader is gone it takes everything and keeps nothing.
    pub(super) fn push(&self, data: &[u8]) -> Result<(), SpillError> {
        let mut queue = self.shared.lock();
        if queue.stage == Stage::Abandoned {
            return Ok(());
        }
        if queue.overflow.is_none() && queue.memory.len() + data.len() <= MEMORY {
            queue.memory.extend_from_slice(data);
        } else {
            let overflow = match queue.overflow.take() {
                Some(overflow) => overflow,
                None => Overflow {
                    file: Arc::new(self.directory.file()?),
                    punched: 0,
                    head: 0,
                    tail: 0,
                },
            };
            let overflow = queue.overflow.insert(overflow);
            let tail = overflow.tail + data.len() as u64;
            if tail - overflow.head > self.capacity {
                return Err(SpillError::Full(self.capacity));
            }
            overflow.file.write_all_at(data, overflow.tail)?;
            overflow.tail = tail;
        }
        drop(queue);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Nothing follows: the reader gets what waits and then the end.
    pub(super) fn finish(&self) {
        let mut queue = self.shared.lock();
        if queue.stage == Stage::Open {
            queue.stage = Stage::Finished;
        }
        drop(queue);
        self.shared.changed.notify_one();
    }
}

/// The program's end. Dropping it frees what waits.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
}

/// What the queue has for its reader.
enum Next {
    Bytes(Bytes),
    Stored {
        file: Arc<File>,
        head: u64,
        length: usize,
    },
    Nothing,
    End,
}

impl Reader {
    /// The next bytes, at most 256 KiB; `None` at the end. Dropping the future loses nothing.
    /// Blocks its own task for a read of the file, which is in the page cache or a seek away.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, SpillError> {
        loop {
            let next = self.shared.lock().next();
            match next {
                Next::Bytes(bytes) => return Ok(Some(bytes)),
                Next::Stored { file, head, length } => {
                    // Without the lock: the writer only appends, and must not wait for a disk.
                    let mut bytes = BytesMut::zeroed(length);
                    file.read_exact_at(&mut bytes, head)?;
                    self.shared.lock().consume(length as u64)?;
                    return Ok(Some(bytes.freeze()));
                }
                Next::End => return Ok(None),
                // A change since the look above has left its permit.
                Next::Nothing => self.shared.changed.notified().await,
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        *self.shared.lock() = Queue {
            stage: Stage::Abandoned,
            ..Queue::default()
        };
    }
}

impl Queue {
    fn next(&mut self) -> Next {
        if !self.memory.is_empty() {
            return Next::Bytes(std::mem::take(&mut self.memory).freeze());
        }
        match &self.overflow {
            Some(overflow) => Next::Stored {
                file: overflow.file.clone(),
                head: overflow.head,
                length: usize::try_from(overflow.tail - overflow.head)
                    .map_or(MEMORY, |waiting| waiting.min(MEMORY)),
            },
            None if self.stage == Stage::Finished => Next::End,
            None => Next::Nothing,
        }
    }

    /// Forgets bytes that the reader has; a drained file goes whole.
    fn consume(&mut self, length: u64) -> io::Result<()> {
        let Some(overflow) = &mut self.overflow else {
            return Ok(());
        };
        overflow.head += length;
        if overflow.head == overflow.tail {
            self.overflow = None;
        } else if overflow.head - overflow.punched >= PUNCH {
            punch(&overflow.file, overflow.punched, PUNCH)?;
            overflow.punched += PUNCH;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
