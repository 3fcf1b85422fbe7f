//! Who may come in: the decisions on public keys, and their audit events.
//!
//! Unknown logins take the path of known ones: their keys are asked for, parsed and compared, and
//! russh answers every refusal after the same time. A refusal tells the client nothing; its event
//! tells the operator why.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use russh::keys::{Certificate, PublicKey};
use russh::server::{InvalidPublicKey, PublicKeyOffer, VerifiedPublicKey};

use super::Host;
use crate::audit::{self, Event, Login, Verdict};
use crate::model::{Fingerprint, LoginName};
use crate::policy::{
    self, AuthorizedKeys, Objection, Principal, RevocationError, Revocations, Roll, fingerprint,
};
use crate::sandbox::{KeyFiles, Refusal};

/// The most characters of a login's name, or a certificate's key id, that an event repeats.
const NAME_CHARS: usize = 64;

/// Judges the keys of one connection that has not logged in.
pub(super) struct Doorkeeper {
    host: Arc<Host>,
    source: SocketAddr,
    /// Whether an attempt was refused.
    failed: Arc<AtomicBool>,
    /// What was offered, found good and not proved so far.
    unproved: Option<Claim>,
}

/// Somebody says that they are this login and hold this key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    login: String,
    key: Option<Fingerprint>,
    certificate: Option<audit::Certificate>,
}

impl Claim {
    fn new(login: &str, key: Option<&PublicKey>, certificate: Option<&Certificate>) -> Self {
        let short = |text: &str| text.chars().take(NAME_CHARS).collect();
        Self {
            login: short(login),
            key: key.map(fingerprint),
            certificate: certificate.map(|certificate| audit::Certificate {
                id: short(certificate.key_id()),
                serial: certificate.serial(),
                authority: fingerprint(&certificate.signature_key().clone().into()),
            }),
        }
    }
}

