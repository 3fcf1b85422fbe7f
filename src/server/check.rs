//! Everything that can be checked before a process, a socket or a thread exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bundle::BundleTrouble;
use super::judge;
use super::texts::Texts;
use crate::config::{Config, Gap, Inspection, Login, PolicySource, TEXT_BYTES, Uids};
use crate::egress::{InspectError, Parent, ParentError};
use crate::model::{Generation, Kind, LoginName};
use crate::policy::bundle::Contents;
use crate::policy::{LoadError, Operator, Rules, Snapshot};
use crate::sandbox::{Ceiling, Charter, Footing, Holders, Kernel, LandlockError, Unholdable};

mod blueprint;
mod memory;
mod outside;
mod rootless;

pub(super) use blueprint::keep_apart;
use blueprint::{blueprint, key_sources, missing_paths};
use memory::Seal;

/// Why serving would be refused.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A policy file.
    #[error(transparent)]
    Policy(#[from] LoadError),
    /// The kernel.
    #[error(transparent)]
    Landlock(#[from] LandlockError),
    /// What this kernel can't enforce and the operator has not accepted.
    #[error(
        "{}: this kernel can't enforce {missing}; run a newer one, or accept it by `{consent}`",
        source_file.display()
    )]
    Weaker {
        /// The configuration.
        source_file: PathBuf,
        /// What, by the names of `accept_weaker`.
        missing: String,
        /// What to write or type.
        consent: String,
    },
    /// What a server proves itself with; nothing is left of it.
    #[error("no hostkeys available: {0}")]
    NoHostKey(String),
    /// The host could not be asked what it can hold.
    #[error("cgroups: {0}")]
    Holders(#[source] std::io::Error),
    /// A bound that the operator wrote and that this host can't hold.
    #[error(
        "{}: {whose}.bounds.{}: this host can't hold it: {}; or accept that by `unheld: accept`",
        source_file.display(), bound.key, bound.mend
    )]
    Unheld {
        /// The configuration.
        source_file: PathBuf,
        /// The key of its definition.
        whose: String,
        /// Which, and the mend.
        bound: Unholdable,
    },
    /// A policy's account.
    #[error("login {login}: {problem}")]
    Account {
        /// Whose policy.
        login: LoginName,
        /// What is wrong, and the mend.
        problem: String,
    },
    /// The operator's authority, or roots.
    #[error("inspection: {0}")]
    Inspection(#[from] InspectError),
    /// Nobody could evaluate the operator's rules.
    #[error("rules: no process to evaluate them in: {0}")]
    Judge(#[source] std::io::Error),
    /// What a definition wants and this host can't give.
    #[error("login {kind}: {key}: {problem}")]
    Outside {
        /// Whose.
        kind: Kind,
        /// The definition's key.
        key: &'static str,
        /// What is wrong, and the mend.
        problem: String,
    },
    /// The upstream proxy's credentials.
    #[error("egress.upstream_proxy: {0}")]
    Parent(#[from] ParentError),
    /// A secret's source.
    #[error("{key}: {problem}")]
    Provider {
        /// Its key.
        key: String,
        /// What is wrong, and the mend.
        problem: String,
    },
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleTrouble),
    /// A policy comes from a bundle, and there is none.
    #[error("a policy comes from the bundle, and none was read")]
    NoBundle,
    /// It holds others.
    #[error("bundle {revision:?} has no policy {name:?}: it has {}", known.join(", "))]
    NotInBundle {
        /// What is wanted.
        name: String,
        /// Of which state of the bundle.
        revision: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Both judge.
    #[error(
        "rules come from a file (`rules`, or --rules) and from the bundle (`bundle.rules`); take one out"
    )]
    TwoRules,
    /// A directory or file that serving needs.
    #[error("{key}: {}: {source}", path.display())]
    Path {
        /// The configuration's key.
        key: &'static str,
        /// What it names.
        path: PathBuf,
        /// Why it can't be used.
        source: std::io::Error,
    },
}

/// A configuration that may be served.
#[derive(Debug)]
pub struct Checked {
    config: Config,
    /// Under an operator's rules these deny everything: what evaluated them has ended.
    policies: BTreeMap<Kind, Arc<Snapshot>>,
    charter: Charter,
    texts: Texts,
    warnings: Vec<String>,
    /// Kinds of sandboxes whose login keeps something that has come to harm.
    damaged: BTreeSet<Kind>,
}

impl Checked {
    /// Where the configuration came from.
    pub fn source(&self) -> &Path {
        &self.config.source
    }

    /// How many logins it has.
    pub fn logins(&self) -> usize {
        self.config.logins.len()
    }

