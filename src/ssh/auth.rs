//! Who may come in: the decisions on keys and codes, and their audit events.
//!
//! Unknown logins take the path of known ones: their keys are asked for, parsed and compared, and
//! russh answers every refusal after the same time. A refusal tells the client nothing; its event
//! tells the operator why.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use russh::keys::{Certificate, PublicKey};
use russh::server::{InvalidPublicKey, PublicKeyOffer, VerifiedPublicKey};
use russh::{MethodKind, MethodSet};

use super::Host;
use super::penalties::Conduct;
use super::shares::{Share, Shares};
use super::visit::Wait;
use crate::audit::{self, Event, Login, Verdict};
use crate::config::{self, Method, Signatures};
use crate::model::{Fingerprint, LoginName};
use crate::policy::{
    self, AuthorizedKeys, CodeError, Objection, Obstacle, Principal, Progress, RevocationError,
    Revocations, Roll, SecretError, Step, fingerprint,
};
use crate::sandbox::{KeyFiles, OfferedKey, Refusal};

mod codes;

/// The most characters of a login's name, or a certificate's key id, that an event repeats.
const NAME_CHARS: usize = 64;

/// How many offers are looked at on one connection. Those that are agreed to are no attempts and take no
/// time, so that nothing else bounds them; each has files read and may have a program run.
const OFFERS: u32 = 64;

/// Judges the keys and codes of one connection that has not logged in.
pub(super) struct Doorkeeper {
    host: Arc<Host>,
    source: SocketAddr,
    conduct: Arc<Conduct>,
    shares: Arc<Shares>,
    /// Whom the client wants to be, and how far they have come.
    login: String,
    progress: Progress,
    /// What was offered, found good and not proved so far.
    unproved: Option<Claim>,
    offers: u32,
}

/// Somebody says that they are this login and hold this key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    login: String,
    method: Method,
    key: Option<Fingerprint>,
    certificate: Option<audit::Certificate>,
}

