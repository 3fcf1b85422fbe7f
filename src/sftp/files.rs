//! What is done with handles: open, read, write, list, close.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::attributes::{self, Attributes, Subject};
use super::handles::Handle;
use super::listing;
use super::packet::{Fields, LONGEST_DATA, Name, Reply};
use super::server::{Server, done};
use super::status::Refusal;

/// SSH_FXF_*.
const READ: u32 = 0x01;
const WRITE: u32 = 0x02;
const APPEND: u32 = 0x04;
const CREATE: u32 = 0x08;
const TRUNCATE: u32 = 0x10;
const EXCLUSIVE: u32 = 0x20;

/// The most names in one answer: with long names and owners, some 80 KB.
const NAMES: usize = 100;

impl Server<'_> {
    pub(super) fn open(
        &mut self,
        fields: &mut Fields<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refusal> {
        let (path, wishes) = (fields.string()?, fields.u32()?);
        let attributes = attributes::decode(fields)?;
        self.handles.room()?;
        let file = rustix::fs::open(path, flags(wishes), attributes.mode_or(0o666))?;
        reply.handle(self.handles.insert(Handle::File(file)));
        Ok(())
    }

    pub(super) fn close(
        &mut self,
        fields: &mut Fields<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refusal> {
        drop(self.handles.remove(fields)?);
        done(reply);
        Ok(())
    }

    pub(super) fn read(
        &mut self,
        fields: &mut Fields<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refusal> {
        let file = self.handles.file(fields)?;
        let (offset, length) = (fields.u64()?, fields.u32()?);
        let count = reply.data(length, |buffer| {
            rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *buffer, offset))
        })?;
        if count == 0 && length > 0 {
            return Err(Refusal::End);
        }
        Ok(())
    }

    pub(super) fn write(
        &mut self,
        fields: &mut Fields<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refusal> {
        let file = self.handles.file(fields)?;
        let (offset, data) = (fields.u64()?, fields.string()?);
        write_all(file, data, offset)?;
        done(reply);
        Ok(())
    }

    pub(super) fn fstat(
        &mut self,
        fields: &mut Fields<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refusal> {
        let stat = rustix::fs::fstat(self.handles.descriptor(fields)?)?;
        reply.attributes(&Attributes::from(&stat));
        Ok(())
    }

    pub(super) fn fsetstat(
        &mut self,
        fields: &mut Fields<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refusal> {
        let descriptor = self.handles.descriptor(fields)?;
        attributes::decode(fields)?.apply(Subject::Open(descriptor))?;
        done(reply);
        Ok(())
    }

    pub(super) fn fsync(
        &mut self,
        fields: &mut Fields<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refusal> {
        rustix::fs::fsync(self.handles.descriptor(fields)?)?;
        done(reply);
        Ok(())
    }

    /// copy-data: from one handle to another without the bytes' travelling (draft-ietf-secsh-filexfer-extensions-00 §7).
    pub(super) fn copy(
        &mut self,
        fields: &mut Fields<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refusal> {
        let source = self.handles.file(fields)?;
        let (mut from, length) = (fields.u64()?, fields.u64()?);
        let target = self.handles.file(fields)?;
        let mut to = fields.u64()?;
        let (one, other) = (rustix::fs::fstat(source)?, rustix::fs::fstat(target)?);
        // As OpenSSH: a file that is copied onto itself could grow for ever.
        if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) {
            return Err(Refusal::Failure("Both handles are of one file"));
        }
        // Zero asks for everything up to the end.
        let mut left = if length == 0 { u64::MAX } else { length };
        let mut buffer = vec![0; LONGEST_DATA as usize];
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let space = buffer.get_mut(..most).unwrap_or_default();
            let count = rustix::io::retry_on_intr(|| rustix::io::pread(source, &mut *space, from))?;
            if count == 0 {
                break;
            }
            write_all(target, space.get(..count).unwrap_or_default(), to)?;
            let copied = u64::try_from(count).unwrap_or(u64::MAX);
            (from, to) = (from.saturating_add(copied), to.saturating_add(copied));
            left = left.saturating_sub(copied);
        }
        if left > 0 && length > 0 {
            return Err(Refusal::End);
        }
        done(reply);
        Ok(())
    }

    pub(super) fn opendir(
        &mut self,
        fields: &mut Fields<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refusal> {
        let path = fields.string()?;
        self.handles.room()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = Dir::new(rustix::fs::open(path, flags, Mode::empty())?)?;
        reply.handle(self.handles.insert(Handle::Directory(directory)));
        Ok(())
    }

    pub(super) fn readdir(
        &mut self,
        fields: &mut Fields<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refusal> {
        let directory = self.handles.directory(fields)?;
        let mut names = Vec::new();
        while names.len() < NAMES {
            let Some(entry) = directory.read() else { break };
            let entry = entry?;
            let name = entry.file_name();
            let bytes = name.to_bytes();
            match rustix::fs::statat(directory.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => names.push(Name {
                    short: bytes.to_vec(),
                    long: listing::line(bytes, &stat, &self.accounts),
                    attributes: Attributes::from(&stat),
                }),
                // Removed since it was listed.
                Err(Errno::NOENT) => {}
                // In a directory that may be read and not searched, the name is all there is.
                Err(_) => names.push(Name {
                    short: bytes.to_vec(),
                    long: bytes.to_vec(),
                    attributes: Attributes::default(),
                }),
            }
        }
        if names.is_empty() {
            return Err(Refusal::End);
        }
        reply.names(&names);
        Ok(())
    }
}

/// A FIFO or a device is not waited for: this thread serves every other request of the client too.
fn flags(wishes: u32) -> OFlags {
    let access = match (wishes & READ != 0, wishes & WRITE != 0) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    [
        (APPEND, OFlags::APPEND),
        (CREATE, OFlags::CREATE),
        (TRUNCATE, OFlags::TRUNC),
        (EXCLUSIVE, OFlags::EXCL),
    ]
    .into_iter()
    .filter(|(wish, _)| wishes & wish != 0)
    .fold(
        access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        |all, (_, flag)| all | flag,
    )
}

/// Where the file is open for appending, the kernel ignores the offset (pwrite(2), BUGS).
fn write_all(file: BorrowedFd<'_>, mut data: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !data.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::pwrite(file, data, offset))?;
        if count == 0 {
            return Err(Errno::IO);
        }
        data = data.get(count..).unwrap_or_default();
        offset = offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
    Ok(())
}
