//! The file's form: strict YAML, checked value by value.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::algorithms::{self, AlgorithmsFile};
use super::assign::{AssignmentFile, Assignments, GroupFile};
use super::authentication::{self, Written};
use super::forwarding::{self, ForwardingFile};
use super::keys_command::{self, KeysCommandFile};
use super::manners::{self, Keys, PenaltiesFile, RekeyFile, Startups, TimeoutsFile};
use super::sandbox::{self, Choice, DefinitionFile, Definitions};
use super::{Chains, Config, Gap, Limits, Login, Sftp, Uids, keys, sftp};
use crate::model::{DefinitionName, LoginName};
use crate::yaml::{self, Fault, Invalid};

/// Room for the socket's name while it is made, too.
const LONGEST_SOCKET: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<Spanned<Vec<Spanned<String>>>>,
    host_keys: Spanned<Vec<PathBuf>>,
    #[serde(default)]
    host_certificates: Vec<PathBuf>,
    audit: Option<PathBuf>,
    spill: Option<PathBuf>,
    trusted_user_ca_keys: Option<Spanned<Vec<PathBuf>>>,
    revoked_keys: Option<Spanned<Vec<PathBuf>>>,
    #[serde(default)]
    sandboxes: BTreeMap<DefinitionName, DefinitionFile>,
    #[serde(default)]
    groups: BTreeMap<String, Spanned<GroupFile>>,
    #[serde(default)]
    assign: Vec<AssignmentFile>,
    authentication_methods: Option<Written>,
    logins: Spanned<BTreeMap<LoginName, LoginFile>>,
    admin: Option<Spanned<PathBuf>>,
    #[serde(default)]
    limits: LimitsFile,
    uids: Option<Spanned<Uids>>,
    pool: Option<Spanned<usize>>,
    #[serde(default)]
    accept_weaker: Vec<Gap>,
    #[serde(default)]
    algorithms: AlgorithmsFile,
    startups: Option<Spanned<Startups>>,
    penalties: Option<PenaltiesFile>,
    #[serde(default)]
    timeouts: TimeoutsFile,
    #[serde(default)]
    rekey: RekeyFile,
    banner: Option<PathBuf>,
    motd: Option<PathBuf>,
    drain: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginFile {
    authorized_keys: Spanned<Vec<PathBuf>>,
    trusted_user_ca_keys: Option<Spanned<Vec<PathBuf>>>,
    authorized_principals: Option<Spanned<Vec<String>>>,
    revoked_keys: Option<Spanned<Vec<PathBuf>>>,
    authentication_methods: Option<Written>,
    totp_secrets: Option<Spanned<PathBuf>>,
    authorized_keys_command: Option<KeysCommandFile>,
    policy: Option<Spanned<PathBuf>>,
    shell: Option<Spanned<PathBuf>>,
    #[serde(default)]
    accept_env: Vec<Spanned<String>>,
    #[serde(default)]
    forwarding: ForwardingFile,
    sandbox: Option<Spanned<Choice>>,
    force_command: Option<Spanned<String>>,
    sftp: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsFile {
    connections: Option<Spanned<usize>>,
    channels: Option<Spanned<usize>>,
    sandboxes: Option<Spanned<usize>>,
    login_grace: Option<Spanned<usize>>,
    auth_tries: Option<Spanned<usize>>,
}

/// Reads configuration text; `path` is its name in messages and the base of its relative paths.
pub fn parse(path: &Path, text: &str) -> Result<Config, Invalid> {
    let file: Result<File, Fault> = yaml::read(text);
    file.and_then(|file| check(path, file))
        .map_err(|fault| fault.describe(&path.to_string_lossy(), text))
}

fn check(path: &Path, file: File) -> Result<Config, Fault> {
    let base = path.parent().unwrap_or(Path::new(""));
    if file.host_keys.value.is_empty() {
        return wrong(
            file.host_keys.referenced,
            "name at least one file; it is made at the first start",
        );
    }
    if file.logins.value.is_empty() {
        return wrong(file.logins.referenced, "name at least one login");
    }
    let definitions = sandbox::check_all(base, file.sandboxes)?;
    let mut logins = BTreeMap::new();
    let mut strangers = None;
    for (name, mut login) in file.logins.value {
        let everyones = file.trusted_user_ca_keys.as_ref();
        let authorities = keys::files(base, everyones, login.trusted_user_ca_keys.as_ref())?;
        let everyones = file.revoked_keys.as_ref();
        let revoked = keys::files(base, everyones, login.revoked_keys.as_ref())?;
        let principals = keys::principals(login.authorized_principals.take())?;
        let methods = login.authentication_methods.take();
        let methods = methods.as_ref().or(file.authentication_methods.as_ref());
        let chains = authentication::chains(methods)?;
        authentication::agree(&chains, methods, login.totp_secrets.as_ref())?;
        let before = strangers.get_or_insert_with(|| chains.clone());
        authentication::begin_alike(before, &chains, methods)?;
        let login = Login {
            authentication: chains,
            trusted_user_ca_keys: authorities,
            authorized_principals: principals,
            revoked_keys: revoked,
            ..check_login(base, &definitions, login)?
        };
        logins.insert(name, login);
    }
    let uids = file.uids.as_ref().map_or(Ok(Uids::default()), check_uids)?;
    let limits = check_limits(&file.limits, uids)?;
    let assignments = Assignments::check(definitions, file.groups, file.assign, &logins)?;
    let places = file.limits.sandboxes.as_ref().map(|value| value.referenced);
    let kinds = assignments.kinds(&logins).len();
    let pool = check_pool(file.pool, places, kinds, limits.sandboxes)?;
    let manners = manners::check(
        base,
        Keys {
            startups: file.startups,
            penalties: file.penalties,
            timeouts: file.timeouts,
            rekey: file.rekey,
            banner: file.banner,
            motd: file.motd,
            drain: file.drain,
        },
    )?;
    Ok(Config {
        source: path.to_owned(),
        listen: file.listen.map_or(Ok(default_listen()), check_listen)?,
        host_keys: file.host_keys.value.iter().map(|p| base.join(p)).collect(),
        host_certificates: (file.host_certificates.iter().map(|p| base.join(p))).collect(),
        audit: file.audit.map(|p| base.join(p)),
        spill: file.spill.map_or_else(default_spill, |p| base.join(p)),
        authentication: strangers.unwrap_or_default(),
        logins,
        assignments,
        limits,
        manners,
        uids,
        pool,
        accept_weaker: file.accept_weaker,
        admin: file
            .admin
            .map(|path| check_admin(base, &path))
            .transpose()?,
        client_key: None,
        algorithms: algorithms::check(file.algorithms)?,
    })
}

pub(super) fn wrong<T>(place: Location, problem: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::at(place, problem))
}

