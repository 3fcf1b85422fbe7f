//! OpenSSH's key revocation lists (PROTOCOL.krl), as `ssh-keygen -k` writes them.

use aws_lc_rs::digest;

/// What every list begins with.
pub(super) const MAGIC: &[u8] = b"SSHKRL\n\0";

/// The only format there is.
const VERSION: u32 = 1;

/// Sections.
const CERTIFICATES: u8 = 1;
const EXPLICIT_KEY: u8 = 2;
const FINGERPRINT_SHA1: u8 = 3;
const FINGERPRINT_SHA256: u8 = 5;
const EXTENSION: u8 = 255;

/// Sections within the one on certificates.
const SERIAL_LIST: u8 = 0x20;
const SERIAL_RANGE: u8 = 0x21;
const SERIAL_BITMAP: u8 = 0x22;
const KEY_ID: u8 = 0x23;
const CERTIFICATE_EXTENSION: u8 = 0x39;

/// A list of what is revoked. Keys are in their wire form (RFC 4253 §6.6).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Krl {
    authorities: Vec<Authority>,
    keys: Vec<Vec<u8>>,
    sha1: Vec<Vec<u8>>,
    sha256: Vec<Vec<u8>>,
}

/// What is revoked of the certificates that one key has signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Authority {
    /// Empty: any.
    key: Vec<u8>,
    /// First and last.
    ranges: Vec<(u64, u64)>,
    bitmaps: Vec<Bitmap>,
    ids: Vec<Vec<u8>>,
}

/// Serials from `offset` on, one bit each, the first in the lowest bit of the last byte.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bitmap {
    offset: u64,
    bits: Vec<u8>,
}

/// Why bytes are no list, or one that cannot be kept to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KrlError {
    /// It ends too early, or a field is longer than what holds it.
    #[error("the list is cut off or a length in it is wrong")]
    Length,
    /// It is of another format.
    #[error("format version {0} is unknown")]
    Version(u32),
    /// It has a section, or a critical extension, that nobody here can keep to (a signature is one).
    #[error("section {0:#04x} is not supported")]
    Section(u8),
    /// A range ends before it begins, a bitmap is negative, or a fingerprint has another length.
    #[error("section {0:#04x} is malformed")]
    Malformed(u8),
}

/// What a certificate says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Issue<'a> {
    /// Who signed it: the key in its wire form.
    pub(super) authority: &'a [u8],
    pub(super) serial: u64,
    pub(super) id: &'a [u8],
}

impl Krl {
    /// Reads a list, its magic included. What is not understood is an error: a revocation that is passed
    /// over is a key let in.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KrlError> {
        let mut cursor = Cursor(bytes.strip_prefix(MAGIC).ok_or(KrlError::Length)?);
        match cursor.u32()? {
            VERSION => {}
            other => return Err(KrlError::Version(other)),
        }
        // Its own version, its date and its flags.
        for _ in 0..3 {
            cursor.u64()?;
        }
        let (_reserved, _comment) = (cursor.string()?, cursor.string()?);
        let mut krl = Self::default();
        while let Some(kind) = cursor.kind() {
            let mut body = Cursor(cursor.string()?);
            match kind {
                CERTIFICATES => krl.authorities.push(Authority::parse(body)?),
                EXPLICIT_KEY => krl.keys.append(&mut body.strings()?),
                FINGERPRINT_SHA1 => krl.sha1.append(&mut prints(kind, body, &SHA1)?),
                FINGERPRINT_SHA256 => krl.sha256.append(&mut prints(kind, body, &digest::SHA256)?),
                EXTENSION => body.extension(kind)?,
                other => return Err(KrlError::Section(other)),
            }
        }
        Ok(krl)
    }

    /// Whether the key is revoked, by itself or by a fingerprint.
    pub(super) fn holds_key(&self, key: &[u8]) -> bool {
        let among = |prints: &[Vec<u8>], algorithm| {
            let print = digest::digest(algorithm, key);
            prints.iter().any(|listed| listed == print.as_ref())
        };
        self.keys.iter().any(|listed| listed == key)
            || among(&self.sha1, &SHA1)
            || among(&self.sha256, &digest::SHA256)
    }

    /// Whether the certificate is revoked, by its serial or its id.
    pub(super) fn holds_certificate(&self, issue: &Issue<'_>) -> bool {
        self.authorities.iter().any(|authority| {
            (authority.key.is_empty() || authority.key == issue.authority)
                && (authority.holds_serial(issue.serial)
                    || authority.ids.iter().any(|listed| listed == issue.id))
        })
    }
}

