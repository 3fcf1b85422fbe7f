//! `inference`: the model endpoints behind `https://inference.local`, and what a sandbox may take of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::providers::Providers;
use super::sandbox::unknown;
use super::text::wrong;
use crate::model::{Destination, Host, Place, ProviderName, SecretKey};
use crate::yaml::Fault;

/// The longest name of a route, model or secret, in bytes.
const NAME_BYTES: usize = 128;
/// How long an upstream may take to begin its answer: whole answers come when their last word is known.
const ANSWER: Duration = Duration::from_secs(600);
/// How long it may be silent within one.
const IDLE: Duration = Duration::from_secs(300);
/// The longest of either, in seconds.
const LONGEST: u64 = 3600;
/// Requests at once of one sandbox, where nothing is said; and the most that can be.
const AT_ONCE: usize = 16;
const MOST_AT_ONCE: usize = 256;

/// What requests and answers look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// OpenAI's: chat completions, completions, embeddings, responses.
    Openai,
    /// Anthropic's messages.
    Anthropic,
}

impl Protocol {
    /// The path that every endpoint of its kind has.
    fn path(self) -> &'static str {
        match self {
            Self::Openai => "/v1/chat/completions",
            Self::Anthropic => "/v1/messages",
        }
    }
}

/// The header that a route's credential is put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialHeader {
    /// `Authorization: Bearer …` (RFC 6750 §2.1).
    Authorization,
    /// `x-api-key: …`, Anthropic's.
    XApiKey,
    /// `api-key: …`, Azure's.
    ApiKey,
}

/// What is spoken below HTTP to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `https://`
    Tls,
    /// `http://`
    Plain,
}

/// The credential of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Whose it is.
    pub provider: ProviderName,
    /// Which of its provider's secrets.
    pub secret: SecretKey,
    /// Where it is put.
    pub header: CredentialHeader,
    /// Where its provider lets it go.
    pub places: Vec<Place>,
}

/// One endpoint of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name; the audit trail says it.
    pub name: String,
    /// Where it is.
    pub upstream: Destination,
    /// How it is reached.
    pub transport: Transport,
    /// What stands before `/v1` there; empty, or begins with a slash and ends with none.
    pub prefix: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Names that sandboxes use for models, and the upstream's for them.
    pub models: BTreeMap<String, String>,
    /// The upstream's model for every other name; `None` refuses them.
    pub default: Option<String>,
    /// What it is paid with; `None` for endpoints that ask for nothing.
    pub credential: Option<Credential>,
    /// How long an answer's first byte may take.
    pub answer: Duration,
    /// How long an answer may stand still.
    pub idle: Duration,
}

/// The routes by their names.
pub type Routes = BTreeMap<String, Arc<Route>>;

/// What one sandbox may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Requests in any minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens, read and written, in any minute.
    pub tokens_per_minute: Option<u64>,
    /// Tokens in any 24 hours.
    pub tokens_per_day: Option<u64>,
    /// Requests under way at once.
    pub at_once: usize,
}

