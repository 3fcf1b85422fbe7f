//! Definitions of sandboxes: who shares one, and how long it stays.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_saphyr::{Location, Spanned};

use super::bounds::{self, Bounds, BoundsFile};
use super::bundle::{self, PolicySource};
use super::files::{self, Files, FilesFile};
use super::inference::{self, Access, AccessFile, Routes};
use super::outside::{self, Allow, Network, NetworkFile};
use super::providers::{self, Providers};
use super::text::wrong;
use crate::model::{DefinitionName, ProviderName};
use crate::yaml::Fault;

/// The longest time that can be written, in seconds: thirty days.
const LONGEST: u64 = 30 * 24 * 3600;

/// The most sessions that can be allowed in one sandbox.
const MOST_SESSIONS: usize = 4096;

/// A login's sandboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    /// The definition's name; `None` for a login's own.
    pub name: Option<DefinitionName>,
    /// Who shares one.
    pub scope: Scope,
    /// How long a shared one stays, with what was left running in it, when nobody is connected.
    pub linger: Duration,
    /// How long one stays in which no session runs and to which nothing is forwarded, connections or not;
    /// `None` is for ever.
    pub idle: Option<Duration>,
    /// How old one may become; `None` is for ever. Its terminals are warned.
    pub max_age: Option<Duration>,
    /// Sessions at once in one; `None` is what one connection may have.
    pub sessions: Option<usize>,
    /// What one may use at most.
    pub bounds: Bounds,
    /// What they are made of beyond what policy lists.
    pub files: Files,
    /// Where their network comes from.
    pub network: Network,
    /// What their sessions may do that others may not.
    pub allow: Allow,
    /// Whose secrets they may use.
    pub providers: Vec<ProviderName>,
    /// The models that they may use.
    pub inference: Option<Access>,
}

/// Who shares a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Nobody: each connection has its own, and nothing of it stays.
    Connection,
    /// All connections of the login.
    Login,
    /// All connections of the login with the same key.
    Key,
}

impl Scope {
    /// Whether connections share a sandbox.
    pub fn is_shared(self) -> bool {
        self != Self::Connection
    }
}

impl Default for Sharing {
    fn default() -> Self {
        Self {
            name: None,
            scope: Scope::Connection,
            linger: Duration::ZERO,
            idle: None,
            max_age: None,
            sessions: None,
            bounds: Bounds::default(),
            files: Files::default(),
            network: Network::default(),
            allow: Allow::default(),
            providers: Vec::new(),
            inference: None,
        }
    }
}

/// One definition: an entry of `sandboxes`, or a login's own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DefinitionFile {
    scope: Option<Scope>,
    linger: Option<Spanned<u64>>,
    idle: Option<Spanned<u64>>,
    max_age: Option<Spanned<u64>>,
    sessions: Option<Spanned<usize>>,
    #[serde(default)]
    bounds: BoundsFile,
    #[serde(default)]
    files: FilesFile,
    #[serde(default)]
    network: NetworkFile,
    #[serde(default)]
    allow: Allow,
    pub(super) policy: Option<Spanned<PathBuf>>,
    providers: Option<Spanned<Vec<Spanned<String>>>>,
    inference: Option<AccessFile>,
}

/// What a login says of its sandboxes: the name of a definition, or one of its own.
#[derive(Debug)]
pub(super) enum Choice {
    Named(String),
    Own(Box<DefinitionFile>),
}

/// By hand: an untagged enum would say of each mistake only that nothing fits.
impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Choice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of one of `sandboxes`, or keys such as `scope: login`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Choice, E> {
                Ok(Choice::Named(name.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Choice, A::Error> {
                let own = DefinitionFile::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Choice::Own(Box::new(own)))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// A checked definition.
#[derive(Debug, Clone, Default)]
pub(super) struct Definition {
    pub(super) sharing: Sharing,
    /// Its sandboxes' policy; `None` is that of each login.
    pub(super) policy: Option<PolicySource>,
}

/// The definitions that logins can name.
pub(super) type Definitions = BTreeMap<DefinitionName, Definition>;

/// A file's directory, from which paths count, and the providers and routes to models that it has.
pub(super) type Around<'a> = (&'a Path, &'a Providers, &'a Routes);

pub(super) fn check_all(
    around: Around<'_>,
    files: BTreeMap<DefinitionName, DefinitionFile>,
) -> Result<Definitions, Fault> {
    let mut definitions = Definitions::new();
    for (name, file) in files {
        let mut definition = check(around, file)?;
        definition.sharing.name = Some(name.clone());
        definitions.insert(name, definition);
    }
    Ok(definitions)
}

/// What a login's sandboxes are.
pub(super) fn choose(
    around: Around<'_>,
    definitions: &Definitions,
    choice: Option<Spanned<Choice>>,
) -> Result<Definition, Fault> {
    let Some(Spanned {
        value, referenced, ..
    }) = choice
    else {
        return Ok(Definition::default());
    };
    match value {
        Choice::Own(file) => check(around, *file),
        Choice::Named(name) => find(definitions, &name, referenced).map(|(_, found)| found.clone()),
    }
}

/// The definition of this name, which stands there.
pub(super) fn find<'a>(
    definitions: &'a Definitions,
    name: &str,
    place: Location,
) -> Result<(&'a DefinitionName, &'a Definition), Fault> {
    let mut all = definitions.iter();
    all.find(|(known, _)| known.as_str() == name)
        .ok_or_else(|| unknown("sandbox", name, definitions.keys(), "sandboxes", place))
}

/// Something is named that is not there.
pub(super) fn unknown<N: fmt::Display>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = N>,
    key: &str,
    place: Location,
) -> Fault {
    let known: Vec<String> = known.map(|name| name.to_string()).collect();
    let mend = match known.as_slice() {
        [] => format!("there is no `{key}` that could define it"),
        known => format!("there is {}", known.join(", ")),
    };
    Fault::at(place, format!("no {what} is called {name:?}; {mend}"))
}

