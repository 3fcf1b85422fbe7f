//! What the host proves itself with: its keys, and their certificates.

use std::time::{SystemTime, UNIX_EPOCH};

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey};

/// The smallest RSA modulus that a host may prove itself with, in bits (NIST SP 800-57 part 1 rev. 5,
/// table 2: 128 bits of security). A host's key lives longer than a user's.
const RSA_BITS: usize = 3072;

/// A private key that this server proves itself with.
#[derive(Debug, Clone)]
pub struct HostKey(PrivateKey);

/// All that this host proves itself with.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Its keys; each is offered.
    pub keys: Vec<HostKey>,
    /// The authorities' word for these keys.
    pub certificates: Vec<HostCertificate>,
}

/// Why a key cannot be the host's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostKeyError {
    /// It is of another type.
    #[error("the host key is of type {0}; ed25519, ecdsa or rsa is needed: ssh-keygen -t ed25519")]
    Type(String),
    /// An RSA key with a small modulus.
    #[error(
        "the host key has {0} bits; RSA needs at least {RSA_BITS}: ssh-keygen -t rsa -b {RSA_BITS}"
    )]
    Weak(usize),
    /// It lies under a passphrase.
    #[error("the host key has a passphrase; take it off with ssh-keygen -p")]
    Encrypted,
}

impl Identity {
    pub(super) fn private_keys(&self) -> Vec<PrivateKey> {
        self.keys.iter().map(|key| key.0.clone()).collect()
    }

    pub(super) fn certificates(&self) -> Vec<Certificate> {
        let all = self.certificates.iter();
        all.map(|certificate| certificate.0.clone()).collect()
    }
}

/// With what a key of this type signs: RSA with either hash, as the client chooses (RFC 8332 §3).
fn algorithms(algorithm: Algorithm) -> Vec<Algorithm> {
    match algorithm {
        Algorithm::Rsa { .. } => [HashAlg::Sha512, HashAlg::Sha256]
            .map(|hash| Algorithm::Rsa { hash: Some(hash) })
            .to_vec(),
        other => vec![other],
    }
}

impl HostKey {
    /// The names of the algorithms that it is offered under.
    pub fn algorithms(&self) -> Vec<String> {
        let all = algorithms(self.0.algorithm());
        all.iter().map(ToString::to_string).collect()
    }
}

impl TryFrom<PrivateKey> for HostKey {
    type Error = HostKeyError;

    fn try_from(key: PrivateKey) -> Result<Self, HostKeyError> {
        if key.is_encrypted() {
            return Err(HostKeyError::Encrypted);
        }
        match key.public_key().key_data() {
            KeyData::Ed25519(_) | KeyData::Ecdsa(_) => Ok(Self(key)),
            KeyData::Rsa(rsa) => {
                let modulus = rsa.n().as_positive_bytes().unwrap_or_default();
                let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
                match modulus.len() * 8 - unused as usize {
                    bits if bits < RSA_BITS => Err(HostKeyError::Weak(bits)),
                    _ => Ok(Self(key)),
                }
            }
            other => Err(HostKeyError::Type(other.algorithm().to_string())),
        }
    }
}

/// Whether the key signs in time that depends on it: russh's RSA does (RUSTSEC-2023-0071).
pub fn signs_in_variable_time(key: &HostKey) -> bool {
    matches!(key.0.algorithm(), Algorithm::Rsa { .. })
}

/// An authority's word that one of the keys is this host's (OpenSSH's PROTOCOL.certkeys).
#[derive(Debug, Clone)]
pub struct HostCertificate(Certificate);

/// Why a certificate cannot be the host's. Clients would refuse it, or a stranger's key would be vouched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostCertificateError {
    /// It certifies a user.
    #[error("is a user's certificate; a host's is signed with ssh-keygen -s CA -h")]
    User,
    /// None of the host keys is in it.
    #[error("certifies none of `host_keys`; name that key there, or sign one of them anew")]
    Key,
    /// Its authority did not sign it.
    #[error("its signature is wrong; have it signed anew")]
    Signature,
    /// Its time is over.
    #[error("has expired; have it signed anew")]
    Expired,
    /// Its time has not come.
    #[error("is not valid yet; look at the clocks of this host and of its authority")]
    Early,
    /// It makes conditions, of which none are defined for hosts: clients refuse it.
    #[error("holds critical options, which clients refuse; have it signed without")]
    Options,
}

