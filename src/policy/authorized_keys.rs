//! Who may log in: authorized_keys files, and the principal minted from a verified key.

use russh::keys::PublicKey;
use russh::server::VerifiedPublicKey;

use crate::model::{Fingerprint, LoginName};

/// The keys of one login, read from sshd(8) `authorized_keys` text.
#[derive(Debug, Clone, Default)]
pub struct AuthorizedKeys {
    keys: Vec<PublicKey>,
}

/// Somebody who proved a key that a login accepts. Fields private: only `AuthorizedKeys::admit` mints one.
#[derive(Debug, Clone)]
pub struct Principal {
    login: LoginName,
    key: Fingerprint,
}
