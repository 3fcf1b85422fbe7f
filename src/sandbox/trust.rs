//! What sandboxed programs trust: certificates in PEM, and once more in the one form that every Java reads.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::sys::memory::Constant;

/// The certificates that sandboxes trust, of which no session's fork has to copy half a megabyte.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) pem: Constant,
    /// A key store of Java's (JKS, version 2). PKCS #12, its newer form, is read without a password since
    /// Java 18 alone.
    pub(super) java: Constant,
}

impl Trust {
    /// What the gate says, in PEM; `None` if it has ended before.
    pub(super) fn read(gate: OwnedFd) -> io::Result<Option<Self>> {
        let pem = io::read_to_string(File::from(gate))?;
        if pem.is_empty() {
            return Ok(None);
        }
        Self::of(&pem).map(Some)
    }

    /// These.
    pub(super) fn of(pem: &str) -> io::Result<Self> {
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
        let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|error| {
            io::Error::other(format!("what sandboxes should trust is no PEM: {error}"))
        })?;
        Ok(Self {
            pem: Constant::copy_of(pem.as_bytes())?,
            java: Constant::copy_of(&store(&certificates))?,
        })
    }
}

/// The password that Java's own store has, too. It keeps nothing secret: it seeds the checksum at the end,
/// which is looked at by whoever gives one.
const PASSWORD: &str = "changeit";

/// A store as `sun.security.provider.JavaKeyStore` of the OpenJDK describes it, numbers in network order.
fn store(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(0xfeed_feed_u32.to_be_bytes());
    bytes.extend(2_u32.to_be_bytes());
    bytes.extend(size(certificates.len()));
    for (number, certificate) in certificates.iter().enumerate() {
        // A trusted certificate: its alias, when it was put there (ms), its kind, itself.
        bytes.extend(2_u32.to_be_bytes());
        text(&mut bytes, &format!("sandgate-{number}"));
        bytes.extend(0_u64.to_be_bytes());
        text(&mut bytes, "X.509");
        bytes.extend(size(certificate.len()));
        bytes.extend_from_slice(certificate);
    }
    let mut checked: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    checked.extend(b"Mighty Aphrodite");
    checked.extend_from_slice(&bytes);
    let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &checked);
    bytes.extend_from_slice(sum.as_ref());
    bytes
}

/// All that is counted came in one text, which is shorter than 4 GiB.
fn size(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// `DataOutput.writeUTF` of a short ASCII text.
fn text(bytes: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}
