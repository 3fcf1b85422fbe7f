//! Packets on the wire: what clients send is decoded here, and what they are sent is built here
//! (draft-ietf-secsh-filexfer-02 §3).

use std::io::{self, Read, Write};

use super::SftpError;
use super::attributes::{self, Attributes};
use super::status::Status;

/// The most bytes of one READ or WRITE.
pub(super) const LONGEST_DATA: u32 = 256 * 1024;

/// The longest packet in bytes, its length field not counted: a WRITE of `LONGEST_DATA` with room.
pub(super) const LONGEST_PACKET: u32 = LONGEST_DATA + 1024;

/// SSH_FXP_* of the answers.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Version = 2,
    Status = 101,
    Handle = 102,
    Data = 103,
    Name = 104,
    Attributes = 105,
    ExtendedReply = 201,
}

/// A packet that ends before its fields do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed packet")]
pub(super) struct Malformed;

/// Reads one packet into `packet`; `false` is the end of input between two packets.
pub(super) fn receive(mut input: impl Read, packet: &mut Vec<u8>) -> Result<bool, SftpError> {
    let mut length = [0; 4];
    let first = loop {
        match input.read(&mut length) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => break other.map_err(SftpError::Input)?,
        }
    };
    if first == 0 {
        return Ok(false);
    }
    let rest = length.get_mut(first..).unwrap_or_default();
    input.read_exact(rest).map_err(SftpError::Input)?;
    let length = u32::from_be_bytes(length);
    if length > LONGEST_PACKET {
        return Err(SftpError::Longer(length));
    }
    packet.clear();
    let read = input
        .take(u64::from(length))
        .read_to_end(packet)
        .map_err(SftpError::Input)?;
    if u32::try_from(read) == Ok(length) {
        Ok(true)
    } else {
        Err(SftpError::Input(io::ErrorKind::UnexpectedEof.into()))
    }
}

/// What is left of a packet, or of a string in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A length and that many bytes, whatever they are.
    pub(super) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(string)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*array)
    }
}

/// One entry of a NAME answer.
#[derive(Debug, Default)]
pub(super) struct Name {
    pub(super) short: Vec<u8>,
    /// As `ls -l` shows it.
    pub(super) long: Vec<u8>,
    pub(super) attributes: Attributes,
}

/// The answer to one request. Each method starts it anew, so that the last one holds.
#[derive(Debug, Default)]
pub(super) struct Reply {
    bytes: Vec<u8>,
    id: u32,
}

impl Reply {
    /// The request that is answered from now on.
    pub(super) fn answers(&mut self, id: u32) {
        self.id = id;
    }

    pub(super) fn version(&mut self, version: u32, extensions: &[(&str, &str)]) {
        self.begin(Kind::Version);
        self.u32(version);
        for (name, version) in extensions {
            self.string(name.as_bytes());
            self.string(version.as_bytes());
        }
    }

    pub(super) fn status(&mut self, status: Status, message: &str) {
        self.begin_with_id(Kind::Status);
        self.u32(status as u32);
        self.string(message.as_bytes());
        // No language tag.
        self.string(b"");
    }

    pub(super) fn handle(&mut self, handle: u64) {
        self.begin_with_id(Kind::Handle);
        self.string(&handle.to_be_bytes());
    }

    /// As many bytes as `read` puts into its buffer of `most` bytes; returns how many that are.
    pub(super) fn data<E>(
        &mut self,
        most: u32,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.begin_with_id(Kind::Data);
        let at = self.bytes.len();
        let start = at + size_of::<u32>();
        self.bytes
            .resize(start + most.min(LONGEST_DATA) as usize, 0);
        let count = read(self.bytes.get_mut(start..).unwrap_or_default())?;
        self.bytes.truncate(start + count);
        self.patch(at, count);
        Ok(count)
    }

    pub(super) fn names(&mut self, names: &[Name]) {
        self.begin_with_id(Kind::Name);
        self.u32(u32::try_from(names.len()).unwrap_or(u32::MAX));
        for name in names {
            self.string(&name.short);
            self.string(&name.long);
            attributes::encode(&name.attributes, self);
        }
    }

    /// A path, as REALPATH and READLINK answer: a name without attributes.
    pub(super) fn path(&mut self, path: &[u8]) {
        self.names(&[Name {
            short: path.to_vec(),
            long: path.to_vec(),
            attributes: Attributes::default(),
        }]);
    }

    pub(super) fn attributes(&mut self, attributes: &Attributes) {
        self.begin_with_id(Kind::Attributes);
        attributes::encode(attributes, self);
    }

    /// An extension's own answer; its fields follow.
    pub(super) fn extended(&mut self) {
        self.begin_with_id(Kind::ExtendedReply);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn string(&mut self, string: &[u8]) {
        self.u32(u32::try_from(string.len()).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(string);
    }

    pub(super) fn send(&mut self, mut output: impl Write) -> io::Result<()> {
        self.patch(0, self.bytes.len().saturating_sub(size_of::<u32>()));
        output.write_all(&self.bytes)
    }

    fn begin(&mut self, kind: Kind) {
        self.bytes.clear();
        self.u32(0);
        self.bytes.push(kind as u8);
    }

    fn begin_with_id(&mut self, kind: Kind) {
        self.begin(kind);
        self.u32(self.id);
    }

    /// Puts a length where its place was kept.
    fn patch(&mut self, at: usize, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(place) = self.bytes.get_mut(at..at + length.len()) {
            place.copy_from_slice(&length);
        }
    }
}