fn check((base, providers, routes): Around<'_>, file: DefinitionFile) -> Result<Definition, Fault> {
    let scope = file.scope.unwrap_or(Scope::Connection);
    if let (Scope::Connection, Some(linger)) = (scope, &file.linger) {
        return wrong(
            linger.referenced,
            "a connection's own sandbox ends with it; add `scope: login` or `scope: key`",
        );
    }
    if let Some(sessions) = &file.sessions
        && !(1..=MOST_SESSIONS).contains(&sessions.value)
    {
        let problem = format!("{} is out of range: 1 to {MOST_SESSIONS}", sessions.value);
        return wrong(sessions.referenced, problem);
    }
    let linger = file.linger.map(|linger| seconds(&linger, 0)).transpose()?;
    let sharing = Sharing {
        name: None,
        scope,
        linger: linger.unwrap_or_default(),
        idle: file.idle.map(|idle| seconds(&idle, 1)).transpose()?,
        max_age: file.max_age.map(|age| seconds(&age, 1)).transpose()?,
        sessions: file.sessions.map(|sessions| sessions.value),
        bounds: bounds::check(file.bounds)?,
        files: files::check(base, scope, file.files)?,
        network: outside::check(file.network)?,
        allow: file.allow,
        providers: providers::choose(providers, file.providers)?,
        inference: file
            .inference
            .map(|access| inference::check_access(routes, access))
            .transpose()?,
    };
    Ok(Definition {
        sharing,
        policy: (file.policy.map(|written| bundle::policy(base, written))).transpose()?,
    })
}

fn seconds(value: &Spanned<u64>, least: u64) -> Result<Duration, Fault> {
    if (least..=LONGEST).contains(&value.value) {
        Ok(Duration::from_secs(value.value))
    } else {
        let problem = format!("{} s is out of range: {least} to {LONGEST}", value.value);
        wrong(value.referenced, problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Sharing, String> {
        let described = |fault: Fault| fault.describe("f", text).to_string();
        let choice: Spanned<Choice> = crate::yaml::read(text).map_err(described)?;
        let definition = choose(
            (Path::new("/etc"), &Providers::new(), &Routes::new()),
            &Definitions::new(),
            Some(choice),
        );
        Ok(definition.map_err(described)?.sharing)
    }

    #[test]
    fn nothing_is_shared_unless_it_is_said() {
        assert_eq!(checked("{}").unwrap(), Sharing::default());
        let login = checked("{scope: login, linger: 600, max_age: 3600}").unwrap();
        assert_eq!(login.scope, Scope::Login);
        assert_eq!(login.linger, Duration::from_secs(600));
        assert_eq!(login.max_age, Some(Duration::from_secs(3600)));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in [
            "{linger: 5}",
            "{scope: connection, linger: 5}",
            "{scope: group}",
            "{scope: login, idle: 0}",
            "{scope: login, max_age: 2592001}",
            "{scope: key, sessions: 0}",
            "{scope: key, stay: 5}",
        ] {
            assert!(checked(text).is_err(), "{text}");
        }
    }

    #[test]
    fn logins_name_definitions_and_take_their_policy() {
        let text = "host_keys: [k]\nsandboxes: {ide: {scope: login, linger: 5, policy: ide.yaml}}\n\
            logins:\n  a: {authorized_keys: [a], sandbox: ide}\n  b: {authorized_keys: [a], sandbox: ide}\n";
        let path = Path::new("/etc/sandgate.yaml");
        let config = crate::config::parse(path, text).unwrap();
        let policies: Vec<_> = config.logins.values().map(|login| &login.policy).collect();
        let ide = Some(PolicySource::File("/etc/ide.yaml".into()));
        assert_eq!(policies, [&ide, &ide]);
        for login in config.logins.values() {
            let name = login.sandbox.name.as_ref().map(DefinitionName::as_str);
            assert_eq!(name, Some("ide"));
            assert_eq!(login.sandbox.scope, Scope::Login);
        }
        for (from, to, said) in [
            (
                "sandbox: ide}\n",
                "sandbox: idea}\n",
                "4:38: logins.a.sandbox: no sandbox is called \"idea\"; there is ide",
            ),
            (
                "sandbox: ide}",
                "sandbox: [ide]}",
                "the name of one of `sandboxes`, or keys such as `scope: login`",
            ),
            (
                "sandbox: ide}",
                "sandbox: {scop: key}}",
                "did you mean `scope`?",
            ),
            (
                "sandbox: ide}\n",
                "sandbox: ide, policy: b.yaml}\n",
                "4:51: logins.a.policy: its sandboxes have another by their definition",
            ),
            (", policy: ide.yaml", "", "the key `policy` is missing"),
            ("{ide: {", "{Ide: {", "\"Ide\" is no name"),
            ("linger: 5", "linger: -5", "sandboxes.ide.linger"),
        ] {
            let text = text.replace(from, to);
            let error = crate::config::parse(path, &text).unwrap_err().to_string();
            assert!(error.contains(said), "{to}: {error}");
        }
    }
}
