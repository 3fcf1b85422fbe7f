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
use super::bundle::{self, BundleFile};
use super::egress::{self, EgressFile};
use super::forwarding::{self, ForwardingFile};
use super::inference::{self, InferenceFile};
use super::inspection::{self, InspectionFile};
use super::keys_command::{self, KeysCommandFile};
use super::manners::{self, Keys, PenaltiesFile, RekeyFile, Startups, TimeoutsFile};
use super::providers::{self, ProviderFile};
use super::rules::{self, RulesFile};
use super::sandbox::{self, Around, Choice, DefinitionFile, Definitions};
use super::unwelcome::{self, UnwelcomeFile};
use super::{
    Accepted, Chains, Config, Gap, Limits, Login, Reloading, Sftp, Uids, admin, ahead, keys,
    set_env, sftp, signatures, uids,
};
use crate::model::{DefinitionName, LoginName, ProviderName};
use crate::yaml::{self, Fault, Invalid};

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
    rules: Option<RulesFile>,
    bundle: Option<Spanned<BundleFile>>,
    logins: Spanned<BTreeMap<LoginName, LoginFile>>,
    admin: Option<Spanned<PathBuf>>,
    #[serde(default)]
    limits: LimitsFile,
    uids: Option<Spanned<Uids>>,
    pool: Option<Spanned<usize>>,
    blanks: Option<Spanned<usize>>,
    #[serde(default)]
    accept_weaker: Vec<Gap>,
    #[serde(default)]
    algorithms: AlgorithmsFile,
    startups: Option<Spanned<Startups>>,
    penalties: Option<PenaltiesFile>,
    #[serde(default)]
    refuse: UnwelcomeFile,
    #[serde(default)]
    timeouts: TimeoutsFile,
    #[serde(default)]
    rekey: RekeyFile,
    banner: Option<PathBuf>,
    motd: Option<PathBuf>,
    drain: Option<Spanned<u64>>,
    #[serde(default)]
    inspection: InspectionFile,
    #[serde(default)]
    reload: Reloading,
    #[serde(default)]
    egress: EgressFile,
    #[serde(default)]
    providers: BTreeMap<ProviderName, Spanned<ProviderFile>>,
    #[serde(default)]
    inference: InferenceFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginFile {
    authorized_keys: Spanned<Vec<PathBuf>>,
    trusted_user_ca_keys: Option<Spanned<Vec<PathBuf>>>,
    authorized_principals: Option<Spanned<Vec<String>>>,
    authorized_principals_file: Option<Spanned<PathBuf>>,
    signatures: Option<Spanned<Vec<Spanned<String>>>>,
    revoked_keys: Option<Spanned<Vec<PathBuf>>>,
    authentication_methods: Option<Written>,
    totp_secrets: Option<Spanned<PathBuf>>,
    authorized_keys_command: Option<KeysCommandFile>,
    policy: Option<Spanned<PathBuf>>,
    shell: Option<Spanned<PathBuf>>,
    #[serde(default)]
    accept_env: Vec<Spanned<String>>,
    #[serde(default)]
    set_env: BTreeMap<String, Spanned<String>>,
    key_env: Option<Vec<Spanned<String>>>,
    terminal: Option<bool>,
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
    per_key: Option<Spanned<usize>>,
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

fn check(path: &Path, mut file: File) -> Result<Config, Fault> {
    let base = path.parent().unwrap_or(Path::new(""));
    check_some(&file)?;
    let bundle = bundle::check(
        base,
        file.bundle.take(),
        file.rules.is_some(),
        bundled(&file),
    )?;
    let providers = providers::check(base, file.providers)?;
    let routes = inference::check(&providers, file.inference)?;
    let around = (base, &providers, &routes);
    let definitions = sandbox::check_all(around, file.sandboxes)?;
    let everyones = Everyones {
        around,
        definitions: &definitions,
        authorities: file.trusted_user_ca_keys.as_ref(),
        revoked: file.revoked_keys.as_ref(),
        methods: file.authentication_methods.as_ref(),
    };
    let mut logins = BTreeMap::new();
    let mut strangers = None;
    for (name, login) in file.logins.value {
        let login = check_entrance(&everyones, login, &mut strangers)?;
        logins.insert(name, login);
    }
    let uids = file
        .uids
        .as_ref()
        .map_or(Ok(Uids::default()), uids::check)?;
    let limits = check_limits(&file.limits, uids)?;
    let assignments = Assignments::check(definitions, file.groups, file.assign, &logins)?;
    let kinds = assignments.kinds(&logins).len();
    let sandboxes = (file.limits.sandboxes.as_ref(), limits.sandboxes);
    let pool = ahead::check_pool(file.pool, kinds, sandboxes)?;
    let manners = manners::check(
        base,
        Keys {
            startups: file.startups,
            penalties: file.penalties,
            refuse: unwelcome::check(&file.refuse, &logins)?,
            timeouts: file.timeouts,
            rekey: file.rekey,
            banner: file.banner,
            motd: file.motd,
            drain: file.drain,
        },
    )?;
    Ok(Config {
        source: path.to_owned(),
        source_version: None,
        listen: file.listen.map_or(Ok(default_listen()), check_listen)?,
        host_keys: file.host_keys.value.iter().map(|p| base.join(p)).collect(),
        host_certificates: (file.host_certificates.iter().map(|p| base.join(p))).collect(),
        audit: file.audit.map(|p| base.join(p)),
        spill: file.spill.map_or_else(default_spill, |p| base.join(p)),
        authentication: strangers.unwrap_or_default(),
        rules: (file.rules.map(|rules| rules::check(base, rules))).transpose()?,
        bundle,
        logins,
        assignments,
        limits,
        manners,
        uids,
        pool,
        blanks: ahead::check_blanks(file.blanks)?,
        accept_weaker: Accepted::written(file.accept_weaker),
        admin: admin::check(base, file.admin)?,
        client_key: None,
        algorithms: algorithms::check(file.algorithms)?,
        inspection: inspection::check(base, file.inspection),
        reloading: file.reload,
        egress: egress::check(base, file.egress)?,
        providers,
        inference: routes,
    })
}

/// The first policy that comes from a bundle.
fn bundled(file: &File) -> Option<Location> {
    let own = |login: &LoginFile| match &login.sandbox {
        Some(Spanned {
            value: Choice::Own(own),
            ..
        }) => own.policy.clone(),
        _ => None,
    };
    let logins = file.logins.value.values();
    let of_logins = logins.flat_map(|login| [login.policy.clone(), own(login)]);
    let of_definitions = file.sandboxes.values().map(|own| own.policy.clone());
    let mut all = of_logins.chain(of_definitions).flatten();
    all.find(|policy| bundle::is_bundles(&policy.value))
        .map(|policy| policy.referenced)
}

/// What the file says for every login.
struct Everyones<'a> {
    around: sandbox::Around<'a>,
    definitions: &'a Definitions,
    authorities: Option<&'a Spanned<Vec<PathBuf>>>,
    revoked: Option<&'a Spanned<Vec<PathBuf>>>,
    methods: Option<&'a Written>,
}

