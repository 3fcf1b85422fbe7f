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
use russh::server::{PublicKeyOffer, VerifiedPublicKey};

use super::Host;
use crate::audit::{Event, Login, Verdict};
use crate::model::{Fingerprint, LoginName};
use crate::policy::{AuthorizedKeys, Principal, fingerprint, strong};
use crate::sandbox::Refusal;

/// The most characters of a login's name that an event repeats; a real one has 32 at most.
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
    key: Fingerprint,
}

impl Claim {
    fn new(login: &str, key: &PublicKey) -> Self {
        Self {
            login: login.chars().take(NAME_CHARS).collect(),
            key: fingerprint(key),
        }
    }
}

/// Why a claim was refused, for the operator alone.
#[derive(Debug, thiserror::Error)]
enum Ground {
    #[error("unknown login")]
    Login,
    #[error("the key is not in the login's authorized_keys")]
    Key,
    #[error("signatures of type {0} are not accepted")]
    Algorithm(String),
    #[error("certificates are not accepted")]
    Certificate,
    #[error("the key is known, but was not proved")]
    Unproved,
    #[error("the login's keys could not be read: {0}")]
    Keys(#[from] Refusal),
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
        let claim = Claim::new(login, offer.public_key);
        self.settle(Some(&claim));
        let ground = match self.keys(login).await {
            Err(refusal) => Ground::Keys(refusal),
            Ok((name, keys)) => match (keys.contains(offer.public_key), name) {
                (_, None) => Ground::Login,
                (false, Some(_)) => Ground::Key,
                (true, Some(_)) if !strong(offer.algorithm) => {
                    Ground::Algorithm(offer.algorithm.to_string())
                }
                (true, Some(_)) => {
                    self.unproved = Some(claim);
                    return Answer::Prove;
                }
            },
        };
        self.refuse(&claim, &ground);
        Answer::Refused
    }

    /// Lets in who proved a key of the login. The keys are read afresh: one that was taken out since
    /// its offer opens nothing. Without its event in the trail there is no way in.
    pub(super) async fn admit(
        &mut self,
        login: &str,
        verified: VerifiedPublicKey<'_>,
    ) -> Option<Principal> {
        self.unproved = None;
        let claim = Claim::new(login, verified.public_key);
        let ground = match self.keys(login).await {
            Err(refusal) => Ground::Keys(refusal),
            Ok((name, keys)) => match name.and_then(|name| keys.admit(&name, &verified)) {
                Some(principal) => return self.welcome(&claim, principal),
                None => Ground::Key,
            },
        };
        self.refuse(&claim, &ground);
        None
    }

    /// Turns away who proved a certificate: russh has shown `consider` only the bare key in it.
    pub(super) fn turn_away(&mut self, login: &str, certificate: &Certificate) {
        self.unproved = None;
        let key = PublicKey::new(certificate.public_key().clone(), "");
        self.refuse(&Claim::new(login, &key), &Ground::Certificate);
    }

    /// The login, if it is one, and the keys to compare with: for an unknown login some other's, for the
    /// time that it takes.
    async fn keys(&self, login: &str) -> Result<(Option<LoginName>, AuthorizedKeys), Refusal> {
        let name = LoginName::try_from(login.to_owned()).ok();
        let name = name.filter(|name| self.host.config.logins.contains_key(name));
        let text = self.host.monitor.authorized_keys(name.as_ref()).await?;
        let keys = AuthorizedKeys::parse(&text);
        if let Some(name) = &name {
            for warning in keys.warnings() {
                tracing::warn!(login = %name, line = warning.line, problem = %warning.problem, "authorized_keys line skipped");
            }
        }
        Ok((name, keys))
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
            key: Some(claim.key.clone()),
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

/// What an offered key gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Show that you hold it.
    Prove,
    /// No.
    Refused,
}