/// A fingerprint in a list is no signature: an attacker gains nothing from two keys with one SHA-1.
const SHA1: digest::Algorithm = digest::SHA1_FOR_LEGACY_USE_ONLY;

impl Authority {
    fn parse(mut cursor: Cursor<'_>) -> Result<Self, KrlError> {
        let mut authority = Self {
            key: cursor.string()?.to_vec(),
            ..Self::default()
        };
        let _reserved = cursor.string()?;
        while let Some(kind) = cursor.kind() {
            let mut body = Cursor(cursor.string()?);
            match kind {
                SERIAL_LIST => {
                    while !body.0.is_empty() {
                        let serial = body.u64()?;
                        authority.ranges.push((serial, serial));
                    }
                }
                SERIAL_RANGE => {
                    let range = (body.u64()?, body.u64()?);
                    if range.0 > range.1 || !body.0.is_empty() {
                        return Err(KrlError::Malformed(kind));
                    }
                    authority.ranges.push(range);
                }
                SERIAL_BITMAP => authority.bitmaps.push(Bitmap::parse(kind, body)?),
                KEY_ID => authority.ids.append(&mut body.strings()?),
                CERTIFICATE_EXTENSION => body.extension(kind)?,
                other => return Err(KrlError::Section(other)),
            }
        }
        Ok(authority)
    }

    fn holds_serial(&self, serial: u64) -> bool {
        self.ranges
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&serial))
            || self.bitmaps.iter().any(|bitmap| bitmap.holds(serial))
    }
}

impl Bitmap {
    fn parse(kind: u8, mut cursor: Cursor<'_>) -> Result<Self, KrlError> {
        let (offset, bits) = (cursor.u64()?, cursor.string()?.to_vec());
        // An mpint (RFC 4251 §5) below zero, or more than one of them.
        if bits.first().is_some_and(|byte| byte & 0x80 != 0) || !cursor.0.is_empty() {
            return Err(KrlError::Malformed(kind));
        }
        Ok(Self { offset, bits })
    }

    fn holds(&self, serial: u64) -> bool {
        let Some(bit) = serial.checked_sub(self.offset) else {
            return false;
        };
        let byte = usize::try_from(bit / 8)
            .ok()
            .and_then(|byte| self.bits.iter().rev().nth(byte));
        byte.is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    }
}

fn prints(
    kind: u8,
    mut cursor: Cursor<'_>,
    algorithm: &digest::Algorithm,
) -> Result<Vec<Vec<u8>>, KrlError> {
    let prints = cursor.strings()?;
    let fits = |print: &Vec<u8>| print.len() == algorithm.output_len();
    if prints.iter().all(fits) {
        Ok(prints)
    } else {
        Err(KrlError::Malformed(kind))
    }
}

/// What is left of the bytes.
#[derive(Debug, Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], KrlError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(KrlError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], KrlError> {
        self.take(N)?.try_into().map_err(|_| KrlError::Length)
    }

    fn u32(&mut self) -> Result<u32, KrlError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, KrlError> {
        self.array().map(u64::from_be_bytes)
    }

    fn string(&mut self) -> Result<&'a [u8], KrlError> {
        let length = self.u32()?;
        self.take(usize::try_from(length).map_err(|_| KrlError::Length)?)
    }

    /// Every string up to the end.
    fn strings(&mut self) -> Result<Vec<Vec<u8>>, KrlError> {
        let mut strings = Vec::new();
        while !self.0.is_empty() {
            strings.push(self.string()?.to_vec());
        }
        Ok(strings)
    }

    /// A section's first byte, unless there are no more sections.
    fn kind(&mut self) -> Option<u8> {
        let (kind, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*kind)
    }

    /// An extension: none is known, so that a critical one cannot be kept to.
    fn extension(&mut self, kind: u8) -> Result<(), KrlError> {
        let _name = self.string()?;
        let [critical] = self.array()?;
        let _contents = self.string()?;
        match (critical, self.0) {
            (0, []) => Ok(()),
            (0, _) => Err(KrlError::Malformed(kind)),
            _ => Err(KrlError::Section(kind)),
        }
    }
}

#[cfg(test)]
mod tests;