impl HostCertificate {
    /// The names of the algorithms that it is offered under.
    pub fn algorithms(&self) -> Vec<String> {
        let all = algorithms(self.0.algorithm());
        all.iter().map(Algorithm::to_certificate_type).collect()
    }

    /// Holds a certificate against the host's keys and the time.
    pub fn check(
        certificate: Certificate,
        keys: &[HostKey],
        now: SystemTime,
    ) -> Result<Self, HostCertificateError> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let own = |key: &HostKey| key.0.public_key().key_data() == certificate.public_key();
        if certificate.cert_type() != CertType::Host {
            Err(HostCertificateError::User)
        } else if !keys.iter().any(own) {
            Err(HostCertificateError::Key)
        } else if certificate.verify_signature().is_err() {
            Err(HostCertificateError::Signature)
        } else if now >= certificate.valid_before() {
            Err(HostCertificateError::Expired)
        } else if now < certificate.valid_after() {
            Err(HostCertificateError::Early)
        } else if !certificate.critical_options().is_empty() {
            Err(HostCertificateError::Options)
        } else {
            Ok(Self(certificate))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use russh::keys::EcdsaCurve;
    use russh::keys::ssh_key::certificate::Builder;

    use super::*;

    fn key(algorithm: Algorithm) -> PrivateKey {
        PrivateKey::random(&mut russh::keys::key::safe_rng(), algorithm).unwrap()
    }

    #[test]
    fn modern_types_are_host_keys() {
        for curve in [
            EcdsaCurve::NistP256,
            EcdsaCurve::NistP384,
            EcdsaCurve::NistP521,
        ] {
            assert!(HostKey::try_from(key(Algorithm::Ecdsa { curve })).is_ok());
        }
        assert!(HostKey::try_from(key(Algorithm::Ed25519)).is_ok());
    }

    /// A certificate of `host` from 1000 to 2000 seconds after 1970, changed by `change`.
    fn certificate(
        host: &PrivateKey,
        kind: CertType,
        change: impl FnOnce(&mut Builder),
    ) -> Certificate {
        let nonce = vec![7; 16];
        let data = host.public_key().key_data().clone();
        let mut builder = Builder::new(nonce, data, 1000, 2000).unwrap();
        builder.cert_type(kind).unwrap();
        builder.valid_principal("host.example").unwrap();
        change(&mut builder);
        builder.sign(&key(Algorithm::Ed25519)).unwrap()
    }

    #[test]
    fn only_a_valid_certificate_of_an_own_key_is_presented() {
        let host = key(Algorithm::Ed25519);
        let keys = [HostKey::try_from(host.clone()).unwrap()];
        let at = |certificate, seconds| {
            let now = UNIX_EPOCH + Duration::from_secs(seconds);
            HostCertificate::check(certificate, &keys, now).map(|_| ())
        };
        let good = || certificate(&host, CertType::Host, |_| {});
        assert_eq!(at(good(), 1000), Ok(()));
        assert_eq!(at(good(), 1999), Ok(()));
        assert_eq!(at(good(), 999), Err(HostCertificateError::Early));
        assert_eq!(at(good(), 2000), Err(HostCertificateError::Expired));
        let strange = certificate(&key(Algorithm::Ed25519), CertType::Host, |_| {});
        assert_eq!(at(strange, 1500), Err(HostCertificateError::Key));
        let user = certificate(&host, CertType::User, |_| {});
        assert_eq!(at(user, 1500), Err(HostCertificateError::User));
        let bound = certificate(&host, CertType::Host, |builder| {
            builder.critical_option("x", "y").unwrap();
        });
        assert_eq!(at(bound, 1500), Err(HostCertificateError::Options));
    }
}
