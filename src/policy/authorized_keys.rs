//! `authorized_keys` files: keys, authorities and the options before them (sshd(8)).

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, HashAlg, PublicKey};

use super::key_options::{OptionError, Options};
use crate::model::Fingerprint;

mod principals;

/// The smallest RSA modulus taken, in bits (NIST SP 800-131A rev. 2, table 2).
const RSA_BITS: usize = 2048;

/// The key types taken, as they open a line or follow its options (sshd(8)).
const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
];

/// The keys of one login, read from sshd(8) `authorized_keys` text.
#[derive(Debug, Clone, Default)]
pub struct AuthorizedKeys {
    entries: Vec<Entry>,
    warnings: Vec<Warning>,
}

/// A line that was taken.
#[derive(Debug, Clone)]
struct Entry {
    key: KeyData,
    options: Options,
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
    /// There is no key type that is taken, neither at its begin nor after its options.
    #[error("holds no key of one of the types {}", TYPES.join(", "))]
    Type,
    /// Its options are not understood. To take a key without the restrictions that stand before it would
    /// open more than its owner meant.
    #[error("{0}; the key is not accepted without its options")]
    Options(#[from] OptionError),
    /// There is no key after its type, or what is there cannot be read.
    #[error("holds no readable key: {0}")]
    Unreadable(String),
    /// An RSA key with a small modulus.
    #[error("the RSA key has {0} bits; at least {RSA_BITS} are needed")]
    Weak(usize),
}

impl AuthorizedKeys {
    /// Reads the text of a login's own files. Lines that cannot be taken are skipped and stand in
    /// `warnings`.
    pub fn parse(text: &[u8]) -> Self {
        Self::read(text, &Options::none())
    }

    /// Reads the keys whose certificates are taken whatever authorized_keys say: each line is one. Their
    /// certificates name one of `principals`, or the login where there are none.
    pub fn parse_authorities(text: &[u8], principals: &[String]) -> Self {
        let mut parsed = Self::read(text, &Options::authority());
        if !principals.is_empty() {
            let names: Vec<Vec<u8>> = principals
                .iter()
                .map(|name| name.as_bytes().to_vec())
                .collect();
            for entry in &mut parsed.entries {
                entry
                    .options
                    .principals
                    .get_or_insert_with(|| names.clone());
            }
        }
        parsed
    }

    fn read(text: &[u8], base: &Options) -> Self {
        let mut parsed = Self::default();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match entry(line, base) {
                Ok(entry) => parsed.entries.push(entry),
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

    /// The options of each line that has this key for itself.
    pub(super) fn keys(&self, key: &KeyData) -> impl Iterator<Item = &Options> {
        self.lines(key).filter(|options| !options.authority)
    }

    /// The options of each line that trusts this key's certificates.
    pub(super) fn authorities(&self, key: &KeyData) -> impl Iterator<Item = &Options> {
        self.lines(key).filter(|options| options.authority)
    }

    /// A key's comment does not count.
    fn lines(&self, key: &KeyData) -> impl Iterator<Item = &Options> {
        let ours = |entry: &&Entry| entry.key == *key;
        self.entries.iter().filter(ours).map(|entry| &entry.options)
    }
}

/// Whether signatures of this algorithm are taken: `ssh-rsa` signs with SHA-1 (RFC 8332 §1) and is not.
pub(super) fn strong(algorithm: &Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::Ed25519
            | Algorithm::Ecdsa { .. }
            | Algorithm::Rsa { hash: Some(_) }
            | Algorithm::SkEd25519
            | Algorithm::SkEcdsaSha2NistP256
    )
}

/// The key's name in logs and audit events.
pub fn fingerprint(key: &PublicKey) -> Fingerprint {
    Fingerprint(key.fingerprint(HashAlg::Sha256).to_string())
}

/// One line without its ends' blanks: options, type, base64, comment (sshd(8), "`AUTHORIZED_KEYS` FILE
/// FORMAT"). The comment may be any bytes; one that is not UTF-8 is none.
fn entry(line: &[u8], base: &Options) -> Result<Entry, Problem> {
    if let Some(key) = key(line)? {
        let mut options = base.clone();
        options.comment = comment(line);
        return Ok(Entry { key, options });
    }
    let (options, rest) = line
        .split_at_checked(options_end(line))
        .unwrap_or((line, &[]));
    let rest = rest.trim_ascii_start();
    let Some(key) = key(rest)? else {
        return Err(Problem::Type);
    };
    let mut options = base.clone().read(options)?;
    options.comment = comment(rest);
    Ok(Entry { key, options })
}

/// What stands behind type and key.
fn comment(line: &[u8]) -> Option<String> {
    let after = |line: &[u8]| {
        let end = line.iter().position(u8::is_ascii_whitespace);
        let (_, rest) = line.split_at_checked(end.unwrap_or(line.len()))?;
        Some(rest.trim_ascii_start().to_vec())
    };
    let comment = after(&after(line)?)?;
    String::from_utf8(comment)
        .ok()
        .filter(|comment| !comment.is_empty())
}

/// Where a line's options end: at the first blank outside quotes (sshd's `sshkey_advance_past_options`).
fn options_end(line: &[u8]) -> usize {
    let (mut quoted, mut before) = (false, b' ');
    let ends = |byte: &u8| {
        if *byte == b'"' && before != b'\\' {
            quoted = !quoted;
        }
        before = *byte;
        !quoted && matches!(byte, b' ' | b'\t')
    };
    line.iter().position(ends).unwrap_or(line.len())
}

/// The key that a line begins with; `None` if it begins with something else.
fn key(line: &[u8]) -> Result<Option<KeyData>, Problem> {
    let mut fields = line
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty());
    let name = fields.next().unwrap_or_default();
    let Some(name) = TYPES.iter().find(|known| known.as_bytes() == name) else {
        return Ok(None);
    };
    let encoded = String::from_utf8_lossy(fields.next().unwrap_or_default());
    let key = PublicKey::from_openssh(&format!("{name} {encoded}"))
        .map_err(|error| Problem::Unreadable(error.to_string()))?;
    fit(key.key_data())?;
    Ok(Some(key.key_data().clone()))
}

/// Whether a key is of a type that is taken, and strong enough.
pub(super) fn fit(key: &KeyData) -> Result<(), Problem> {
    match key {
        KeyData::Rsa(rsa) => {
            let modulus = rsa.n().as_positive_bytes().unwrap_or_default();
            let unused = modulus
                .first()
                .map_or(0, |byte| byte.leading_zeros() as usize);
            match modulus.len() * 8 - unused {
                bits if bits < RSA_BITS => Err(Problem::Weak(bits)),
                _ => Ok(()),
            }
        }
        KeyData::Ed25519(_)
        | KeyData::Ecdsa(_)
        | KeyData::SkEd25519(_)
        | KeyData::SkEcdsaSha2NistP256(_) => Ok(()),
        _ => Err(Problem::Type),
    }
}

#[cfg(test)]
mod tests;