/// A definition's inference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// What its sandboxes may use; of two that know a model the first counts.
    pub routes: Vec<Arc<Route>>,
    /// What each of them may take.
    pub allowance: Allowance,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InferenceFile {
    #[serde(default)]
    routes: BTreeMap<String, Spanned<RouteFile>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteFile {
    upstream: Spanned<String>,
    protocol: Protocol,
    #[serde(default)]
    models: BTreeMap<String, Spanned<String>>,
    default: Option<Spanned<String>>,
    credential: Option<CredentialFile>,
    #[serde(default)]
    timeouts: TimeoutsFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialFile {
    provider: Spanned<String>,
    secret: Spanned<SecretKey>,
    header: Option<CredentialHeader>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeoutsFile {
    answer: Option<Spanned<u64>>,
    idle: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessFile {
    routes: Spanned<Vec<Spanned<String>>>,
    requests_per_minute: Option<Spanned<u64>>,
    tokens_per_minute: Option<Spanned<u64>>,
    tokens_per_day: Option<Spanned<u64>>,
    at_once: Option<Spanned<usize>>,
}

pub(super) fn check(providers: &Providers, file: InferenceFile) -> Result<Routes, Fault> {
    let checked = |(name, route): (String, Spanned<RouteFile>)| {
        let place = route.referenced;
        named(&name, "route", place)?;
        Ok((
            name.clone(),
            Arc::new(check_route(providers, (name, place), route.value)?),
        ))
    };
    file.routes.into_iter().map(checked).collect()
}

fn check_route(
    providers: &Providers,
    (name, place): (String, Location),
    file: RouteFile,
) -> Result<Route, Fault> {
    let (transport, upstream, prefix) = base(&file.upstream)?;
    let mut models = BTreeMap::new();
    for (asked, used) in file.models {
        named(&asked, "model", used.referenced)?;
        named(&used.value, "model", used.referenced)?;
        models.insert(asked, used.value);
    }
    if let Some(default) = &file.default {
        named(&default.value, "model", default.referenced)?;
    }
    if models.is_empty() && file.default.is_none() {
        return wrong(
            place,
            "serves no model; name some in `models`, or one for every name in `default`",
        );
    }
    let path = format!("{prefix}{}", file.protocol.path());
    let credential = file.credential.map(|written| {
        let otherwise = match file.protocol {
            Protocol::Openai => CredentialHeader::Authorization,
            Protocol::Anthropic => CredentialHeader::XApiKey,
        };
        credential(providers, written, (&upstream, &path), otherwise)
    });
    let credential = credential.transpose()?;
    Ok(Route {
        name,
        upstream,
        transport,
        prefix,
        protocol: file.protocol,
        models,
        default: file.default.map(|model| model.value),
        credential,
        answer: seconds(file.timeouts.answer.as_ref(), ANSWER)?,
        idle: seconds(file.timeouts.idle.as_ref(), IDLE)?,
    })
}

/// A secret that its provider has, and lets go there.
fn credential(
    providers: &Providers,
    written: CredentialFile,
    (upstream, path): (&Destination, &str),
    otherwise: CredentialHeader,
) -> Result<Credential, Fault> {
    let CredentialFile {
        provider: name,
        secret,
        header,
    } = written;
    let mut all = providers.iter();
    let found = all.find(|(known, _)| known.as_str() == name.value);
    let (known, provider) = found.ok_or_else(|| {
        let place = name.referenced;
        unknown(
            "provider",
            &name.value,
            providers.keys(),
            "providers",
            place,
        )
    })?;
    if !provider.secrets.contains_key(&secret.value) && provider.directory.is_none() {
        let keys = provider.secrets.keys();
        let key = format!("providers.{known}.secrets");
        let place = secret.referenced;
        return Err(unknown("secret", secret.value.as_str(), keys, &key, place));
    }
    if !(provider.places.iter()).any(|place| place.covers(upstream, path)) {
        let problem = format!(
            "its secrets are not for {upstream}{path}; name that in `providers.{known}.endpoints`"
        );
        return wrong(name.referenced, problem);
    }
    Ok(Credential {
        provider: known.clone(),
        secret: secret.value,
        header: header.unwrap_or(otherwise),
        places: provider.places.clone(),
    })
}

/// Reads `https://host[:port][/prefix]`.
fn base(url: &Spanned<String>) -> Result<(Transport, Destination, String), Fault> {
    let fault = |problem: String| Fault::at(url.referenced, problem);
    let (transport, port, rest) = if let Some(rest) = url.value.strip_prefix("https://") {
        (Transport::Tls, 443, rest)
    } else if let Some(rest) = url.value.strip_prefix("http://") {
        (Transport::Plain, 80, rest)
    } else {
        return Err(fault(
            "give a URL such as https://models.example".to_owned(),
        ));
    };
    let (authority, path) = rest
        .find('/')
        .map_or((rest, ""), |slash| rest.split_at(slash));
    let path = path.trim_end_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._~-".contains(&byte);
    if !path.bytes().all(plain) || path.contains("//") || path.split('/').any(|part| part == "..") {
        return Err(fault(
            "what follows the host is a plain path: no query, no escapes".to_owned(),
        ));
    }
    if path.ends_with("/v1") {
        return Err(fault(
            "ends in /v1, which requests bring along; leave it out".to_owned(),
        ));
    }
    let ported = match authority.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => authority.to_owned(),
        _ => format!("{authority}:{port}"),
    };
    let upstream = Destination::parse(&ported).map_err(|error| fault(error.to_string()))?;
    if matches!(&upstream.host, Host::Name(name) if name == LOCAL) {
        return Err(fault(format!("{LOCAL} is this gate itself")));
    }
    Ok((transport, upstream, path.to_owned()))
}

/// The name by which sandboxes reach their routes.
pub const LOCAL: &str = "inference.local";

pub(super) fn check_access(routes: &Routes, file: AccessFile) -> Result<Access, Fault> {
    if file.routes.value.is_empty() {
        return wrong(
            file.routes.referenced,
            "name at least one of `inference.routes`, or leave `inference` out",
        );
    }
    let find = |name: &Spanned<String>| {
        let found = routes.get(&name.value).cloned();
        let (known, place) = (routes.keys(), name.referenced);
        found.ok_or_else(|| unknown("route", &name.value, known, "inference.routes", place))
    };
    let at_once = match file.at_once {
        Some(count) if !(1..=MOST_AT_ONCE).contains(&count.value) => {
            let problem = format!("{} is out of range: 1 to {MOST_AT_ONCE}", count.value);
            return wrong(count.referenced, problem);
        }
        Some(count) => count.value,
        None => AT_ONCE,
    };
    Ok(Access {
        routes: file
            .routes
            .value
            .iter()
            .map(find)
            .collect::<Result<_, _>>()?,
        allowance: Allowance {
            requests_per_minute: positive(file.requests_per_minute.as_ref())?,
            tokens_per_minute: positive(file.tokens_per_minute.as_ref())?,
            tokens_per_day: positive(file.tokens_per_day.as_ref())?,
            at_once,
        },
    })
}

fn positive(limit: Option<&Spanned<u64>>) -> Result<Option<u64>, Fault> {
    match limit {
        Some(limit) if limit.value == 0 => wrong(
            limit.referenced,
            "nothing could be asked then; give 1 or more, or leave `inference` out",
        ),
        limit => Ok(limit.map(|limit| limit.value)),
    }
}

fn seconds(value: Option<&Spanned<u64>>, default: Duration) -> Result<Duration, Fault> {
    match value {
        None => Ok(default),
        Some(value) if (1..=LONGEST).contains(&value.value) => Ok(Duration::from_secs(value.value)),
        Some(value) => {
            let problem = format!("{} s is out of range: 1 to {LONGEST}", value.value);
            wrong(value.referenced, problem)
        }
    }
}

/// Names go into requests, JSON and the audit trail.
fn named(name: &str, what: &str, place: Location) -> Result<(), Fault> {
    let sound = !name.is_empty()
        && name.len() <= NAME_BYTES
        && name.bytes().all(|byte| byte.is_ascii_graphic());
    if sound {
        return Ok(());
    }
    let problem = format!(
        "{name:?} is no name of a {what}: 1 to {NAME_BYTES} ASCII characters without spaces"
    );
    wrong(place, problem)
}

#[cfg(test)]
mod tests;