/// The path of a UNIX socket has room for 107 bytes (unix(7)).
fn check_admin(base: &Path, path: &Spanned<PathBuf>) -> Result<PathBuf, Fault> {
    let joined = base.join(&path.value);
    if joined.as_os_str().len() > LONGEST_SOCKET {
        let problem = format!("is longer than {LONGEST_SOCKET} bytes; name a shorter path");
        return wrong(path.referenced, problem);
    }
    Ok(joined)
}

fn check_listen(listen: Spanned<Vec<Spanned<String>>>) -> Result<Vec<SocketAddr>, Fault> {
    if listen.value.is_empty() {
        return wrong(
            listen.referenced,
            "name at least one address, such as 127.0.0.1:2222",
        );
    }
    let address = |text: Spanned<String>| {
        let problem = || {
            format!(
                "{:?} is no address with a port; write one like 127.0.0.1:2222 or '[::1]:2222'",
                text.value
            )
        };
        text.value
            .parse()
            .map_err(|_| Fault::at(text.referenced, problem()))
    };
    listen.value.into_iter().map(address).collect()
}

fn check_login(base: &Path, definitions: &Definitions, login: LoginFile) -> Result<Login, Fault> {
    let keys = login.authorized_keys;
    if keys.value.is_empty() || keys.value.len() > 16 {
        return wrong(keys.referenced, "name 1 to 16 files");
    }
    let shell = match login.shell {
        Some(shell) if !shell.value.is_absolute() => {
            return wrong(shell.referenced, "give an absolute path inside the sandbox");
        }
        Some(shell) => shell.value,
        None => default_shell(),
    };
    if let Some(bad) = login
        .accept_env
        .iter()
        .find(|pattern| !is_variable_pattern(&pattern.value))
    {
        let problem = format!(
            "{:?} is no variable name (letters, digits, '_', at most a '*' at its end)",
            bad.value
        );
        return wrong(bad.referenced, problem);
    }
    let force_command = match login.force_command {
        Some(command) if command.value.is_empty() || command.value.contains('\0') => {
            return wrong(
                command.referenced,
                "give a command line, or `internal-sftp`",
            );
        }
        command => command.map(|command| command.value),
    };
    let definition = sandbox::choose(base, definitions, login.sandbox)?;
    if let (Some(own), Some(_)) = (&login.policy, &definition.policy) {
        return wrong(
            own.referenced,
            "its sandboxes have another by their definition; take one out",
        );
    }
    let own = login.policy.map(|path| base.join(path.value));
    let Some(policy) = own.or(definition.policy) else {
        return wrong(
            keys.referenced,
            "the key `policy` is missing; add it beside this one, or to the login's definition in `sandboxes`",
        );
    };
    Ok(Login {
        authorized_keys: keys.value.iter().map(|p| base.join(p)).collect(),
        trusted_user_ca_keys: Vec::new(),
        authorized_principals: Vec::new(),
        revoked_keys: Vec::new(),
        authentication: Chains::default(),
        totp_secrets: login.totp_secrets.map(|path| base.join(path.value)),
        authorized_keys_command: login
            .authorized_keys_command
            .map(keys_command::check)
            .transpose()?,
        policy: Some(policy),
        shell,
        accept_env: login
            .accept_env
            .into_iter()
            .map(|pattern| pattern.value)
            .collect(),
        sandbox: definition.sharing,
        force_command,
        forwarding: forwarding::check(login.forwarding)?,
        sftp: login
            .sftp
            .as_ref()
            .map_or(Ok(Sftp::default()), sftp::check)?,
    })
}