    /// What an operator should know and may leave.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn policies(&self) -> &BTreeMap<Kind, Arc<Snapshot>> {
        &self.policies
    }

    pub(super) fn texts(&self) -> &Texts {
        &self.texts
    }

    pub(super) fn charter(&self) -> &Charter {
        &self.charter
    }

    /// What is served, and by what: without the policies, which the monitor does not judge by.
    pub(super) fn into_parts(self) -> (Config, Charter) {
        (self.config, self.charter)
    }

    /// The same, served with some of its ids.
    pub(super) fn with_uids(mut self, uids: Uids) -> Self {
        self.config.uids = uids;
        self.charter.uids = uids;
        self
    }

    /// Whether sandboxes of this kind can be made, as far as what their login keeps has a part in it.
    pub(super) fn is_whole(&self, kind: &Kind) -> bool {
        !self.damaged.contains(kind)
    }

    /// The same, and that these can't either.
    pub(super) fn without(mut self, damaged: BTreeSet<Kind>) -> Self {
        self.damaged.extend(damaged);
        self
    }
}

/// Loads what the configuration names and asks the kernel what it can enforce.
pub(super) fn check_on(
    config: Config,
    footing: Footing,
    bundle: Option<&Contents>,
) -> Result<Checked, CheckError> {
    let holders = Holders::probe(footing).map_err(CheckError::Holders)?;
    check_with(config, holders, bundle)
}

/// The same where it is known what holds bounds: a daemon that serves has changed its own cgroup.
pub(super) fn check_with(
    config: Config,
    holders: Holders,
    bundle: Option<&Contents>,
) -> Result<Checked, CheckError> {
    let kernel = Kernel::probe()?;
    let mut warnings = accept_gaps(&config, kernel.gaps())?;
    let sysctl = std::fs::read_to_string("/proc/sys/vm/memfd_noexec").ok();
    let seal = Seal::find(&config, holders.footing, sysctl.as_deref());
    warnings.extend(seal.warning);
    check_paths(&config)?;
    check_egress(&config)?;
    warnings.extend(super::bundle::warning(&config));
    warnings.extend(super::providers::check(&config)?);
    warnings.extend(super::inference::warnings(&config));
    warnings.extend(super::keys::check(&config)?);
    warnings.extend(super::key_files::check(&config)?);
    let mut texts = Texts {
        banner: shown("banner", config.manners.banner.as_deref())?,
        motd: shown("motd", config.manners.motd.as_deref())?,
        ..Texts::default()
    };
    texts.rules = rules(&config, bundle)?;
    let beside = judge::beside(texts.rules.clone(), judge::memory(&config));
    let (rules, _beside) = beside.map_err(CheckError::Judge)?;
    let mut logins = BTreeMap::new();
    for (name, login) in &config.logins {
        logins.insert(name.clone(), key_sources(name, login, config.uids)?);
    }
    let operator = Arc::new(Operator::from(&config.egress));
    let mut policies = BTreeMap::new();
    let mut blueprints = BTreeMap::new();
    for (kind, login) in config.kinds() {
        let (snapshot, text) = policy(&login, (&config, bundle), &rules)?;
        let snapshot = snapshot.below(&operator);
        warnings.extend(
            snapshot
                .warnings()
                .iter()
                .map(|warning| format!("login {kind}: {warning}")),
        );
        let (bounds, unheld) = ceiling(&kind, &login, &holders, &config)?;
        warnings.extend(unheld);
        let blueprint = blueprint(&kind, &login, &snapshot, (&config, bounds, holders.footing))?;
        warnings.extend(super::files::check(&kind.login, &blueprint)?);
        warnings.extend(missing_paths(&blueprint)?);
        warnings.extend(outside::check(&kind, &blueprint, kernel)?);
        if let Some((file, text)) = text {
            outside::fixed(&kind, &blueprint, (&file, &text))?;
            texts.policies.insert(kind.clone(), text);
        }
        blueprints.insert(kind.clone(), Arc::new(blueprint));
        policies.insert(kind, Arc::new(snapshot));
    }
    let kept = super::keeps::check(&blueprints)?;
    warnings.extend(kept.warnings);
    let charter = Charter {
        logins,
        blueprints,
        uids: config.uids,
        sandboxes: config.limits.sandboxes,
        blanks: config.blanks,
        errands: config.limits.channels,
        kernel,
        footing: holders.footing,
        holders,
        seal_memory_files: seal.by_namespace,
        memory_files: seal.by_filter,
    };
    Ok(Checked {
        config,
        policies,
        charter,
        texts,
        warnings,
        damaged: kept.damaged,
    })
}

/// The policy of a kind of sandboxes, and its name and text where it is not the built-in one.
fn policy(
    login: &Login,
    (config, bundle): (&Config, Option<&Contents>),
    rules: &Rules,
) -> Result<(Snapshot, Option<(String, String)>), CheckError> {
    let Some(source) = &login.policy else {
        return Ok((Snapshot::builtin(Generation(1), rules)?, None));
    };
    let (file, text) = policy_text(source, bundle)?;
    let snapshot = Snapshot::under(&file, &text, Generation(1), rules)?;
    let own = login.sandbox.providers.iter();
    let own = own.filter_map(|name| Some((name, &config.providers.get(name)?.places)));
    snapshot.require_inspection((&file, &text), own)?;
    Ok((snapshot, Some((file, text))))
}

