//! From what sshd_config(5) says to what is served.

use std::path::PathBuf;

use super::algorithms::{Kind, chosen};
use super::lexer::Line;
use super::settings::{Fault, Setting, Settings};
use super::values::{self, bounded, one};
use super::{Service, absolute, addresses, logins, manners};
use crate::config::algorithms::Algorithms;
use crate::config::{
    Config, Egress, Inspection, Invoker, Limits, Reloading, Uids, ahead, inference, text,
};

/// The smallest RSA modulus that is taken from clients in any case, in bits.
const RSA_BITS: u64 = 2048;

/// What was made of a file.
pub(super) struct Mapped {
    pub(super) config: Config,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) log: &'static str,
    pub(super) host_key_algorithms: Vec<&'static str>,
    pub(super) warnings: Vec<Fault>,
}

/// Maps what is well-formed and not refused word by word; the first that can't be is the fault.
pub(super) fn map(
    settings: &Settings,
    invoker: &Invoker,
    service: Service,
) -> Result<Mapped, Fault> {
    settings.first("RequiredRSASize", |line| {
        match values::number(one(line)?)? {
            0..=RSA_BITS => Ok(()),
            more => Err(format!(
                "{more} is refused: write at most {RSA_BITS}, the least that is taken"
            )),
        }
    })?;
    let logins = logins::logins(settings, invoker)?;
    let host_key_algorithms = chosen(settings, "HostKeyAlgorithms", Kind::HostKey)?;
    // One client is served by one login, whose sandbox is made when it is known.
    let (pool, blanks) = if service == Service::One {
        (0, 0)
    } else {
        (ahead::POOL, ahead::BLANKS)
    };
    let mut limits = limits(settings)?;
    limits.sandboxes += pool * logins.len();
    let mut config = Config {
        host_certificates: host_certificates(settings)?,
        authentication: logins::strangers(settings, &logins)?,
        source: settings.source().to_owned(),
        source_version: None,
        listen: match service {
            Service::Everybody => addresses::listen(settings)?,
            Service::One => Vec::new(),
        },
        host_keys: host_keys(settings)?,
        audit: settings.first("SandboxAudit", path_or_none)?,
        spill: text::default_spill(),
        logins,
        limits,
        manners: manners::manners(settings)?,
        uids: settings.first("SandboxUids", uids)?,
        pool,
        blanks,
        accept_weaker: crate::config::Accepted::default(),
        admin: None,
        assignments: crate::config::Assignments::default(),
        rules: None,
        bundle: None,
        client_key: None,
        algorithms: Algorithms {
            kex: chosen(settings, "KexAlgorithms", Kind::Kex)?,
            ciphers: chosen(settings, "Ciphers", Kind::Cipher)?,
            macs: chosen(settings, "MACs", Kind::Mac)?,
        },
        inspection: Inspection::default(),
        reloading: Reloading::default(),
        egress: Egress::default(),
        providers: crate::config::Providers::default(),
        inference: inference::Routes::new(),
    };
    let banner = config.manners.banner.take_if(|banner| !banner.exists());
    let problem = "not followed: the file is not there";
    let warnings = banner.map(|_| settings.fault("Banner", problem));
    Ok(Mapped {
        config,
        pid_file: settings.first("PidFile", path_or_none)?,
        log: settings.first("LogLevel", |line| Ok(log(one(line)?)))?,
        host_key_algorithms,
        warnings: warnings.into_iter().collect(),
    })
}

/// What RUST_LOG would say for a LogLevel.
fn log(level: &str) -> &'static str {
    match level.to_ascii_uppercase().as_str() {
        "QUIET" => "off",
        "FATAL" | "ERROR" => "error",
        "VERBOSE" | "DEBUG" | "DEBUG1" => "debug,russh=info",
        "DEBUG2" => "debug",
        "DEBUG3" => "trace",
        _ => "info,russh=warn",
    }
}

fn limits(settings: &Settings) -> Result<Limits, Fault> {
    let whole = |least, most| move |line: &Line| bounded(one(line)?, least, most);
    let default = text::default_limits();
    Ok(Limits {
        login_grace: settings.first("LoginGraceTime", |line| {
            let time = values::time(one(line)?)?;
            match time.as_secs() {
                1..=3600 => Ok(time),
                other => Err(format!(
                    "refused: {other} seconds are out of range: 1 to 3600 (no login may take for ever)"
                )),
            }
        })?,
        auth_tries: settings.first("MaxAuthTries", whole(1, 100))?,
        channels: settings.first("MaxSessions", whole(1, 1024))?,
        ..default
    })
}

/// A path, made absolute; `none` is none.
pub(super) fn path_or_none(line: &Line) -> Result<Option<PathBuf>, String> {
    match one(line)? {
        none if none.eq_ignore_ascii_case("none") => Ok(None),
        path => absolute(path).map(Some),
    }
}

fn host_keys(settings: &Settings) -> Result<Vec<PathBuf>, Fault> {
    let mut paths = Vec::new();
    for setting in settings.every("HostKey") {
        let path = one(&setting.line)
            .and_then(absolute)
            .map_err(|problem| setting.fault(problem))?;
        if !path.exists() {
            let path = path.display();
            let problem = format!(
                "Unable to load host key: {path}; make it: ssh-keygen -t ed25519 -N '' -f {path}"
            );
            return Err(setting.fault(problem));
        }
        paths.push(path);
    }
    if paths.is_empty() {
        return Err(settings.whole(
            "no hostkeys available; name one by HostKey (those of the host's own sshd are not taken \
             unasked: a sandbox would pass for the host)",
        ));
    }
    Ok(paths)
}

fn host_certificates(settings: &Settings) -> Result<Vec<PathBuf>, Fault> {
    let path = |setting: &Setting| {
        let path = path_or_none(&setting.line);
        path.map_err(|problem| setting.fault(problem)).transpose()
    };
    settings
        .every("HostCertificate")
        .iter()
        .filter_map(path)
        .collect()
}

fn uids(line: &Line) -> Result<Uids, String> {
    let id = |text: &String| {
        let number = values::number(text)?;
        u32::try_from(number).map_err(|_| format!("{number} is no uid"))
    };
    match line.arguments.as_slice() {
        [gate, first, count] => crate::config::uids::sound(Uids {
            gate: id(gate)?,
            first: id(first)?,
            count: id(count)?,
        }),
        _ => {
            Err("write three numbers: the gate's uid, the first sandbox's, and how many".to_owned())
        }
    }
}
