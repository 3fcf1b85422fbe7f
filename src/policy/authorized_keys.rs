//! Who may log in: `authorized_keys` files, and the principal minted from a verified key.

use std::fmt;

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, HashAlg, PublicKey};
use russh::server::VerifiedPublicKey;

use super::grants::Grants;
use crate::model::{Fingerprint, LoginName};

/// The smallest RSA modulus taken, in bits (NIST SP 800-131A rev. 2, table 2).
const RSA_BITS: usize = 2048;

/// The key types taken, as they open a line (sshd(8)).
const TYPES: [&str; 5] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
];

/// The keys of one login, read from sshd(8) `authorized_keys` text.
#[derive(Debug, Clone, Default)]
pub struct AuthorizedKeys {
    keys: Vec<PublicKey>,
    warnings: Vec<Warning>,
}

/// A line that was skipped. It takes nothing from the lines around it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("authorized_keys line {line}: {problem}")]
pub struct Warning {
    /// Its number, from 1, in the text that was parsed.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// Why a line was skipped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It begins with no key type that is taken: with options, or with an unknown type. To take a key
    /// without the restrictions that stand before it would open more than its owner meant.
    #[error("does not begin with one of {}; options before a key are not supported, so this key is not accepted", TYPES.join(", "))]
    Options,
    /// There is no key after its type, or what is there cannot be read.
    #[error("holds no readable key: {0}")]
    Unreadable(String),
    /// An RSA key with a small modulus.
    #[error("the RSA key has {0} bits; at least {RSA_BITS} are needed")]
    Weak(usize),
}

impl AuthorizedKeys {
    /// Reads the text. Lines that cannot be taken are skipped and stand in `warnings`.
    pub fn parse(text: &[u8]) -> Self {
        let mut parsed = Self::default();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match key(line) {
                Ok(key) => parsed.keys.push(key),
                Err(problem) => parsed.warnings.push(Warning {
                    line: index + 1,
                    problem,
                }),
            }
        }
        parsed
    }

    /// What was skipped, in the order of the text.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Whether this key is one of them. Looks at every key whatever it finds, so that the time says
    /// nothing about which one matched; a key's comment does not count.
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.keys.iter().fold(false, |found, ours| {
            (ours.key_data() == key.key_data()) | found
        })
    }

    /// The only way to a principal: russh makes a `VerifiedPublicKey` after checking the signature and
    /// at no other time. `None` where the key is not the login's, or signed with a weak algorithm.
    pub fn admit(&self, login: &LoginName, verified: &VerifiedPublicKey<'_>) -> Option<Principal> {
        let known = self.contains(verified.public_key);
        (known && strong(verified.algorithm)).then(|| Principal {
            login: login.clone(),
            key: fingerprint(verified.public_key),
            grants: Grants::full(),
        })
    }
}

/// Whether signatures of this algorithm are taken: `ssh-rsa` signs with SHA-1 (RFC 8332 §1) and is not.
pub fn strong(algorithm: &Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { hash: Some(_) }
    )
}

/// The key's name in logs and audit events.
pub fn fingerprint(key: &PublicKey) -> Fingerprint {
    Fingerprint(key.fingerprint(HashAlg::Sha256).to_string())
}

/// One line without its ends' blanks: type, base64, comment (sshd(8), "`AUTHORIZED_KEYS` FILE FORMAT").
/// The comment may be any bytes and is not looked at.
fn key(line: &[u8]) -> Result<PublicKey, Problem> {
    let mut fields = line
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty());
    let name = fields.next().unwrap_or_default();
    let Some(name) = TYPES.iter().find(|known| known.as_bytes() == name) else {
        return Err(Problem::Options);
    };
    let encoded = String::from_utf8_lossy(fields.next().unwrap_or_default());
    let key = PublicKey::from_openssh(&format!("{name} {encoded}"))
        .map_err(|error| Problem::Unreadable(error.to_string()))?;
    match key.key_data() {
        KeyData::Rsa(rsa) => {
            let modulus = rsa.n().as_positive_bytes().unwrap_or_default();
            let unused = modulus
                .first()
                .map_or(0, |byte| byte.leading_zeros() as usize);
            let bits = modulus.len() * 8 - unused;
            if bits < RSA_BITS {
                Err(Problem::Weak(bits))
            } else {
                Ok(key)
            }
        }
        _ => Ok(key),
    }
}

/// Somebody who proved a key that a login accepts. Fields private: only `AuthorizedKeys::admit` mints one.
#[derive(Debug, Clone)]
pub struct Principal {
    login: LoginName,
    key: Fingerprint,
    grants: Grants,
}

impl Principal {
    /// Who they are here.
    pub fn login(&self) -> &LoginName {
        &self.login
    }

    /// The key that they proved.
    pub fn key(&self) -> &Fingerprint {
        &self.key
    }

    /// What that key may be used for.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.login, self.key)
    }
}

#[cfg(test)]
mod tests;
