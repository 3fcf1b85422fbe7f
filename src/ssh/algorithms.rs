//! What this server speaks: algorithms, limits and timing of the SSH transport.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};

use crate::config;

/// Hybrid post-quantum first, then Curve25519; the last two announce extensions (RFC 8308) and strict
/// key exchange (OpenSSH's PROTOCOL, 1.10; against CVE-2023-48795).
const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

/// Authenticated encryption only.
const CIPHERS: &[cipher::Name] = &[
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
];

/// Never used with the ciphers above, but a client's list has to meet ours (RFC 4253 §7.1).
const MACS: &[mac::Name] = &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM];

/// Signatures taken from clients (server-sig-algs, RFC 8308 §3.1). Of these, only what there is a host
/// key for is offered for hosts: Ed25519.
const SIGNATURES: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::SkEd25519,
    Algorithm::SkEcdsaSha2NistP256,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

/// The first `none` only asks for the methods and is no attempt (RFC 4252 §5.2), but russh counts it.
const METHOD_PROBE: usize = 1;

/// A private key that this server proves itself with.
#[derive(Debug, Clone)]
pub struct HostKey(PrivateKey);

/// Why a key cannot be the host's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostKeyError {
    /// It is of another type.
    #[error("the host key is of type {0}; ed25519 is needed: ssh-keygen -t ed25519")]
    Type(String),
    /// It lies under a passphrase.
    #[error("the host key has a passphrase; take it off with ssh-keygen -p")]
    Encrypted,
}

impl TryFrom<PrivateKey> for HostKey {
    type Error = HostKeyError;

    fn try_from(key: PrivateKey) -> Result<Self, HostKeyError> {
        match key.algorithm() {
            _ if key.is_encrypted() => Err(HostKeyError::Encrypted),
            Algorithm::Ed25519 => Ok(Self(key)),
            other => Err(HostKeyError::Type(other.to_string())),
        }
    }
}

/// The transport's settings, host keys included; cheap to clone.
#[derive(Debug, Clone)]
pub struct Transport(Arc<Config>);

impl Transport {
    /// As the configuration has it.
    pub fn new(config: &config::Config, host_keys: &[HostKey]) -> Self {
        Self(Arc::new(transport(config, host_keys)))
    }

    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0)
    }
}

fn transport(config: &config::Config, host_keys: &[HostKey]) -> Config {
    let (timeouts, rekey) = (&config.manners.timeouts, &config.manners.rekey);
    Config {
        server_id: SshId::Standard(Cow::Borrowed(concat!(
            "SSH-2.0-sandgate_",
            env!("CARGO_PKG_VERSION")
        ))),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        keys: host_keys.iter().map(|key| key.0.clone()).collect(),
        preferred: Preferred {
            kex: Cow::Borrowed(KEX),
            key: Cow::Borrowed(SIGNATURES),
            host_key_certificates: Cow::Borrowed(&[]),
            cipher: Cow::Borrowed(CIPHERS),
            mac: Cow::Borrowed(MACS),
            compression: Cow::Borrowed(&[compression::NONE]),
        },
        max_auth_attempts: config.limits.auth_tries.saturating_add(METHOD_PROBE),
        // Every refusal takes this long, so that its time says nothing of its reason.
        auth_rejection_time: Duration::from_secs(1),
        auth_rejection_time_initial: Some(Duration::ZERO),
        // Login grace ends who does not log in, keepalives end who is gone; an idle shell may stay.
        inactivity_timeout: None,
        keepalive_interval: timeouts.alive_interval,
        keepalive_max: timeouts.alive_count,
        limits: russh::Limits {
            rekey_write_limit: rekey.bytes,
            rekey_read_limit: rekey.bytes,
            rekey_time_limit: rekey.time,
        },
        window_size: 2 << 20,
        maximum_packet_size: 32 * 1024,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> config::Config {
        let text = "host_keys: [k]\nlogins: {a: {authorized_keys: [a], policy: p}}\n";
        config::parse(std::path::Path::new("sandgate.yaml"), text).unwrap()
    }

    fn key(algorithm: Algorithm) -> PrivateKey {
        PrivateKey::random(&mut russh::keys::key::safe_rng(), algorithm).unwrap()
    }

    #[test]
    fn nothing_weak_is_offered() {
        let config = transport(
            &config(),
            &[HostKey::try_from(key(Algorithm::Ed25519)).unwrap()],
        );
        let preferred = &config.preferred;
        let offered: Vec<String> = (preferred.kex.iter().map(|name| name.as_ref().to_owned()))
            .chain(preferred.cipher.iter().map(|name| name.as_ref().to_owned()))
            .chain(preferred.mac.iter().map(|name| name.as_ref().to_owned()))
            .chain(
                preferred
                    .compression
                    .iter()
                    .map(|name| name.as_ref().to_owned()),
            )
            .chain(preferred.key.iter().map(ToString::to_string))
            .collect();
        for weak in [
            "sha1",
            "cbc",
            "ctr",
            "zlib",
            "group14",
            "ssh-rsa",
            "ssh-dss",
            "clear",
            "nistp256-sha",
        ] {
            assert!(
                !offered.iter().any(|name| name.contains(weak)),
                "{weak} in {offered:?}"
            );
        }
        assert!(offered.contains(&"mlkem768x25519-sha256".to_owned()));
        assert!(offered.contains(&"kex-strict-s-v00@openssh.com".to_owned()));
        assert_eq!(config.methods[..], [MethodKind::PublicKey]);
    }

    #[test]
    fn only_ed25519_is_a_host_key() {
        assert!(HostKey::try_from(key(Algorithm::Ed25519)).is_ok());
        let ecdsa = key(Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        });
        assert!(matches!(
            HostKey::try_from(ecdsa),
            Err(HostKeyError::Type(_))
        ));
    }
}
