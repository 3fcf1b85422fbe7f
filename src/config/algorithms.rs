//! The algorithms of the SSH transport, by the names that go over the wire; and what the operator leaves
//! of them.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::text::wrong;
use crate::yaml::Fault;

/// Key exchange: hybrid post-quantum first, then Curve25519.
pub const KEX: &[&str] = &[
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
];

/// Authenticated encryption only.
pub const CIPHERS: &[&str] = &[
    "chacha20-poly1305@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
];

/// Never used with the ciphers above, but a client's list has to meet ours (RFC 4253 §7.1).
pub const MACS: &[&str] = &[
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
];

/// What the host proves itself with.
pub const HOST_KEYS: &[&str] = &[
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
];

/// Signatures taken from clients.
pub const SIGNATURES: &[&str] = &[
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
];

/// The same by keys in certificates (OpenSSH's PROTOCOL.certkeys).
pub const CERTIFICATES: &[&str] = &[
    "ssh-ed25519-cert-v01@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com",
];

/// What the operator leaves of the first three; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithms {
    /// Of `KEX`.
    pub kex: Vec<&'static str>,
    /// Of `CIPHERS`.
    pub ciphers: Vec<&'static str>,
    /// Of `MACS`.
    pub macs: Vec<&'static str>,
}

impl Default for Algorithms {
    fn default() -> Self {
        Self {
            kex: KEX.to_vec(),
            ciphers: CIPHERS.to_vec(),
            macs: MACS.to_vec(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlgorithmsFile {
    kex: Option<Names>,
    ciphers: Option<Names>,
    macs: Option<Names>,
}

type Names = Spanned<Vec<Spanned<String>>>;

pub(super) fn check(file: AlgorithmsFile) -> Result<Algorithms, Fault> {
    Ok(Algorithms {
        kex: chosen(file.kex, KEX)?,
        ciphers: chosen(file.ciphers, CIPHERS)?,
        macs: chosen(file.macs, MACS)?,
    })
}

/// Those that are named, in our order: the client's decides which is taken (RFC 4253 §7.1).
fn chosen(
    names: Option<Names>,
    known: &'static [&'static str],
) -> Result<Vec<&'static str>, Fault> {
    let Some(names) = names else {
        return Ok(known.to_vec());
    };
    if names.value.is_empty() {
        return wrong(names.referenced, "name at least one");
    }
    for name in &names.value {
        if !known.contains(&name.value.as_str()) {
            let problem = format!("{:?} is none of {}", name.value, known.join(", "));
            return wrong(name.referenced, problem);
        }
    }
    let chosen = |known: &&'static str| names.value.iter().any(|name| name.value == **known);
    Ok(known.iter().copied().filter(chosen).collect())
}
