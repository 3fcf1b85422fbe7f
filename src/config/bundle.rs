//! `bundle`: policies that a server of the operator's hands out, in the form of OPA's bundles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::text::wrong;
use crate::model::{Destination, Host};
use crate::yaml::Fault;

/// The most keys that may sign.
const MOST_KEYS: usize = 16;

/// Seconds between two polls: a server is not to be hammered, and a day is no longer a poll.
const DELAYS: std::ops::RangeInclusive<u64> = 1..=86_400;

/// OPA's own delays (its configuration, `bundles[_].polling`), in seconds.
const USUAL_DELAYS: (u64, u64) = (60, 120);

/// The longest that one download may take, in seconds.
const LONGEST_FETCH: u64 = 300;

/// What is between a policy's place and its name.
const PREFIX: &str = "bundle:";

/// Where a policy comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    /// A file.
    File(PathBuf),
    /// The bundle, by the name that it has there.
    Bundle(String),
}

/// Where a bundle comes from, and whose word is believed of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The server.
    pub server: Destination,
    /// What it is asked for: the path and query of the URL.
    pub target: String,
    /// The shortest and the longest time between two polls; each is chosen at random between them.
    pub delays: (Duration, Duration),
    /// The longest that one download may take.
    pub timeout: Duration,
    /// The file of a bearer token (RFC 6750) for the server.
    pub token_file: Option<PathBuf>,
    /// A file of roots by which the server is verified, besides the system's.
    pub ca: Option<PathBuf>,
    /// The directory of the last good one.
    pub keep: PathBuf,
    /// Whose signature is asked for.
    pub signing: Signing,
    /// Whether it brings the rules that judge as well.
    pub rules: bool,
}

/// Whose signature a bundle needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signing {
    /// That of one of these keys.
    Keys {
        /// By the names that signatures say.
        keys: BTreeMap<String, SigningKey>,
        /// Which one, whatever a signature says.
        keyid: Option<String>,
        /// What a signature's `scope` has to be.
        scope: String,
    },
    /// Nobody's, by the operator's word.
    Unsigned,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// The one algorithm that it is good for.
    pub algorithm: Algorithm,
    /// Its PEM.
    pub source: KeySource,
}

/// Where a key's PEM is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In a file, which is read again for each bundle.
    File(PathBuf),
    /// In the configuration.
    Text(String),
}

/// Algorithms of signatures (RFC 7518 §3.1, RFC 8037). Those of a shared secret are not among them: who could
/// verify could sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "the names are the RFCs'")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

impl Algorithm {
    /// As a signature's header says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BundleFile {
    url: Spanned<String>,
    #[serde(default)]
    polling: PollingFile,
    timeout: Option<Spanned<u64>>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    keep: PathBuf,
    signing: Option<Spanned<SigningFile>>,
    unsigned: Option<Spanned<Word>>,
    #[serde(default)]
    rules: bool,
}

/// The operator's word.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Accept,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PollingFile {
    min_delay_seconds: Option<Spanned<u64>>,
    max_delay_seconds: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SigningFile {
    keys: BTreeMap<String, Spanned<KeyFile>>,
    keyid: Option<Spanned<String>>,
    #[serde(default)]
    scope: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    algorithm: Spanned<String>,
    file: Option<PathBuf>,
    key: Option<String>,
}

/// A policy's place as it is written: a path, or `bundle:NAME`.
pub(super) fn policy(base: &Path, written: Spanned<PathBuf>) -> Result<PolicySource, Fault> {
    let text = written.value.to_string_lossy();
    let Some(name) = text.strip_prefix(PREFIX) else {
        return Ok(PolicySource::File(base.join(written.value)));
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        let problem = format!(
            "{name:?} is no name of a policy in a bundle: letters, digits, '_' and '-', at most 64"
        );
        return wrong(written.referenced, problem);
    }
    Ok(PolicySource::Bundle(name.to_owned()))
}

/// Whether a policy's place is a bundle.
pub(super) fn is_bundles(written: &Path) -> bool {
    written.to_string_lossy().starts_with(PREFIX)
}

/// What is said of a bundle; `named` is where a policy comes from one, and `rules` whether others judge.
pub(super) fn check(
    base: &Path,
    file: Option<Spanned<BundleFile>>,
    rules: bool,
    named: Option<Location>,
) -> Result<Option<Bundle>, Fault> {
    let Some(file) = file else {
        return match named {
            Some(place) => wrong(
                place,
                "no bundle is configured that could hold it; add `bundle` at the top",
            ),
            None => Ok(None),
        };
    };
    let place = file.referenced;
    if named.is_none() {
        let mend = "no policy comes from it; write `policy: bundle:NAME` for a login or definition";
        return wrong(place, mend);
    }
    let file = file.value;
    if file.rules && rules {
        return wrong(
            place,
            "its `rules` and the file's own can't both judge; take one out",
        );
    }
    let (server, target) = url(&file.url)?;
    Ok(Some(Bundle {
        server,
        target,
        delays: delays(&file.polling)?,
        timeout: Duration::from_secs(match &file.timeout {
            Some(time) => within(time, 1..=LONGEST_FETCH)?,
            None => 10,
        }),
        token_file: file.token_file.map(|path| base.join(path)),
        ca: file.ca.map(|path| base.join(path)),
        keep: base.join(file.keep),
        signing: signing(base, place, file.signing, file.unsigned.as_ref())?,
        rules: file.rules,
    }))
}