/// A login, with how its clients prove themselves. The first one says how all begin.
fn check_entrance(
    everyones: &Everyones<'_>,
    mut login: LoginFile,
    strangers: &mut Option<Chains>,
) -> Result<Login, Fault> {
    let (base, ..) = everyones.around;
    let authorities = keys::files(
        base,
        everyones.authorities,
        login.trusted_user_ca_keys.as_ref(),
    )?;
    let revoked = keys::files(base, everyones.revoked, login.revoked_keys.as_ref())?;
    let principals_file = login.authorized_principals_file.take();
    keys::either(
        login.authorized_principals.as_ref(),
        principals_file.as_ref(),
    )?;
    let principals = keys::principals(login.authorized_principals.take())?;
    let methods = login.authentication_methods.take();
    let methods = methods.as_ref().or(everyones.methods);
    let chains = authentication::chains(methods)?;
    authentication::agree(&chains, methods, login.totp_secrets.as_ref())?;
    let before = strangers.get_or_insert_with(|| chains.clone());
    authentication::begin_alike(before, &chains, methods)?;
    Ok(Login {
        authentication: chains,
        trusted_user_ca_keys: authorities,
        authorized_principals: principals,
        authorized_principals_file: principals_file.map(|path| base.join(path.value)),
        revoked_keys: revoked,
        ..check_login(everyones.around, everyones.definitions, login)?
    })
}

