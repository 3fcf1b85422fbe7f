//! SIGHUP: the configuration is read and checked whole, then taken by monitor and gate, or not at all.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::check::{CheckError, check_with};
use super::notify::{Notifier, State};
use super::texts::{Texts, from_memory};
use crate::config::{self, Config, ConfigError, OnFailure, Source};
use crate::model::{ProviderName, SecretKey};
use crate::policy::bundle::Contents;
use crate::sandbox::{
    self, CapabilityError, Footing, Holders, Missing, Occasion, Reload, Reloaded,
};
use crate::sys;

/// Why the running configuration stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(
        "the pools of {kinds} kinds of sandboxes ({pool} each) do not fit into limits.sandboxes ({sandboxes}), which both need a restart to change"
    )]
    Pools {
        kinds: usize,
        pool: usize,
        sandboxes: usize,
    },
    #[error(
        "providers.{provider}.secrets.{key}: the variable {name} lies in the memory of processes that are not to have it, since nobody named it at the start; restart, or name another source"
    )]
    Variable {
        provider: ProviderName,
        key: SecretKey,
        name: String,
    },
    #[error("sandboxes would want {0}, which the monitor gave up when it began; restart")]
    GivenUp(Missing),
    #[error("capabilities: {0}")]
    Capabilities(#[from] CapabilityError),
    #[error("the bundle: {0}")]
    Spoilt(String),
    #[error("cannot read what was offered: {0}")]
    Bundle(#[source] std::io::Error),
    #[error("cannot hand the texts to the gate: {0}")]
    Texts(#[source] std::io::Error),
}

/// The monitor's side, which may open files.
pub(super) struct Reloader<'a> {
    running: Config,
    holders: Holders,
    notifier: &'a Notifier,
    /// The bundle that is in force.
    bundle: Option<Contents>,
    /// Why the one that came after it is not.
    spoilt: Option<String>,
}

impl<'a> Reloader<'a> {
    pub(super) fn new(
        (running, holders): (Config, Holders),
        notifier: &'a Notifier,
        bundle: Option<Contents>,
    ) -> Self {
        Self {
            running,
            holders,
            notifier,
            bundle,
            spoilt: None,
        }
    }

    /// Reads everything again. A failure is said loudly and changes nothing here.
    pub(super) fn reload(&mut self, occasion: Occasion) -> Reloaded {
        self.notifier.tell(State::Reloading);
        let reloaded = self.read(occasion);
        self.notifier.tell(State::Ready);
        let reloaded = tell(reloaded);
        sys::memory::give_back();
        reloaded
    }

    fn read(&mut self, occasion: Occasion) -> Result<Option<Reload>, ReloadError> {
        match occasion {
            Occasion::Hangup => {
                let spoilt = self.spoilt.as_deref();
                read_again((&self.running, &self.holders), self.bundle.as_ref(), spoilt)
            }
            Occasion::Spoilt(reason) => {
                self.spoilt = Some(reason.clone());
                Err(ReloadError::Spoilt(reason))
            }
            Occasion::Offer(memory) => {
                let offered: Contents = from_memory(memory).map_err(ReloadError::Bundle)?;
                let reloaded = read_again((&self.running, &self.holders), Some(&offered), None);
                match &reloaded {
                    Ok(_) => (self.bundle, self.spoilt) = (Some(offered), None),
                    Err(error) => self.spoilt = Some(super::explain(error)),
                }
                reloaded
            }
        }
    }
}

fn tell(reloaded: Result<Option<Reload>, ReloadError>) -> Reloaded {
    match reloaded {
        Ok(Some(reload)) => Reloaded::Good(reload),
        Ok(None) => Reloaded::Nothing,
        Err(error) => {
            let error = super::explain(&error);
            tracing::error!(error, "the new configuration is bad, the running one stays");
            Reloaded::Bad(error)
        }
    }
}

/// By this bundle, where policies come from one; `spoilt` says why a later one is bad.
fn read_again(
    (running, holders): (&Config, &Holders),
    bundle: Option<&Contents>,
    spoilt: Option<&str>,
) -> Result<Option<Reload>, ReloadError> {
    let footing = holders.footing;
    let path = &running.source;
    if running.client_key.is_some() || running.logins.values().any(|login| login.policy.is_none()) {
        tracing::warn!("there is no configuration file; only keys are read afresh");
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(|source| ReloadError::Read {
        path: path.clone(),
        source,
    })?;
    let (config, mut fixed) = renewed(running, &text)?;
    // A user's come from elsewhere.
    fixed.retain(|key| footing == Footing::Root || *key != "uids");
    if let (OnFailure::Deny, Some(reason)) = (config.reloading.on_failure, spoilt) {
        return Err(ReloadError::Spoilt(reason.to_owned()));
    }
    set_aside(running, &config)?;
    let checked = check_with(config, holders.clone(), bundle)?;
    if let Some(missing) = sandbox::given_up(super::wants(checked.config(), true))? {
        return Err(ReloadError::GivenUp(missing));
    }
    for warning in checked.warnings() {
        tracing::warn!("{warning}");
    }
    if !fixed.is_empty() {
        let keys = fixed.join(", ");
        tracing::warn!(keys, "changes of these keys need a restart");
    }
    let texts = Texts {
        config: text,
        ..checked.texts().clone()
    };
    Ok(Some(Reload {
        charter: checked.charter().clone(),
        texts: texts.write().map_err(ReloadError::Texts)?,
    }))
}

/// A variable is taken out of what other processes are forked from when the daemon starts, and never after.
fn set_aside(started: &Config, config: &Config) -> Result<(), ReloadError> {
    let known: BTreeSet<&str> = variables(started).map(|(.., name)| name).collect();
    match variables(config).find(|(.., name)| !known.contains(name)) {
        None => Ok(()),
        Some((provider, key, name)) => Err(ReloadError::Variable {
            provider: provider.clone(),
            key: key.clone(),
            name: name.to_owned(),
        }),
    }
}

/// Variables that secrets come from.
fn variables(config: &Config) -> impl Iterator<Item = (&ProviderName, &SecretKey, &str)> {
    let each = config.providers.iter().flat_map(|(name, provider)| {
        let secrets = provider.secrets.iter();
        secrets.map(move |(key, source)| (name, key, source))
    });
    each.filter_map(|(provider, key, source)| match source {
        Source::Environment(name) => Some((provider, key, name.as_str())),
        Source::File(_) | Source::Command(_) => None,
    })
}

/// The configuration in `text`, with what can't change while serving as it was, and the names of what
/// would have.
pub(super) fn renewed(
    running: &Config,
    text: &str,
) -> Result<(Config, Vec<&'static str>), ReloadError> {
    let mut config = config::parse(&running.source, text).map_err(ConfigError::from)?;
    if let Some(rules) = running.rules.as_ref().filter(|rules| rules.fixed) {
        config.rules = Some(rules.clone());
    }
    config.accept_weaker = config.accept_weaker.spoken_as(&running.accept_weaker);
    let mut fixed = Vec::new();
    macro_rules! keep {
        ($($name:literal: $($field:ident).+),+ $(,)?) => {$(
            if config.$($field).+ != running.$($field).+ {
                fixed.push($name);
                config.$($field).+ = running.$($field).+.clone();
            }
        )+};
    }
    keep! {
        "listen": listen,
        "host_keys": host_keys,
        "host_certificates": host_certificates,
        "audit": audit,
        "spill": spill,
        "uids": uids,
        "pool": pool,
        "accept_weaker": accept_weaker,
        "admin": admin,
        "limits.sandboxes": limits.sandboxes,
        "drain": manners.drain,
        "inspection": inspection,
        "reload.watch": reloading.watch,
        "egress.upstream_proxy": egress.upstream_proxy,
        "bundle": bundle,
    }
    let (kinds, pool, sandboxes) = (config.kinds().len(), config.pool, config.limits.sandboxes);
    if pool.saturating_mul(kinds) >= sandboxes {
        return Err(ReloadError::Pools {
            kinds,
            pool,
            sandboxes,
        });
    }
    Ok((config, fixed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_change_is_kept_and_named() {
        let text = "host_keys: [k]\nlogins: {a: {authorized_keys: [a], policy: p}}\n";
        let running = config::parse(std::path::Path::new("sandgate.yaml"), text).unwrap();
        let more = format!("{text}listen: ['127.0.0.1:1']\ndrain: 1\nlimits: {{channels: 3}}\n");
        let (config, fixed) = renewed(&running, &more).unwrap();
        assert_eq!(fixed, ["listen", "drain"]);
        assert_eq!(config.listen, running.listen);
        assert_eq!(config.limits.channels, 3);
        assert!(renewed(&running, text).unwrap().1.is_empty());
        assert!(renewed(&running, "nothing: good").is_err());
        let small = format!("{text}limits: {{sandboxes: 3}}\n");
        let running = config::parse(std::path::Path::new("sandgate.yaml"), &small).unwrap();
        let two = "a: {authorized_keys: [a], policy: p}, b: {authorized_keys: [a], policy: p}";
        let more = small.replace("a: {authorized_keys: [a], policy: p}", two);
        let more = more.replace("sandboxes: 3", "sandboxes: 30");
        assert!(matches!(
            renewed(&running, &more),
            Err(ReloadError::Pools { .. })
        ));
    }
}
