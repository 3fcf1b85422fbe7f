//! Which secrets one request may have: those of its sandbox's providers, where these may go.

use std::collections::BTreeSet;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::store::{Bindings, Secrets};
use crate::config::{Injection, Piece, Provider};
use crate::model::{Destination, Kind, ProviderName, Secret};

/// The most bytes that secrets add to one request, however often it names them.
const SPENT_BYTES: usize = 1 << 20;

/// A header's name and value.
type Header = (String, Zeroizing<Vec<u8>>);

/// Why a request is not sent: its secrets can't be put in. Names keys and providers, never a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::egress) enum Fault {
    /// There is no such secret for this sandbox, not now, or not in this form.
    #[error("{0}")]
    Unavailable(String),
    /// There is, and it may not go there.
    #[error("{0}")]
    Mismatch(String),
    /// What would have to be read for placeholders is more than is read.
    #[error("{0}")]
    TooLong(String),
}

impl Fault {
    pub(super) fn unfit(key: &str, why: &str) -> Self {
        Self::Unavailable(format!("the secret of {key} can't stand there: it {why}"))
    }
}

/// A request's right to secrets, as far as it can be kept: whose it is and where it goes.
#[derive(Clone)]
pub(in crate::egress) struct Claim {
    pub(in crate::egress) secrets: Arc<Secrets>,
    pub(in crate::egress) kind: Kind,
    pub(in crate::egress) destination: Destination,
    /// In canonical form.
    pub(in crate::egress) path: String,
    /// The provider that the endpoint is bound to.
    pub(in crate::egress) provider: Option<String>,
}

impl Claim {
    /// With the secrets and bindings of this moment. An endpoint that is bound to a provider has to be one
    /// that the provider is bound to.
    pub(in crate::egress) fn open(&self) -> Result<Purse, Fault> {
        let purse = Purse {
            bindings: self.secrets.bindings(),
            claim: self.clone(),
            used: BTreeSet::new(),
            spent: 0,
        };
        if let Some(bound) = &self.provider {
            let mut own = purse.bindings.of(&self.kind);
            let found = own.find(|(name, _)| name.as_str() == bound);
            let (name, provider) = found.ok_or_else(|| {
                Fault::Unavailable(format!(
                    "policy binds the endpoint to provider {bound}, which these sandboxes don't have"
                ))
            })?;
            purse.reaches(name, provider)?;
        }
        Ok(purse)
    }
}

/// The secrets that one request may have.
pub(in crate::egress) struct Purse {
    claim: Claim,
    bindings: Arc<Bindings>,
    used: BTreeSet<String>,
    /// Bytes of secrets that were given out.
    spent: usize,
}

impl Purse {
    /// The secret of this key, if it may go where the request goes.
    pub(super) fn secret(&mut self, key: &str) -> Result<Arc<Secret>, Fault> {
        let current = |name| self.claim.secrets.current(name, key);
        let own = self.bindings.of(&self.claim.kind);
        let mut found = own.filter_map(|(name, of)| Some((name, of, current(name)?)));
        let shown = key.get(..64).unwrap_or(key);
        let Some((name, provider, secret)) = found.next() else {
            let problem = format!("there is no secret {shown} for this sandbox, or none now");
            return Err(Fault::Unavailable(problem));
        };
        if let Some((other, ..)) = found.next() {
            let problem = format!("both {name} and {other} have a secret {shown}");
            return Err(Fault::Unavailable(problem));
        }
        if self
            .claim
            .provider
            .as_ref()
            .is_some_and(|bound| bound != name.as_str())
        {
            let problem = format!("the endpoint is bound to another provider than that of {shown}");
            return Err(Fault::Mismatch(problem));
        }
        self.reaches(name, provider)?;
        self.spent = self.spent.saturating_add(secret.expose().len());
        if self.spent > SPENT_BYTES {
            let problem = format!("its secrets have more than {SPENT_BYTES} bytes together");
            return Err(Fault::TooLong(problem));
        }
        self.used.insert(key.to_owned());
        Ok(secret)
    }

    /// The same for one that need not be there.
    pub(super) fn secret_if_any(&mut self, key: &str) -> Result<Option<Arc<Secret>>, Fault> {
        let mut own = self.bindings.of(&self.claim.kind);
        if own.any(|(name, _)| self.claim.secrets.current(name, key).is_some()) {
            drop(own);
            return self.secret(key).map(Some);
        }
        Ok(None)
    }

    /// The headers that providers put into the request.
    pub(in crate::egress) fn inject(&mut self) -> Result<Vec<Header>, Fault> {
        let bindings = Arc::clone(&self.bindings);
        let kind = self.claim.kind.clone();
        let mut headers: Vec<Header> = Vec::new();
        for (name, provider) in bindings.of(&kind) {
            let bound = self.claim.provider.as_ref();
            if bound.is_some_and(|bound| bound != name.as_str())
                || self.reaches(name, provider).is_err()
            {
                continue;
            }
            for injection in &provider.inject {
                if headers.iter().any(|(other, _)| *other == injection.header) {
                    let header = &injection.header;
                    let problem = format!("two providers put {header} into requests that go there");
                    return Err(Fault::Unavailable(problem));
                }
                let value = self.compose(name, injection)?;
                headers.push((injection.header.clone(), value));
            }
        }
        Ok(headers)
    }

    fn compose(
        &mut self,
        name: &ProviderName,
        injection: &Injection,
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let mut value = Zeroizing::new(Vec::with_capacity(1024));
        for piece in &injection.pieces {
            match piece {
                Piece::Text(text) => value.extend_from_slice(text.as_bytes()),
                Piece::Secret(key) => {
                    let secret = self.claim.secrets.current(name, key.as_str());
                    let secret = secret.ok_or_else(|| {
                        Fault::Unavailable(format!("provider {name} has no secret {key} now"))
                    })?;
                    value.extend_from_slice(secret.expose());
                    self.used.insert(key.to_string());
                }
            }
        }
        Ok(value)
    }

    /// The keys that were used, in order.
    pub(in crate::egress) fn used(self) -> Vec<String> {
        self.used.into_iter().collect()
    }

    fn reaches(&self, name: &ProviderName, provider: &Provider) -> Result<(), Fault> {
        let Claim {
            destination, path, ..
        } = &self.claim;
        let mut places = provider.places.iter();
        if places.any(|place| place.covers(destination, path)) {
            return Ok(());
        }
        let problem = format!("the secrets of provider {name} may not go to {destination}{path}");
        Err(Fault::Mismatch(problem))
    }
}
