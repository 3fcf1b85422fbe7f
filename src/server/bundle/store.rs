//! The last good bundle on disk: as it was downloaded, so that it is verified again when it is read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::Held;
use crate::policy::bundle::MOST_PACKED;

/// The bundle's name in the directory.
const BUNDLE: &str = "bundle.tar.gz";

/// The name of what else is known of it.
const NOTE: &str = "bundle.json";

/// The longest note, in bytes.
const LONGEST_NOTE: u64 = 16 * 1024;

/// Why nothing is kept, or what is kept can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or the directory can't be used.
    #[error("{}: {source}", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others could put something else there.
    #[error("{}: {problem}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What is wrong, and the mend.
        problem: &'static str,
    },
}

/// What belongs to a bundle and is no part of it. An ETag is good for the bytes that it came with, and no others.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    url: String,
    etag: Option<String>,
    sha256: String,
}

fn wrong(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
    move |source| StoreError::Path {
        path: path.to_owned(),
        source,
    }
}

/// The directory is there, and nobody else's.
fn examine(directory: &Path) -> Result<(), StoreError> {
    let found = std::fs::metadata(directory).map_err(wrong(directory))?;
    let problem = if !found.is_dir() {
        "is no directory; make one (mkdir -m 700)"
    } else if found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o022 != 0 {
        "others may write there; give it to the daemon's user and chmod 700 it"
    } else {
        return Ok(());
    };
    let path = directory.to_owned();
    Err(StoreError::Open { path, problem })
}

/// What is on disk; nothing of it is believed yet.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) packed: Vec<u8>,
    /// What the server of this URL calls it.
    pub(super) etag: Option<String>,
}

/// The kept bundle, where there is one.
pub(super) fn read(directory: &Path, url: &str) -> Result<Option<Stored>, StoreError> {
    examine(directory)?;
    let path = directory.join(BUNDLE);
    let Some(packed) = bytes(&path, MOST_PACKED as u64 + 1).map_err(wrong(&path))? else {
        return Ok(None);
    };
    let path = directory.join(NOTE);
    let note = bytes(&path, LONGEST_NOTE).map_err(wrong(&path))?;
    let note: Option<Note> = note.and_then(|note| serde_json::from_slice(&note).ok());
    let note = note.filter(|note| note.sha256 == sha256(&packed) && note.url == url);
    // Without its ETag it is only fetched once more.
    Ok(Some(Stored {
        packed,
        etag: note.and_then(|note| note.etag),
    }))
}

/// A regular file of the directory; links are not followed.
fn bytes(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut options = File::options();
    options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Keeps this one. At each moment a whole one is there, and after this it outlives the host.
pub(super) fn write(directory: &Path, url: &str, held: &Held) -> Result<(), StoreError> {
    examine(directory)?;
    let note = Note {
        url: url.to_owned(),
        etag: held.etag.clone(),
        sha256: sha256(&held.packed),
    };
    let note = serde_json::to_vec(&note).map_err(|e| wrong(directory)(e.into()))?;
    replace(&directory.join(BUNDLE), &held.packed)?;
    replace(&directory.join(NOTE), &note)?;
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(wrong(directory))
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    let replaced = || {
        // What a killed daemon left.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    replaced().map_err(wrong(path))
}

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, bytes).as_ref())
}
