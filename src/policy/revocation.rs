//! Who may log in no more: lists of keys and OpenSSH's revocation lists.

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, PublicKey};

use super::krl::{Issue, Krl, KrlError, MAGIC};

/// Everything that a login's `revoked_keys` files list.
#[derive(Debug, Clone, Default)]
pub struct Revocations(Vec<List>);

#[derive(Debug, Clone)]
enum List {
    Krl(Krl),
    Keys(Vec<KeyData>),
}

/// Why a file is no list. Nobody logs in past one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("revoked_keys, file {file}: {problem}")]
pub struct RevocationError {
    /// Its place in the configuration, from 1.
    pub file: usize,
    /// What is wrong with it.
    pub problem: RevocationProblem,
}

/// What is wrong with a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevocationProblem {
    /// It begins like OpenSSH's binary form and does not go on like it.
    #[error("{0}")]
    Krl(#[from] KrlError),
    /// A line of a text is no key.
    #[error("line {0} holds no readable public key")]
    Line(usize),
}

/// What of a claim is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Revoked {
    /// The key itself.
    #[error("the key is revoked")]
    Key,
    /// The key that signed the certificate.
    #[error("the key that signed the certificate is revoked")]
    Authority,
    /// The certificate, by its serial or its key id.
    #[error("the certificate is revoked")]
    Certificate,
}

impl Revocations {
    /// Reads the files: each one a KRL, or lines of public keys (`sshd_config(5)`, `RevokedKeys`).
    pub fn parse(files: &[Vec<u8>]) -> Result<Self, RevocationError> {
        let one = |(index, bytes): (usize, &Vec<u8>)| {
            let list = if bytes.starts_with(MAGIC) {
                Krl::parse(bytes).map(List::Krl).map_err(Into::into)
            } else {
                keys(bytes).map(List::Keys)
            };
            list.map_err(|problem| RevocationError {
                file: index + 1,
                problem,
            })
        };
        let lists: Result<_, _> = files.iter().enumerate().map(one).collect();
        lists.map(Self)
    }

    /// What is revoked of a key and the certificate that it comes in.
    pub fn find(&self, key: &KeyData, certificate: Option<&Certificate>) -> Option<Revoked> {
        // A key that cannot be written down is on no list; it was read from its wire form.
        let wire = |key: &KeyData| PublicKey::from(key.clone()).to_bytes().unwrap_or_default();
        if self.hold_key(key, &wire(key)) {
            return Some(Revoked::Key);
        }
        let certificate = certificate?;
        let authority = certificate.signature_key();
        let signer = wire(authority);
        if self.hold_key(authority, &signer) {
            return Some(Revoked::Authority);
        }
        let issue = Issue {
            authority: &signer,
            serial: certificate.serial(),
            id: certificate.key_id().as_bytes(),
        };
        let holds = |list: &List| matches!(list, List::Krl(krl) if krl.holds_certificate(&issue));
        self.0.iter().any(holds).then_some(Revoked::Certificate)
    }

    fn hold_key(&self, key: &KeyData, wire: &[u8]) -> bool {
        self.0.iter().any(|list| match list {
            List::Krl(krl) => krl.holds_key(wire),
            List::Keys(keys) => keys.contains(key),
        })
    }
}

/// A key on each line; a certificate stands for the key in it. Keys of every type are taken, since those
/// that cannot log in anyway do no harm here.
fn keys(text: &[u8]) -> Result<Vec<KeyData>, RevocationProblem> {
    let mut keys = Vec::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        keys.push(key(line).ok_or(RevocationProblem::Line(index + 1))?);
    }
    Ok(keys)
}

fn key(line: &[u8]) -> Option<KeyData> {
    let mut fields = line
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty());
    let (name, encoded) = (fields.next()?, fields.next()?);
    let text = format!(
        "{} {}",
        str::from_utf8(name).ok()?,
        str::from_utf8(encoded).ok()?
    );
    if name.ends_with(b"-cert-v01@openssh.com") {
        let certificate = Certificate::from_openssh(&text).ok()?;
        return Some(certificate.public_key().clone());
    }
    Some(PublicKey::from_openssh(&text).ok()?.key_data().clone())
}

/// For fuzzing: whatever the bytes are, reading them and looking into them ends.
#[doc(hidden)]
pub fn replay(bytes: &[u8]) -> Result<(), KrlError> {
    let krl = Krl::parse(bytes)?;
    krl.holds_key(bytes);
    for serial in [0, 1, u64::MAX / 2, u64::MAX] {
        krl.holds_certificate(&Issue {
            authority: b"",
            serial,
            id: bytes,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
