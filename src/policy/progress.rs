//! How far somebody has come on the way in: the methods of a login's chains, and the principal at their end.

use std::fmt;

use super::grants::{Conflict, Grants};
use super::totp::RightCode;
use crate::config::{Chains, Method};
use crate::model::{Fingerprint, LoginName};

/// A key of a login that somebody proved. Fields private: only `Roll::admit` mints one.
#[derive(Debug, Clone)]
pub struct ProvedKey {
    pub(super) login: LoginName,
    pub(super) key: Fingerprint,
    /// Whom its certificate names.
    pub(super) names: Vec<String>,
    /// What stands behind it in authorized_keys.
    pub(super) comment: Option<String>,
    pub(super) grants: Grants,
}

/// What is left of each chain, and what has been proved.
#[derive(Debug)]
pub struct Progress {
    left: Vec<Vec<Method>>,
    done: Vec<Method>,
    keys: Vec<ProvedKey>,
}

/// What a method that succeeded led to.
#[derive(Debug)]
pub enum Step {
    /// A chain is complete.
    Admitted(Principal),
    /// Something is still asked for.
    Further,
}

/// Why a method does not count, for the operator alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// No chain goes on with it.
    #[error("{0} is not what authentication_methods asks for at this point")]
    Method(Method),
    /// The key was proved already.
    #[error("the key has been proved already, and counts once")]
    Again,
    /// The keys' own options contradict each other.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The keys are of several logins, or there is none.
    #[error("the keys proved are not those of one login")]
    Login,
}

impl Progress {
    /// At the beginning of a login's chains.
    pub fn new(chains: &Chains) -> Self {
        Self {
            left: chains.each().map(<[Method]>::to_vec).collect(),
            done: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// Whether a chain goes on with this.
    pub fn asks_for(&self, method: Method) -> bool {
        let next = |chain: &Vec<Method>| chain.first() == Some(&method);
        self.left.iter().any(next)
    }

    /// What has succeeded so far.
    pub fn done(&self) -> &[Method] {
        &self.done
    }

    /// The key that was proved last.
    pub fn last_key(&self) -> Option<&Fingerprint> {
        self.keys.last().map(|proved| &proved.key)
    }

    /// Whether this key could be the next.
    pub fn takes(&self, key: &Fingerprint) -> Result<(), Obstacle> {
        if !self.asks_for(Method::PublicKey) {
            Err(Obstacle::Method(Method::PublicKey))
        } else if self.keys.iter().any(|proved| proved.key == *key) {
            Err(Obstacle::Again)
        } else {
            Ok(())
        }
    }

    /// Goes on by a key.
    pub fn key(&mut self, proved: ProvedKey) -> Result<Step, Obstacle> {
        self.takes(&proved.key)?;
        self.keys.push(proved);
        self.step(Method::PublicKey)
    }

    /// Goes on by a code.
    pub fn code(&mut self, _: RightCode) -> Result<Step, Obstacle> {
        self.step(Method::KeyboardInteractive)
    }

    /// As sshd: chains that do not go on with this stay as they are.
    fn step(&mut self, method: Method) -> Result<Step, Obstacle> {
        if !self.asks_for(method) {
            return Err(Obstacle::Method(method));
        }
        self.done.push(method);
        for chain in &mut self.left {
            if chain.first() == Some(&method) {
                chain.remove(0);
            }
        }
        if self.left.iter().any(Vec::is_empty) {
            Ok(Step::Admitted(self.principal()?))
        } else {
            Ok(Step::Further)
        }
    }

    /// Who has come to the end: bound by what every key of theirs may be used for.
    fn principal(&self) -> Result<Principal, Obstacle> {
        let (first, others) = self.keys.split_first().ok_or(Obstacle::Login)?;
        let mut grants = first.grants.clone();
        for other in others {
            if other.login != first.login {
                return Err(Obstacle::Login);
            }
            grants = grants.narrowed(&other.grants)?;
        }
        Ok(Principal {
            login: first.login.clone(),
            key: first.key.clone(),
            names: first.names.clone(),
            comment: first.comment.clone(),
            grants,
        })
    }
}

/// Somebody who did what a login asks for. Fields private: only `Progress` mints one.
#[derive(Debug, Clone)]
pub struct Principal {
    login: LoginName,
    key: Fingerprint,
    names: Vec<String>,
    comment: Option<String>,
    grants: Grants,
}

impl Principal {
    /// Who they are here.
    pub fn login(&self) -> &LoginName {
        &self.login
    }

    /// The key that they proved; the first of several.
    pub fn key(&self) -> &Fingerprint {
        &self.key
    }

    /// Whom that key's certificate names (`ssh-keygen -n`); nobody where it was a key by itself.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What stands behind that key in authorized_keys; nothing where it was a certificate's.
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// What their keys may be used for.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.login, self.key)
    }
}
