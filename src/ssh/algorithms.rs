//! What this server speaks: algorithms, limits and timing of the SSH transport.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::server::Config;
use russh::{Preferred, SshId, cipher, compression, kex, mac};

use super::auth::method_set;
use super::host_keys::Identity;
use crate::config;
use crate::config::algorithms::Algorithms;

/// Hybrid post-quantum first, then Curve25519, also by its older name, the only one that paramiko knows
/// (RFC 8731 §1: they are the same); the last two announce extensions (RFC 8308) and strict
/// key exchange (OpenSSH's PROTOCOL, 1.10; against CVE-2023-48795).
const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
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

/// Signatures taken from clients (server-sig-algs, RFC 8308 §3.1; those of certificates are the keys' own).
/// Of these, only what there is a host key for is offered for hosts, in this order.
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

/// The transport's settings, host keys included; cheap to clone.
#[derive(Debug, Clone)]
pub struct Transport(Arc<Config>);

impl Transport {
    /// As the configuration has it.
    pub fn new(config: &config::Config, identity: &Identity) -> Self {
        let mut transport = transport(config, identity);
        restrict(&mut transport.preferred, &config.algorithms);
        Self(Arc::new(transport))
    }

    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0)
    }
}

fn transport(config: &config::Config, identity: &Identity) -> Config {
    let (timeouts, rekey) = (&config.manners.timeouts, &config.manners.rekey);
    Config {
        server_id: SshId::Standard(Cow::Borrowed(concat!(
            "SSH-2.0-sandgate_",
            env!("CARGO_PKG_VERSION")
        ))),
        methods: method_set(config.authentication.first().into_iter()),
        keys: identity.private_keys(),
        certificates: identity.certificates(),
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

/// Leaves what the operator does. What is no algorithm but an extension's announcement stays.
fn restrict(preferred: &mut Preferred, left: &Algorithms) {
    let announced = |name: &kex::Name| {
        matches!(
            *name,
            kex::EXTENSION_SUPPORT_AS_SERVER | kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER
        )
    };
    let kex = |name: &kex::Name| announced(name) || left.kex.contains(&name.as_ref());
    preferred.kex.to_mut().retain(kex);
    let cipher = |name: &cipher::Name| left.ciphers.contains(&name.as_ref());
    preferred.cipher.to_mut().retain(cipher);
    let mac = |name: &mac::Name| left.macs.contains(&name.as_ref());
    preferred.mac.to_mut().retain(mac);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> config::Config {
        let text = "host_keys: [k]\nlogins: {a: {authorized_keys: [a], policy: p}}\n";
        config::parse(std::path::Path::new("sandgate.yaml"), text).unwrap()
    }

    #[test]
    fn nothing_weak_is_offered() {
        let config = transport(&config(), &Identity::default());
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
        assert_eq!(config.methods[..], [russh::MethodKind::PublicKey]);
    }

    #[test]
    fn the_operators_lists_name_what_is_offered() {
        use crate::config::algorithms as names;
        let offered = transport(&config(), &Identity::default()).preferred;
        let mut left = offered.clone();
        restrict(&mut left, &Algorithms::default());
        assert_eq!(left.kex, offered.kex);
        assert_eq!(left.cipher, offered.cipher);
        assert_eq!(left.mac, offered.mac);
        assert_eq!(left.kex.len(), names::KEX.len() + 2);
        assert_eq!(left.cipher.len(), names::CIPHERS.len());
        assert_eq!(left.mac.len(), names::MACS.len());
        let signatures: Vec<&str> = offered.key.iter().map(Algorithm::as_str).collect();
        assert_eq!(signatures, names::SIGNATURES);
    }

    #[test]
    fn what_the_operator_leaves_out_is_not_offered() {
        let mut left = transport(&config(), &Identity::default()).preferred;
        let algorithms = Algorithms {
            kex: vec!["curve25519-sha256"],
            ciphers: vec!["aes128-gcm@openssh.com"],
            macs: vec!["hmac-sha2-256-etm@openssh.com"],
        };
        restrict(&mut left, &algorithms);
        assert_eq!(left.kex[0], kex::CURVE25519);
        assert_eq!(left.kex.len(), 3, "the announcements stay");
        assert_eq!(*left.cipher, [cipher::AES_128_GCM]);
        assert_eq!(*left.mac, [mac::HMAC_SHA256_ETM]);
    }
}
