//! Who may log in: a claim held against a login's files, and the proof minted from a verified one.

use std::net::IpAddr;

use russh::keys::{Algorithm, Certificate, PublicKey};
use russh::server::{PublicKeyOffer, VerifiedPublicKey};

use super::authorized_keys::{AuthorizedKeys, fingerprint, strong};
use super::certificate::{CertificateError, Terms};
use super::grants::Grants;
use super::key_options::{Options, Presence, Unfit};
use super::moment;
use super::progress::ProvedKey;
use super::revocation::{Revocations, Revoked};
use crate::config::Signatures;
use crate::model::LoginName;

/// What a login's files say at one moment.
#[derive(Debug, Clone, Default)]
pub struct Roll {
    /// Its keys, and the authorities that its authorized_keys name.
    pub keys: AuthorizedKeys,
    /// Keys whose certificates are taken besides (`trusted_user_ca_keys`).
    pub authorities: AuthorizedKeys,
    /// Who may log in no more.
    pub revocations: Revocations,
    /// With what they may sign.
    pub signatures: Signatures,
}

/// Somebody from there says that they hold this key.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    key: &'a PublicKey,
    certificate: Option<&'a Certificate>,
    algorithm: &'a Algorithm,
    source: IpAddr,
}

/// Why a claim is refused, for the operator alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// No line has the key.
    #[error("the key is not in the login's authorized_keys")]
    Key,
    /// It would sign, or has signed, with something weak.
    #[error("signatures of type {0} are not accepted")]
    Algorithm(String),
    /// It is on a list.
    #[error(transparent)]
    Revoked(#[from] Revoked),
    /// Its line, or its certificate, is for other places.
    #[error("the key may not be used from this address")]
    Source,
    /// Its line has ended.
    #[error("the key's expiry-time is over")]
    Expired,
    /// The certificate is not good enough.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Nobody touched the security key.
    #[error("the security key does not attest a touch")]
    Touch,
    /// The security key does not say that it knew its user.
    #[error("the security key does not attest that it verified its user")]
    Verify,
}

impl From<Unfit> for Objection {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Source => Self::Source,
            Unfit::Expired => Self::Expired,
        }
    }
}

impl<'a> Claim<'a> {
    /// One that is not proved.
    pub fn offered(offer: PublicKeyOffer<'a>, source: IpAddr) -> Self {
        Self {
            key: offer.public_key,
            certificate: offer.certificate,
            algorithm: offer.algorithm,
            source,
        }
    }
}

impl Roll {
    /// Whether a claim for the name `login` would be good if it were proved.
    pub fn consider(&self, login: &str, claim: &Claim<'_>) -> Result<(), Objection> {
        self.judge(login, claim).map(|_| ())
    }

    /// The only way to a proof: russh makes a `VerifiedPublicKey` after checking the signature and
    /// at no other time.
    pub fn admit(
        &self,
        login: &LoginName,
        verified: VerifiedPublicKey<'_>,
        source: IpAddr,
    ) -> Result<ProvedKey, Objection> {
        let claim = Claim {
            key: verified.public_key,
            certificate: verified.certificate,
            algorithm: verified.algorithm,
            source,
        };
        let Admitted {
            grants,
            presence,
            comment,
        } = self.judge(login.as_str(), &claim)?;
        attested(&verified, presence)?;
        Ok(ProvedKey {
            login: login.clone(),
            key: fingerprint(verified.public_key),
            names: verified
                .certificate
                .map(|certificate| certificate.valid_principals().to_vec())
                .unwrap_or_default(),
            comment,
            grants,
        })
    }

    fn judge(&self, login: &str, claim: &Claim<'_>) -> Result<Admitted, Objection> {
        let name = match claim.certificate {
            None => claim.algorithm.to_string(),
            Some(_) => claim.algorithm.to_certificate_type(),
        };
        if !strong(claim.algorithm) || !self.signatures.take(&name) {
            return Err(Objection::Algorithm(name));
        }
        let key = claim.key.key_data();
        if let Some(revoked) = self.revocations.find(key, claim.certificate) {
            return Err(revoked.into());
        }
        match claim.certificate {
            None => self.judge_key(claim),
            Some(certificate) => self.judge_certificate(login, certificate, claim.source),
        }
    }

    fn judge_key(&self, claim: &Claim<'_>) -> Result<Admitted, Objection> {
        let now = moment::now();
        first(
            Objection::Key,
            self.keys.keys(claim.key.key_data()),
            |line| {
                line.admits(claim.source, now)?;
                Ok(Admitted {
                    grants: line.grants.clone(),
                    presence: line.presence,
                    comment: line.comment.clone(),
                })
            },
        )
    }

    fn judge_certificate(
        &self,
        login: &str,
        certificate: &Certificate,
        source: IpAddr,
    ) -> Result<Admitted, Objection> {
        let terms = Terms::read(certificate)?;
        if !terms.sources.as_ref().is_none_or(|list| list.hold(source)) {
            return Err(Objection::Source);
        }
        let now = moment::now();
        let signer = certificate.signature_key();
        let trusting = (self.authorities.authorities(signer)).chain(self.keys.authorities(signer));
        first(CertificateError::Authority.into(), trusting, |line| {
            line.admits(source, now)?;
            let named = match &line.principals {
                Some(names) => names.iter().any(|name| terms.name(name)),
                None => terms.name(login.as_bytes()),
            };
            if !named {
                return Err(CertificateError::Principal.into());
            }
            let (grants, presence) = terms.narrow(&line.grants, line.presence)?;
            Ok(Admitted {
                grants,
                presence,
                comment: None,
            })
        })
    }
}

/// What a line gives whom it admits.
struct Admitted {
    grants: Grants,
    presence: Presence,
    /// The key's own; a certificate's key stands in no line.
    comment: Option<String>,
}

/// What the first line that admits gives, as in sshd; what the last one objects to if none does, and
/// `none` where there is no line.
fn first<'a, T>(
    none: Objection,
    lines: impl Iterator<Item = &'a Options>,
    judge: impl Fn(&Options) -> Result<T, Objection>,
) -> Result<T, Objection> {
    let mut denial = none;
    for line in lines {
        match judge(line) {
            Ok(given) => return Ok(given),
            Err(objection) => denial = objection,
        }
    }
    Err(denial)
}

/// Whether a security key's signature says of its making what is asked for: the byte of flags before its
/// counter (OpenSSH's PROTOCOL.u2f). Of other keys nothing is asked, as in sshd.
fn attested(verified: &VerifiedPublicKey<'_>, wanted: Presence) -> Result<(), Objection> {
    const USER_PRESENT: u8 = 0x01;
    const USER_VERIFIED: u8 = 0x04;
    if !matches!(
        verified.algorithm,
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256
    ) {
        return Ok(());
    }
    let flags = match verified.signature.as_bytes() {
        [.., flags, _, _, _, _] => *flags,
        _ => 0,
    };
    if wanted.touch && flags & USER_PRESENT == 0 {
        return Err(Objection::Touch);
    }
    if wanted.verify && flags & USER_VERIFIED == 0 {
        return Err(Objection::Verify);
    }
    Ok(())
}