impl Claim {
    fn new(login: &str, key: Option<&PublicKey>, certificate: Option<&Certificate>) -> Self {
        Self {
            login: short(login),
            method: Method::PublicKey,
            key: key.map(fingerprint),
            certificate: certificate.map(|certificate| audit::Certificate {
                id: short(certificate.key_id()),
                serial: certificate.serial(),
                authority: fingerprint(&certificate.signature_key().clone().into()),
            }),
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(NAME_CHARS).collect()
}

/// Why a claim was refused, for the operator alone.
#[derive(Debug, thiserror::Error)]
enum Ground {
    #[error("unknown login")]
    Login,
    #[error("nobody talks with whoever wants to be this")]
    Unwelcome,
    #[error(transparent)]
    Objection(#[from] Objection),
    #[error("{0}")]
    Invalid(&'static str),
    #[error("the key is known, but was not proved")]
    Unproved,
    #[error("more than {OFFERS} keys were offered")]
    Offers,
    #[error(transparent)]
    Obstacle(#[from] Obstacle),
    #[error(transparent)]
    Code(#[from] CodeError),
    #[error("the login's secrets: {0}")]
    Secrets(#[from] SecretError),
    #[error("{0} connections have logged in with this key (limits.per_key)")]
    Share(usize),
    #[error("no more was proved than {0}")]
    Unfinished(String),
    #[error("the login's keys could not be read: {0}")]
    Keys(#[from] Refusal),
    #[error("{0}")]
    Revocations(#[from] RevocationError),
}

impl Doorkeeper {
    pub(super) fn new(host: Arc<Host>, source: SocketAddr, wait: &Wait) -> Self {
        Self {
            login: String::new(),
            progress: Progress::new(&host.config.authentication),
            host,
            source,
            conduct: wait.conduct.clone(),
            shares: wait.place.shares(),
            unproved: None,
            offers: 0,
        }
    }

    /// Begins anew for this name; what was proved under another counts no more. For some names
    /// that is the end of the connection.
    pub(super) fn begin(&mut self, login: &str) -> Begun {
        let login = plain(login);
        self.settle(None);
        self.give_up();
        let configured = self.known(login).map(|(_, login)| &login.authentication);
        let chains = configured.unwrap_or(&self.host.config.authentication);
        self.progress = Progress::new(chains);
        self.login = short(login);
        if self.host.config.manners.refuse.logins.contains(login) {
            self.refuse(&Claim::new(login, None, None), &Ground::Unwelcome);
            self.conduct.unwelcome();
            return Begun::Unwelcome;
        }
        Begun::Open
    }

    /// Whether to ask for this key's proof. Refusing here is a decision; agreeing is none yet.
    pub(super) async fn consider(&mut self, login: &str, offer: PublicKeyOffer<'_>) -> Answer {
        let login = plain(login);
        let claim = Claim::new(login, Some(offer.public_key), offer.certificate);
        self.settle(Some(&claim));
        self.offers = self.offers.saturating_add(1);
        if self.offers > OFFERS {
            self.refuse(&claim, &Ground::Offers);
            return Answer::Refused;
        }
        let held = policy::Claim::offered(offer, self.source.ip());
        let next = self.progress.takes(&fingerprint(offer.public_key));
        let offered = offered(offer.public_key, offer.certificate);
        let ground = match self.roll(login, offered).await {
            Err(ground) => ground,
            Ok((name, roll)) => match (roll.consider(login, &held), name, next) {
                (_, None, _) => Ground::Login,
                (Err(objection), _, _) => objection.into(),
                (_, _, Err(obstacle)) => obstacle.into(),
                (Ok(()), Some(_), Ok(())) => {
                    self.unproved = Some(claim);
                    return Answer::Prove;
                }
            },
        };
        self.refuse(&claim, &ground);
        Answer::Refused
    }

    /// Takes a proved key of the login, or the key of a certificate that it takes, for a step on the way in.
    /// The files are read afresh: a key that was taken out since its offer opens nothing.
    pub(super) async fn admit(&mut self, login: &str, verified: VerifiedPublicKey<'_>) -> Outcome {
        let login = plain(login);
        self.unproved = None;
        let claim = Claim::new(login, Some(verified.public_key), verified.certificate);
        let offered = offered(verified.public_key, verified.certificate);
        let ground = match self.roll(login, offered).await {
            Err(ground) => ground,
            Ok((None, _)) => Ground::Login,
            Ok((Some(name), roll)) => match roll.admit(&name, verified, self.source.ip()) {
                Ok(proved) => {
                    let step = self.progress.key(proved);
                    return self.advance(&claim, step);
                }
                Err(objection) => objection.into(),
            },
        };
        self.refuse(&claim, &ground);
        Outcome::Refused
    }

    /// Writes down what russh refused without asking.
    pub(super) fn note(
        &mut self,
        login: &str,
        certificate: Option<&Certificate>,
        problem: InvalidPublicKey,
    ) {
        let login = plain(login);
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
    async fn roll(
        &self,
        login: &str,
        offered: Result<OfferedKey, Ground>,
    ) -> Result<(Option<LoginName>, Roll), Ground> {
        let (name, configured) = self.known(login).unzip();
        let monitor = &self.host.monitor;
        let mut text = monitor.authorized_keys(name.as_ref()).await?;
        if self.has_program(configured) {
            text.push(b'\n');
            text.extend(monitor.keys_command(name.as_ref(), offered?).await?);
        }
        let keys = AuthorizedKeys::parse(&text);
        let files = monitor
            .key_files(name.as_ref(), KeyFiles::Authorities)
            .await?;
        let principals = configured.map_or(&[][..], |login| &login.authorized_principals);
        let mut authorities = AuthorizedKeys::parse_authorities(&files.join(&b'\n'), principals);
        if let Some(name) = &name {
            warn(name, "authorized_keys", &keys);
            warn(name, "trusted_user_ca_keys", &authorities);
        }
        if self.has_principals_file(configured) {
            let files = monitor
                .key_files(name.as_ref(), KeyFiles::Principals)
                .await?;
            authorities = authorities.named_in(&files.join(&b'\n'));
            if let Some(name) = &name {
                warn(name, "authorized_principals_file", &authorities);
            }
        }
        let files = monitor.key_files(name.as_ref(), KeyFiles::Revoked).await?;
        let roll = Roll {
            keys,
            authorities,
            revocations: Revocations::parse(&files)?,
            signatures: configured
                .map_or_else(Signatures::default, |login| login.signatures.clone()),
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

    /// Whether a program knows keys of this login, or of any other where it is unknown.
    fn has_program(&self, configured: Option<&config::Login>) -> bool {
        let has = |login: &config::Login| login.authorized_keys_command.is_some();
        configured.map_or_else(|| self.host.config.logins.values().any(has), has)
    }

    /// The same of a file of principals.
    fn has_principals_file(&self, configured: Option<&config::Login>) -> bool {
        let has = |login: &config::Login| login.authorized_principals_file.is_some();
        configured.map_or_else(|| self.host.config.logins.values().any(has), has)
    }

    /// The login of this name, if it is one.
    fn known(&self, login: &str) -> Option<(LoginName, &config::Login)> {
        let name = LoginName::try_from(login.to_owned()).ok()?;
        let configured = self.host.config.logins.get(&name)?;
        Some((name, configured))
    }

    /// Goes a step further on the way in. Without its event in the trail there is no way in.
    fn advance(&mut self, claim: &Claim, step: Result<Step, Obstacle>) -> Outcome {
        match step {
            Ok(Step::Further) => Outcome::Further(self.next()),
            Ok(Step::Admitted(principal)) => {
                let methods = listed(self.progress.done());
                self.progress = Progress::new(&self.host.config.authentication);
                let most = self.host.config.limits.per_key;
                let Some(share) = self.shares.take(principal.key(), most) else {
                    // It is the right key: nothing was tried, and nothing is to be paid.
                    self.tell(claim, &Ground::Share(most));
                    return Outcome::Refused;
                };
                match self.record(claim, methods, Verdict::Allow, None) {
                    Ok(()) => Outcome::Admitted(Box::new(principal), share),
                    Err(error) => {
                        tracing::error!(source = %self.source, login = ?claim.login, %error, "login refused: its audit event could not be written");
                        Outcome::Refused
                    }
                }
            }
            Err(obstacle) => {
                self.refuse(claim, &obstacle.into());
                Outcome::Refused
            }
        }
    }

    /// What the client may go on with.
    fn next(&self) -> MethodSet {
        let asked = |method: &Method| self.progress.asks_for(*method);
        method_set(Method::ALL.into_iter().filter(asked))
    }

    /// Decides on who has begun to prove themselves and does not go on.
    fn give_up(&mut self) {
        if !self.progress.done().is_empty() {
            let ground = Ground::Unfinished(listed(self.progress.done()));
            let claim = self.claim(Method::PublicKey);
            self.refuse(&claim, &ground);
        }
    }

    /// Somebody who has come as far as this tries a method that shows no key.
    fn claim(&self, method: Method) -> Claim {
        Claim {
            login: self.login.clone(),
            method,
            key: self.progress.last_key().cloned(),
            certificate: None,
        }
    }

    fn refuse(&self, claim: &Claim, ground: &Ground) {
        self.conduct.failed();
        self.tell(claim, ground);
    }

    fn tell(&self, claim: &Claim, ground: &Ground) {
        let method = claim.method.to_string();
        if let Err(error) = self.record(claim, method, Verdict::Deny, Some(ground.to_string())) {
            tracing::error!(source = %self.source, login = ?claim.login, %ground, %error, "a refused login's audit event could not be written");
        }
    }

    fn record(
        &self,
        claim: &Claim,
        method: String,
        verdict: Verdict,
        reason: Option<String>,
    ) -> io::Result<()> {
        self.host.trail.record(&Event::Login(Login {
            login: claim.login.clone(),
            source: self.source,
            method,
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
        self.give_up();
    }
}

/// The name without what OpenSSH calls a style, which chooses among ways to ask for passwords (auth2.c).
fn plain(login: &str) -> &str {
    login.split_once(':').map_or(login, |(name, _)| name)
}

/// The key as the login's program for keys is told of it.
fn offered(key: &PublicKey, certificate: Option<&Certificate>) -> Result<OfferedKey, Ground> {
    let line = certificate.map_or_else(|| key.to_openssh(), Certificate::to_openssh);
    let line = line.map_err(|_| Ground::Invalid("the key or certificate cannot be written"))?;
    let mut words = line.split(' ').map(str::to_owned);
    let offered = OfferedKey {
        kind: words.next().unwrap_or_default(),
        key: words.next().unwrap_or_default(),
        fingerprint: fingerprint(key).0,
    };
    let fits = offered.check();
    fits.map_err(|_| Ground::Invalid("the key or certificate is too long"))?;
    Ok(offered)
}

/// Methods as the trail has them.
fn listed(methods: &[Method]) -> String {
    let names: Vec<String> = methods.iter().map(Method::to_string).collect();
    names.join(",")
}

/// Methods as clients are told of them.
pub(super) fn method_set(methods: impl Iterator<Item = Method>) -> MethodSet {
    let kinds: Vec<MethodKind> = methods
        .map(|method| match method {
            Method::PublicKey => MethodKind::PublicKey,
            Method::KeyboardInteractive => MethodKind::KeyboardInteractive,
        })
        .collect();
    MethodSet::from(&kinds[..])
}

fn warn(login: &LoginName, files: &str, keys: &AuthorizedKeys) {
    for warning in keys.warnings() {
        tracing::warn!(%login, files, line = warning.line, problem = %warning.problem, "line skipped");
    }
}

/// Whether somebody may try to log in under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// They may.
    Open,
    /// Nobody talks with them.
    Unwelcome,
}

/// What an offered key gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Show that you hold it.
    Prove,
    /// No.
    Refused,
}

/// What became of a method.
pub(super) enum Outcome {
    /// It was the last that is asked for.
    Admitted(Box<Principal>, Share),
    /// It succeeded, and one of these has to as well.
    Further(MethodSet),
    /// It failed.
    Refused,
}