/// What a server can't be without.
fn check_some(file: &File) -> Result<(), Fault> {
    if file.host_keys.value.is_empty() {
        return wrong(
            file.host_keys.referenced,
            "name at least one file; it is made at the first start",
        );
    }
    if file.logins.value.is_empty() {
        return wrong(file.logins.referenced, "name at least one login");
    }
    Ok(())
}

pub(super) fn wrong<T>(place: Location, problem: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::at(place, problem))
}

fn check_listen(listen: Spanned<Vec<Spanned<String>>>) -> Result<Vec<SocketAddr>, Fault> {
    if listen.value.is_empty() {
        let mend = "name at least one address, such as 127.0.0.1:2222";
        return wrong(listen.referenced, mend);
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

fn check_login(
    around: Around<'_>,
    definitions: &Definitions,
    login: LoginFile,
) -> Result<Login, Fault> {
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
    let force_command = match login.force_command {
        Some(command) => {
            is_force_command(&command.value)
                .or_else(|problem| wrong(command.referenced, problem))?;
            Some(command.value)
        }
        None => None,
    };
    let definition = sandbox::choose(around, definitions, login.sandbox)?;
    let (base, ..) = around;
    if let (Some(own), Some(_)) = (&login.policy, &definition.policy) {
        return wrong(
            own.referenced,
            "its sandboxes have another by their definition; take one out",
        );
    }
    let own = login.policy.map(|written| bundle::policy(base, written));
    let own = own.transpose()?;
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
        authorized_principals_file: None,
        revoked_keys: Vec::new(),
        signatures: signatures::check(login.signatures)?,
        authentication: Chains::default(),
        totp_secrets: login.totp_secrets.map(|path| base.join(path.value)),
        authorized_keys_command: login
            .authorized_keys_command
            .map(keys_command::check)
            .transpose()?,
        policy: Some(policy),
        shell,
        accept_env: names(login.accept_env)?,
        set_env: set_env::check(login.set_env)?,
        key_env: login.key_env.map_or(Ok(default_key_env()), names)?,
        terminal: login.terminal.unwrap_or(true),
        sandbox: definition.sharing,
        force_command,
        forwarding: forwarding::check(login.forwarding)?,
        sftp: login
            .sftp
            .as_ref()
            .map_or(Ok(Sftp::default()), sftp::check)?,
    })
}

/// What can be run instead of what is asked for. Arguments of our own server would be restrictions that nobody
/// keeps.
pub(super) fn is_force_command(command: &str) -> Result<(), &'static str> {
    let arguments = command.strip_prefix("internal-sftp");
    if arguments.is_some_and(|rest| rest.starts_with([' ', '\t'])) {
        return Err("internal-sftp takes no arguments here");
    }
    if command.is_empty() || command.contains('\0') {
        return Err("give a command line, or `internal-sftp`");
    }
    Ok(())
}

/// Names of variables.
fn names(patterns: Vec<Spanned<String>>) -> Result<Vec<String>, Fault> {
    let name = |pattern: Spanned<String>| {
        if is_variable_pattern(&pattern.value) {
            return Ok(pattern.value);
        }
        let problem = format!(
            "{:?} is no variable name (letters, digits, '_', at most a '*' at its end)",
            pattern.value
        );
        wrong(pattern.referenced, problem)
    };
    patterns.into_iter().map(name).collect()
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
    let connections = bounded(&file.connections, default.connections, 65_536)?;
    Ok(Limits {
        connections,
        // Without a share of its own a key may have them all.
        per_key: bounded(&file.per_key, connections, connections)?,
        channels: bounded(&file.channels, default.channels, 1024)?,
        sandboxes: bounded(&file.sandboxes, default.sandboxes, uids.count as usize)?,
        login_grace: Duration::from_secs(bounded(&file.login_grace, grace, 3600)? as u64),
        auth_tries: bounded(&file.auth_tries, default.auth_tries, 100)?,
    })
}

pub(super) fn default_limits() -> Limits {
    Limits {
        connections: 512,
        per_key: 512,
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

/// Whoever writes a key's line decides on its variables.
pub(super) fn default_key_env() -> Vec<String> {
    vec!["*".to_owned()]
}

#[cfg(test)]
mod tests;