/// No message repeats the URL: somebody may have written a password into it.
fn url(written: &Spanned<String>) -> Result<(Destination, String), Fault> {
    let place = written.referenced;
    let Some(rest) = written.value.strip_prefix("https://") else {
        let mend = "give https://host/path: what comes over anything else is anybody's word";
        return wrong(place, mend);
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        let mend = "write a token into a file of mode 0600, and name that in `token_file`";
        return wrong(place, mend);
    }
    let port = |text: &str| {
        let behind = text.rsplit_once(':').map(|(_, port)| port);
        behind.is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
    };
    let whole = if port(authority) {
        authority.to_owned()
    } else {
        format!("{authority}:443")
    };
    let Ok(server) = Destination::parse(&whole) else {
        return wrong(
            place,
            "give https://host/path or https://host:port/path; an IPv6 address stands in brackets",
        );
    };
    if matches!(&server.host, Host::Name(name) if name.ends_with('.')) {
        return wrong(place, "its host ends in a dot; remove that");
    }
    let sound = |b: u8| b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'<' | b'>' | b'\\');
    if path.len() < 2 || path.len() > 2048 || !path.bytes().all(sound) {
        let mend = "name the bundle behind the host, such as /bundles/policy.tar.gz; write other characters as %XX";
        return wrong(place, mend);
    }
    Ok((server, path.to_owned()))
}

fn delays(file: &PollingFile) -> Result<(Duration, Duration), Fault> {
    let written = |value: &Option<Spanned<u64>>| {
        let value = value.as_ref().map(|value| within(value, DELAYS));
        value.transpose()
    };
    let (least, most) = (
        written(&file.min_delay_seconds)?,
        written(&file.max_delay_seconds)?,
    );
    let (least, most) = match (least, most) {
        (None, None) => USUAL_DELAYS,
        (Some(least), Some(most)) => (least, most),
        // One alone says how often; the other is OPA's ratio from it.
        (Some(least), None) => (least, least * 2),
        (None, Some(most)) => (most.div_ceil(2), most),
    };
    if let (true, Some(most)) = (least > most, &file.max_delay_seconds) {
        return wrong(most.referenced, format!("is less than the least, {least}"));
    }
    Ok((Duration::from_secs(least), Duration::from_secs(most)))
}

fn within(value: &Spanned<u64>, range: std::ops::RangeInclusive<u64>) -> Result<u64, Fault> {
    if range.contains(&value.value) {
        return Ok(value.value);
    }
    let (least, most) = (range.start(), range.end());
    let problem = format!("{} s is out of range: {least} to {most}", value.value);
    wrong(value.referenced, problem)
}

fn signing(
    base: &Path,
    place: Location,
    written: Option<Spanned<SigningFile>>,
    unsigned: Option<&Spanned<Word>>,
) -> Result<Signing, Fault> {
    let file = match (written, unsigned) {
        (Some(file), None) => file,
        (None, Some(_)) => return Ok(Signing::Unsigned),
        (Some(_), Some(word)) => {
            let problem = "a bundle is signed or it is not; leave this or `signing` out";
            return wrong(word.referenced, problem);
        }
        (None, None) => {
            let mend = "says nothing of signatures; add `signing: {keys: …}`, or accept by `unsigned: accept` that whoever holds the server says what is allowed";
            return wrong(place, mend);
        }
    };
    let (place, file) = (file.referenced, file.value);
    if file.keys.is_empty() || file.keys.len() > MOST_KEYS {
        return wrong(place, format!("name 1 to {MOST_KEYS} keys"));
    }
    if let Some(id) = &file.keyid
        && !file.keys.contains_key(&id.value)
    {
        return wrong(id.referenced, "is none of `keys`");
    }
    let mut keys = BTreeMap::new();
    for (name, written) in file.keys {
        keys.insert(name, key(base, written)?);
    }
    Ok(Signing::Keys {
        keys,
        keyid: file.keyid.map(|id| id.value),
        scope: file.scope,
    })
}

fn key(base: &Path, written: Spanned<KeyFile>) -> Result<SigningKey, Fault> {
    let place = written.referenced;
    let KeyFile {
        algorithm,
        file,
        key,
    } = written.value;
    let source = match (file, key) {
        (Some(path), None) => KeySource::File(base.join(path)),
        (None, Some(text)) => KeySource::Text(text),
        _ => {
            let mend = "give either `file`, a public key in PEM, or `key`, its text (-----BEGIN PUBLIC KEY-----)";
            return wrong(place, mend);
        }
    };
    let known = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::ES512,
        Algorithm::EdDSA,
    ];
    let wanted = algorithm.value.as_str();
    let Some(found) = known.into_iter().find(|known| known.name() == wanted) else {
        let problem = if wanted.starts_with("HS") {
            "a shared secret lets whoever verifies sign as well; make a key pair (RS256, ES256, …)"
                .to_owned()
        } else {
            let known: Vec<_> = known.iter().map(|known| known.name()).collect();
            format!(
                "no algorithm is called {wanted:?}; known here: {}",
                known.join(", ")
            )
        };
        return wrong(algorithm.referenced, problem);
    };
    Ok(SigningKey {
        algorithm: found,
        source,
    })
}

#[cfg(test)]
mod tests;
