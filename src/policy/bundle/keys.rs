//! The keys that may sign a bundle, as they are now.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

use crate::config::{Algorithm, KeySource, Signing};

/// A key's PEM, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file can't be read.
    #[error("bundle.signing.keys.{name}: cannot read {}: {source}", path.display())]
    Read {
        /// The key.
        name: String,
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("bundle.signing.keys.{name}: {problem}")]
    Unfit {
        /// The key.
        name: String,
        /// What is wrong, and the mend.
        problem: String,
    },
}

/// Whose signature is believed.
#[derive(Debug)]
pub enum Trust {
    /// That of these keys.
    Keys(Keyring),
    /// Nobody's is asked for.
    Anyone,
}

/// Keys, and how a signature has to name one.
#[derive(Debug)]
pub struct Keyring {
    pub(super) keys: BTreeMap<String, Key>,
    pub(super) keyid: Option<String>,
    pub(super) scope: String,
}

/// A key, with the one algorithm that it is good for.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    parsed: ParsedPublicKey,
}

impl Trust {
    /// Reads the keys.
    pub fn read(signing: &Signing) -> Result<Self, KeyError> {
        let Signing::Keys { keys, keyid, scope } = signing else {
            return Ok(Self::Anyone);
        };
        let mut read = BTreeMap::new();
        for (name, written) in keys {
            let pem = match &written.source {
                KeySource::Text(text) => text.clone(),
                KeySource::File(path) => text(path).map_err(|source| KeyError::Read {
                    name: name.clone(),
                    path: path.clone(),
                    source,
                })?,
            };
            let key = Key::parse(written.algorithm, &pem).map_err(|problem| KeyError::Unfit {
                name: name.clone(),
                problem,
            })?;
            read.insert(name.clone(), key);
        }
        Ok(Self::Keys(Keyring {
            keys: read,
            keyid: keyid.clone(),
            scope: scope.clone(),
        }))
    }

    /// With no key at all.
    pub(super) fn nobody() -> Self {
        Self::Keys(Keyring {
            keys: BTreeMap::new(),
            keyid: None,
            scope: String::new(),
        })
    }
}

impl Key {
    fn parse(algorithm: Algorithm, pem: &str) -> Result<Self, String> {
        if pem.contains("PRIVATE KEY") {
            return Err("is a private key, which only the signer should have; give its public one (openssl pkey -pubout)".to_owned());
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|error| {
            format!(
                "holds no public key in PEM ({error}); it begins with -----BEGIN PUBLIC KEY-----"
            )
        })?;
        let parsed = ParsedPublicKey::new(verifier(algorithm), der.as_ref())
            .map_err(|_| format!("is no key for {}", algorithm.name()))?;
        Ok(Self { algorithm, parsed })
    }

    /// Whether the key has signed the message.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

/// RFC 7518 §3.3 to §3.5: RSA from 2048 bits on; signatures of ECDSA are two numbers of the curve's length.
fn verifier(algorithm: Algorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::ES512 => &signature::ECDSA_P521_SHA512_FIXED,
        Algorithm::EdDSA => &signature::ED25519,
    }
}

fn text(path: &std::path::Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(LONGEST)
        .read_to_string(&mut text)?;
    Ok(text)
}