/// Why a claim was refused, for the operator alone.
#[derive(Debug, thiserror::Error)]
enum Ground {
    #[error("unknown login")]
    Login,
    #[error(transparent)]
    Objection(#[from] Objection),
    #[error("{0}")]
    Invalid(&'static str),
    #[error("the key is known, but was not proved")]
    Unproved,
    #[error("the login's keys could not be read: {0}")]
    Keys(#[from] Refusal),
    #[error("{0}")]
    Revocations(#[from] RevocationError),
}

impl Doorkeeper {
    pub(super) fn new(host: Arc<Host>, source: SocketAddr, failed: Arc<AtomicBool>) -> Self {
        Self {
            host,
            source,
            failed,
            unproved: None,
        }
    }

    /// Whether to ask for this key's proof. Refusing here is a decision; agreeing is none yet.
    pub(super) async fn consider(&mut self, login: &str, offer: PublicKeyOffer<'_>) -> Answer {
        let claim = Claim::new(login, Some(offer.public_key), offer.certificate);
        self.settle(Some(&claim));
        let held = policy::Claim::offered(offer, self.source.ip());
        let ground = match self.roll(login).await {
            Err(ground) => ground,
            Ok((name, roll)) => match (roll.consider(login, &held), name) {
                (_, None) => Ground::Login,
                (Err(objection), Some(_)) => objection.into(),
                (Ok(()), Some(_)) => {
                    self.unproved = Some(claim);
                    return Answer::Prove;
                }
            },
        };
        self.refuse(&claim, &ground);
        Answer::Refused
    }

    /// Lets in who proved a key of the login, or the key of a certificate that it takes. The files are
    /// read afresh: a key that was taken out since its offer opens nothing. Without its event in the trail
    /// there is no way in.
    pub(super) async fn admit(
        &mut self,
        login: &str,
        verified: VerifiedPublicKey<'_>,
    ) -> Option<Principal> {
        self.unproved = None;
        let claim = Claim::new(login, Some(verified.public_key), verified.certificate);
        let ground = match self.roll(login).await {
            Err(ground) => ground,
            Ok((None, _)) => Ground::Login,
            Ok((Some(name), roll)) => match roll.admit(&name, verified, self.source.ip()) {
                Ok(principal) => return self.welcome(&claim, principal),
                Err(objection) => objection.into(),
            },
        };
        self.refuse(&claim, &ground);
        None
    }

    /// Writes down what russh refused without asking.
    pub(super) fn note(
        &mut self,
        login: &str,
        certificate: Option<&Certificate>,
        problem: InvalidPublicKey,
    ) {
        let key = certificate.map(|certificate| certificate.public_key().clone().into());
        let claim = Claim::new(login, key.as_ref(), certificate);
        self.settle(Some(&claim));
        self.unproved = None;
        let ground = match problem {
            InvalidPublicKey::NotYetValid => "the certificate is not valid yet",
            InvalidPublicKey::Expired => "the certificate has expired",
            InvalidPublicKey::BadSignature => "the certificate's own signature is wrong",
            _ => "the key or certificate cannot be read",
        };
        self.refuse(&claim, &Ground::Invalid(ground));
    }

    /// The login, if it is one, and the files to hold a claim against: for an unknown login some other's,
    /// for the time that it takes.
    async fn roll(&self, login: &str) -> Result<(Option<LoginName>, Roll), Ground> {
        let name = LoginName::try_from(login.to_owned()).ok();
        let configured = name
            .as_ref()
            .and_then(|name| self.host.config.logins.get(name));
        let name = name.filter(|_| configured.is_some());
        let monitor = &self.host.monitor;
        let keys = AuthorizedKeys::parse(&monitor.authorized_keys(name.as_ref()).await?);
        let files = monitor
            .key_files(name.as_ref(), KeyFiles::Authorities)
            .await?;
        let principals = configured.map_or(&[][..], |login| &login.authorized_principals);
        let authorities = AuthorizedKeys::parse_authorities(&files.join(&b'\n'), principals);
        let files = monitor.key_files(name.as_ref(), KeyFiles::Revoked).await?;
        if let Some(name) = &name {
            warn(name, "authorized_keys", &keys);
            warn(name, "trusted_user_ca_keys", &authorities);
        }
        let roll = Roll {
            keys,
            authorities,
            revocations: Revocations::parse(&files)?,
        };
        Ok((name, roll))
    }

    /// Decides on an offer that was agreed to, unless `next` is about the same: a wrong signature never
    /// reaches a callback, so what follows it tells.
    fn settle(&mut self, next: Option<&Claim>) {
        if let Some(claim) = self.unproved.take()
            && Some(&claim) != next
        {
            self.refuse(&claim, &Ground::Unproved);
        }
    }

    fn welcome(&self, claim: &Claim, principal: Principal) -> Option<Principal> {
        match self.record(claim, Verdict::Allow, None) {
            Ok(()) => Some(principal),
            Err(error) => {
                tracing::error!(source = %self.source, login = %claim.login, %error, "login refused: its audit event could not be written");
                None
            }
        }
    }

    fn refuse(&self, claim: &Claim, ground: &Ground) {
        self.failed.store(true, Ordering::Relaxed);
        if let Err(error) = self.record(claim, Verdict::Deny, Some(ground.to_string())) {
            tracing::error!(source = %self.source, login = %claim.login, %ground, %error, "a refused login's audit event could not be written");
        }
    }

    fn record(&self, claim: &Claim, verdict: Verdict, reason: Option<String>) -> io::Result<()> {
        self.host.trail.record(&Event::Login(Login {
            login: claim.login.clone(),
            source: self.source,
            method: "publickey".to_owned(),
            key: claim.key.clone(),
            certificate: claim.certificate.clone(),
            verdict,
            reason,
        }))
    }
}

impl Drop for Doorkeeper {
    fn drop(&mut self) {
        self.settle(None);
    }
}

fn warn(login: &LoginName, files: &str, keys: &AuthorizedKeys) {
    for warning in keys.warnings() {
        tracing::warn!(%login, files, line = warning.line, problem = %warning.problem, "line skipped");
    }
}

/// What an offered key gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Show that you hold it.
    Prove,
    /// No.
    Refused,
}
