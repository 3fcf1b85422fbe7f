//! What a client has open. A handle's number is given out once, so that an old one opens nothing new.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::Dir;
use rustix::process::{Resource, getrlimit};

use super::packet::Fields;
use super::status::Refusal;

/// The most handles at once, where the limit on open files allows as many.
const MOST: u64 = 1024;

/// Descriptors that are not a handle's: standard streams, what an operation opens for itself.
const RESERVED: u64 = 16;

#[derive(Debug)]
pub(super) enum Handle {
    File(OwnedFd),
    Directory(Dir),
}

#[derive(Debug)]
pub(super) struct Handles {
    open: BTreeMap<u64, Handle>,
    last: u64,
    most: u64,
}

impl Handles {
    /// As many as this process may have open, within reason.
    pub(super) fn bounded() -> Self {
        let files = getrlimit(Resource::Nofile).current;
        let most = files.map_or(MOST, |files| files.saturating_sub(RESERVED).min(MOST));
        Self {
            open: BTreeMap::new(),
            last: 0,
            most,
        }
    }

    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// Whether one more may be opened; asked before anything is opened or made.
    pub(super) fn room(&self) -> Result<(), Refusal> {
        let open = u64::try_from(self.open.len()).unwrap_or(u64::MAX);
        if open < self.most {
            Ok(())
        } else {
            Err(Refusal::Full)
        }
    }

    pub(super) fn insert(&mut self, handle: Handle) -> u64 {
        self.last += 1;
        self.open.insert(self.last, handle);
        self.last
    }

    pub(super) fn remove(&mut self, fields: &mut Fields<'_>) -> Result<Handle, Refusal> {
        let number = number(fields)?;
        self.open.remove(&number).ok_or(Refusal::NoSuchHandle)
    }

    /// The file of the handle that comes next in the packet.
    pub(super) fn file(&self, fields: &mut Fields<'_>) -> Result<BorrowedFd<'_>, Refusal> {
        match self.get(fields)? {
            Handle::File(file) => Ok(std::os::fd::AsFd::as_fd(file)),
            Handle::Directory(_) => Err(Refusal::Failure("Is a directory")),
        }
    }

    /// The descriptor of the handle that comes next in the packet, whatever it is of.
    pub(super) fn descriptor(&self, fields: &mut Fields<'_>) -> Result<BorrowedFd<'_>, Refusal> {
        Ok(match self.get(fields)? {
            Handle::File(file) => std::os::fd::AsFd::as_fd(file),
            Handle::Directory(directory) => directory.fd()?,
        })
    }

    /// The directory of the handle that comes next in the packet.
    pub(super) fn directory(&mut self, fields: &mut Fields<'_>) -> Result<&mut Dir, Refusal> {
        match self.open.get_mut(&number(fields)?) {
            Some(Handle::Directory(directory)) => Ok(directory),
            Some(Handle::File(_)) => Err(Refusal::Failure("Not a directory")),
            None => Err(Refusal::NoSuchHandle),
        }
    }

    fn get(&self, fields: &mut Fields<'_>) -> Result<&Handle, Refusal> {
        self.open.get(&number(fields)?).ok_or(Refusal::NoSuchHandle)
    }
}

/// A string that is not eight bytes long was never a handle's.
fn number(fields: &mut Fields<'_>) -> Result<u64, Refusal> {
    let handle = fields.string()?;
    let number = handle.try_into().map_err(|_| Refusal::NoSuchHandle)?;
    Ok(u64::from_be_bytes(number))
}