pub(super) fn is_variable_pattern(pattern: &str) -> bool {
    let name = pattern.strip_suffix('*').unwrap_or(pattern);
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn check_limits(file: &LimitsFile, uids: Uids) -> Result<Limits, Fault> {
    let mut default = default_limits();
    default.sandboxes = default.sandboxes.min(uids.count as usize);
    let bounded = |value: &Option<Spanned<usize>>, default: usize, most: usize| match value {
        Some(value) if value.value == 0 || value.value > most => wrong(
            value.referenced,
            format!("{} is out of range: 1 to {most}", value.value),
        ),
        Some(value) => Ok(value.value),
        None => Ok(default),
    };
    let grace = usize::try_from(default.login_grace.as_secs()).unwrap_or(usize::MAX);
    Ok(Limits {
        connections: bounded(&file.connections, default.connections, 65_536)?,
        channels: bounded(&file.channels, default.channels, 1024)?,
        sandboxes: bounded(&file.sandboxes, default.sandboxes, uids.count as usize)?,
        login_grace: Duration::from_secs(bounded(&file.login_grace, grace, 3600)? as u64),
        auth_tries: bounded(&file.auth_tries, default.auth_tries, 100)?,
    })
}

fn check_pool(
    pool: Option<Spanned<usize>>,
    sandboxes_at: Option<Location>,
    kinds: usize,
    sandboxes: usize,
) -> Result<usize, Fault> {
    let written = pool.as_ref().map(|pool| pool.referenced).or(sandboxes_at);
    let size = pool.map_or_else(default_pool, |pool| pool.value);
    let pooled = size.saturating_mul(kinds);
    if size == 0 || pooled >= sandboxes {
        let problem = format!(
            "pool ({size}) is at least 1, and all pools together ({pooled} sandboxes) stay below limits.sandboxes ({sandboxes})"
        );
        return wrong(written.unwrap_or(Location::UNKNOWN), problem);
    }
    Ok(size)
}

fn check_uids(uids: &Spanned<Uids>) -> Result<Uids, Fault> {
    sound(uids.value).or_else(|problem| wrong(uids.referenced, problem))
}

/// Ids that can be nobody else's and each other's.
pub(super) fn sound(uids: Uids) -> Result<Uids, String> {
    let Uids { gate, first, count } = uids;
    let end = first.checked_add(count).filter(|end| *end < u32::MAX);
    match end {
        Some(end) if (first..end).contains(&gate) => Err(format!(
            "gate {gate} lies among the sandboxes' own ids; give it one outside them"
        )),
        Some(_) if gate != 0 && first >= 1000 && count > 0 => Ok(uids),
        _ => Err(
            "ids start at 1000 or higher, are at least one, end below 2^32-1; the gate's is not 0"
                .to_owned(),
        ),
    }
}

pub(super) fn default_limits() -> Limits {
    Limits {
        connections: 512,
        channels: 64,
        sandboxes: 64,
        login_grace: Duration::from_secs(60),
        auth_tries: 6,
    }
}

fn default_listen() -> Vec<SocketAddr> {
    vec![SocketAddr::from(([127, 0, 0, 1], 2222))]
}

pub(super) fn default_spill() -> PathBuf {
    PathBuf::from("/var/tmp")
}

pub(super) fn default_shell() -> PathBuf {
    PathBuf::from("/bin/bash")
}

pub(super) fn default_pool() -> usize {
    2
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "host_keys: [k]\nlogins:\n  sandbox: {authorized_keys: [a], policy: p.yaml}\n";

    fn refusal(text: &str) -> String {
        parse(Path::new("/etc/sandgate/sandgate.yaml"), text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn relative_paths_count_from_the_file() {
        let config = parse(Path::new("/etc/sandgate/sandgate.yaml"), GOOD).unwrap();
        assert_eq!(config.host_keys, [PathBuf::from("/etc/sandgate/k")]);
        assert_eq!(config.listen, default_listen());
    }

    #[test]
    fn unknown_key_names_file_line_and_the_nearest_key() {
        let said = refusal(&GOOD.replace("policy: p.yaml", "polcy: p.yaml"));
        assert!(said.starts_with("/etc/sandgate/sandgate.yaml:3:"), "{said}");
        assert!(
            said.contains("polcy") && said.contains("did you mean `policy`?"),
            "{said}"
        );
    }

    #[test]
    fn values_out_of_range_name_their_key() {
        for (addition, key) in [
            ("limits: {channels: 0}", "limits.channels"),
            ("limits: {login_grace: 0}", "limits.login_grace"),
            ("pool: 64", "pool"),
            ("listen: [127.0.0.1]", "listen[0]"),
            ("uids: {first: 10}", "uids"),
            ("uids: {gate: 1900000005}", "uids"),
            ("listen: []", "listen"),
            ("revoked_keys: []", "revoked_keys"),
            ("authentication_methods: []", "authentication_methods"),
            (
                "authentication_methods: [password]",
                "authentication_methods[0]",
            ),
            (
                "authentication_methods: [keyboard-interactive]",
                "authentication_methods[0]",
            ),
            (
                "authentication_methods: ['publickey,keyboard-interactive']",
                "authentication_methods",
            ),
            ("trusted_user_ca_keys: []", "trusted_user_ca_keys"),
        ] {
            let said = refusal(&format!("{GOOD}{addition}\n"));
            assert!(said.contains(&format!(": {key}: ")), "{addition}: {said}");
        }
    }

    #[test]
    fn duplicate_keys_and_bad_logins_are_refused() {
        refusal(&format!("{GOOD}pool: 1\npool: 2\n"));
        refusal(&GOOD.replace("sandbox:", "Root!:"));
    }
}