/// A policy's name in messages, and its text.
pub(super) fn policy_text(
    source: &PolicySource,
    bundle: Option<&Contents>,
) -> Result<(String, String), CheckError> {
    match source {
        PolicySource::File(path) => Ok((path.display().to_string(), Snapshot::read(path)?)),
        PolicySource::Bundle(name) => {
            let bundle = bundle.ok_or(CheckError::NoBundle)?;
            let revision = &bundle.revision;
            let found = bundle.policies.get(name).cloned();
            let text = found.ok_or_else(|| CheckError::NotInBundle {
                name: name.clone(),
                revision: revision.clone(),
                known: bundle.policies.keys().cloned().collect(),
            })?;
            Ok((format!("bundle {revision:?}, policy {name}"), text))
        }
    }
}

/// What judges: the operator's files, or what his bundle brings.
pub(super) fn rules(config: &Config, bundle: Option<&Contents>) -> Result<Rules, CheckError> {
    let brought = config.bundle.as_ref().is_some_and(|bundle| bundle.rules);
    match (&config.rules, brought) {
        (None, false) => Ok(Rules::default()),
        (Some(files), false) => Ok(Rules::read(&files.module, files.data.as_deref())?),
        (None, true) => Ok(bundle.ok_or(CheckError::NoBundle)?.rules.clone()),
        (Some(_), true) => Err(CheckError::TwoRules),
    }
}

/// A text for clients.
fn shown(key: &'static str, path: Option<&Path>) -> Result<Option<String>, CheckError> {
    use std::io::Read;
    let Some(path) = path else {
        return Ok(None);
    };
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(TEXT_BYTES + 1).read_to_string(&mut text))
        .and_then(|_| {
            if text.len() as u64 > TEXT_BYTES {
                let problem = format!("is longer than {TEXT_BYTES} bytes; shorten it");
                return Err(std::io::Error::other(problem));
            }
            Ok(())
        });
    let path = path.to_owned();
    read.map_err(|source| CheckError::Path { key, path, source })?;
    Ok(Some(text))
}

/// A gap that the operator has accepted is a warning; any other is a refusal.
fn accept_gaps(config: &Config, gaps: Vec<Gap>) -> Result<Vec<String>, CheckError> {
    let (accepted, missing): (Vec<Gap>, Vec<Gap>) = gaps
        .into_iter()
        .partition(|gap| config.accept_weaker.has(*gap));
    if !missing.is_empty() {
        return Err(CheckError::Weaker {
            source_file: config.source.clone(),
            consent: config.consent(&missing),
            missing: crate::config::list_gaps(&missing),
        });
    }
    Ok(accepted
        .iter()
        .map(|gap| format!("weaker by the operator's word: {gap} is not enforced here"))
        .collect())
}

/// The operator's authority and roots, and the upstream proxy's credentials, can be read.
fn check_egress(config: &Config) -> Result<(), CheckError> {
    if config.inspection != Inspection::default() {
        super::inspection::open(&config.inspection)?;
    }
    if let Some(settings) = &config.egress.upstream_proxy {
        Parent::read(settings)?;
    }
    Ok(())
}

fn check_paths(config: &Config) -> Result<(), CheckError> {
    let wrong = |key, path: &Path| {
        let path = path.to_owned();
        move |source| CheckError::Path { key, path, source }
    };
    std::fs::read_dir(&config.spill).map_err(wrong("spill", &config.spill))?;
    for (key, path) in [("audit", &config.audit), ("admin", &config.admin)] {
        if let Some(path) = path {
            std::fs::read_dir(super::parent(path)).map_err(wrong(key, path))?;
        }
    }
    Ok(())
}

/// The bounds that are enforced, and what is said of those that nothing holds.
fn ceiling(
    kind: &Kind,
    login: &Login,
    holders: &Holders,
    config: &Config,
) -> Result<(Ceiling, Vec<String>), CheckError> {
    let (ceiling, unheld) =
        (holders.settle(&login.sandbox.bounds)).map_err(|bound| CheckError::Unheld {
            source_file: config.source.clone(),
            whose: match &kind.definition {
                Some(name) => format!("sandboxes.{name}"),
                None => format!("logins.{}.sandbox", kind.login),
            },
            bound,
        })?;
    let warn = |Unholdable { key, mend }| format!("login {kind}: bounds.{key} is not held: {mend}");
    Ok((ceiling, unheld.into_iter().map(warn).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(accept_weaker: &str) -> Config {
        let text = format!(
            "host_keys: [k]\nlogins: {{a: {{authorized_keys: [a], policy: p}}}}\naccept_weaker: [{accept_weaker}]\n"
        );
        crate::config::parse(Path::new("sandgate.yaml"), &text).unwrap()
    }

    #[test]
    fn a_gap_is_a_refusal_until_the_operator_names_it() {
        let gaps = vec![Gap::LandlockScopes, Gap::LandlockIoctl];
        let refused = accept_gaps(&config("landlock_ioctl"), gaps.clone())
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("`accept_weaker: [landlock_scopes]`"),
            "{refused}"
        );
        let accepted = accept_gaps(&config("landlock_ioctl, landlock_scopes"), gaps).unwrap();
        assert_eq!(accepted.len(), 2);
    }
}
