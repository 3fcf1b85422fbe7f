//! Secrets that the operator gives to upstreams for a sandbox, and what they are called.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Invalid, kind};

/// A secret's size, in bytes.
pub const SECRET_BYTES: usize = 64 * 1024;

/// The most bytes of a key.
const KEY_BYTES: usize = 128;

/// The name of a provider of secrets; made like a login's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProviderName(String);

impl ProviderName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProviderName {
    type Error = Invalid;

    fn try_from(name: String) -> Result<Self, Invalid> {
        kind::plain(name, "name of a provider").map(Self)
    }
}

impl From<ProviderName> for String {
    fn from(name: ProviderName) -> Self {
        name.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a secret is called: a variable's name, `[A-Za-z_][A-Za-z0-9_]*`, at most 128 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretKey(String);

impl SecretKey {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SecretKey {
    type Error = Invalid;

    fn try_from(name: String) -> Result<Self, Invalid> {
        let digit = name.starts_with(|c: char| c.is_ascii_digit());
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || digit || name.len() > KEY_BYTES || !name.bytes().all(good) {
            return Err(Invalid(format!(
                "{name:?} is no key: letters, digits and '_', no digit first, at most {KEY_BYTES}"
            )));
        }
        Ok(Self(name))
    }
}

impl From<SecretKey> for String {
    fn from(name: SecretKey) -> Self {
        name.0
    }
}

impl Borrow<str> for SecretKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why bytes are no secret. Says nothing of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There are none.
    #[error("is empty")]
    Empty,
    /// More than `SECRET_BYTES`.
    #[error("is longer than {SECRET_BYTES} bytes")]
    Long,
    /// Whoever could choose it could write a second header (RFC 9110 §5.5).
    #[error("holds CR, LF or NUL")]
    Control,
}

/// A secret. Without `Debug`, `Display`, `Serialize` and `Clone` it gets into no message by accident; its
/// bytes are overwritten when it is dropped.
#[derive(PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a secret's bytes. One line end at their end is cut off: files have it.
    pub fn new(mut bytes: Zeroizing<Vec<u8>>) -> Result<Self, Unfit> {
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.is_empty() {
            return Err(Unfit::Empty);
        }
        if bytes.len() > SECRET_BYTES {
            return Err(Unfit::Long);
        }
        if bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err(Unfit::Control);
        }
        Ok(Self(bytes))
    }

    /// The bytes, for whoever puts them where they belong and nowhere else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line_and_loses_its_end() {
        let made = |text: &str| Secret::new(Zeroizing::new(text.as_bytes().to_vec()));
        for text in ["abc", "abc\n", "abc\r\n"] {
            assert!(made(text).is_ok_and(|secret| secret.expose() == b"abc"));
        }
        for (text, why) in [
            ("", Unfit::Empty),
            ("\n", Unfit::Empty),
            ("abc\n\n", Unfit::Control),
            ("a\rb", Unfit::Control),
            ("a\0b", Unfit::Control),
            ("abc\r", Unfit::Control),
            (&"x".repeat(SECRET_BYTES + 1), Unfit::Long),
        ] {
            assert!(made(text).err() == Some(why), "{text:.9?}");
        }
    }

    #[test]
    fn keys_are_names_of_variables() {
        for name in ["A", "_a1", "GITHUB_TOKEN"] {
            assert!(SecretKey::try_from(name.to_owned()).is_ok());
        }
        for name in ["", "1A", "A-B", "..data", "A B", &"A".repeat(129)] {
            assert!(SecretKey::try_from(name.to_owned()).is_err(), "{name}");
        }
    }
}
