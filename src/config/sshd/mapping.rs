//! From what sshd_config(5) says to what is served.

use std::path::PathBuf;

use super::algorithms::{Kind, select};
use super::lexer::Line;
use super::settings::{Fault, Settings};
use super::values::{self, bounded, one};
use super::{Service, absolute, addresses, logins, manners};
use crate::config::algorithms::Algorithms;
use crate::config::{Chains, Config, Invoker, Limits, Uids, text};

/// The smallest RSA modulus that is taken from clients in any case, in bits.
const RSA_BITS: u64 = 2048;

/// Maps what is well-formed and not refused word by word; the first that can't be is the fault.
pub(super) fn map(
    settings: &Settings,
    invoker: &Invoker,
    service: Service,
) -> Result<(Config, Option<PathBuf>, &'static str), Fault> {
    subsystems(settings)?;
    algorithms(settings, "HostKeyAlgorithms", Kind::HostKey)?;
    whole(settings, "PubkeyAcceptedAlgorithms", Kind::Signature)?;
    settings.first("RequiredRSASize", |line| {
        match values::number(one(line)?)? {
            0..=RSA_BITS => Ok(()),
            more => Err(format!(
                "{more} is refused: write at most {RSA_BITS}, the least that is taken"
            )),
        }
    })?;
    let logins = logins::logins(settings, invoker)?;
    // One client is served by one login, whose sandbox is made when it is known.
    let pool = if service == Service::One {
        0
    } else {
        text::default_pool()
    };
    let mut limits = limits(settings)?;
    limits.sandboxes += pool * logins.len();
    let config = Config {
        host_certificates: Vec::new(),
        authentication: Chains::default(),
        source: settings.source().to_owned(),
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
        accept_weaker: Vec::new(),
        admin: None,
        assignments: crate::config::Assignments::default(),
        client_key: None,
        algorithms: Algorithms {
            kex: algorithms(settings, "KexAlgorithms", Kind::Kex)?,
            ciphers: algorithms(settings, "Ciphers", Kind::Cipher)?,
            macs: algorithms(settings, "MACs", Kind::Mac)?,
        },
    };
    let log = settings.first("LogLevel", |line| Ok(log(one(line)?)))?;
    Ok((config, settings.first("PidFile", path_or_none)?, log))
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

fn uids(line: &Line) -> Result<Uids, String> {
    let id = |text: &String| {
        let number = values::number(text)?;
        u32::try_from(number).map_err(|_| format!("{number} is no uid"))
    };
    match line.arguments.as_slice() {
        [gate, first, count] => text::sound(Uids {
            gate: id(gate)?,
            first: id(first)?,
            count: id(count)?,
        }),
        _ => {
            Err("write three numbers: the gate's uid, the first sandbox's, and how many".to_owned())
        }
    }
}

fn algorithms(
    settings: &Settings,
    keyword: &'static str,
    kind: Kind,
) -> Result<Vec<&'static str>, Fault> {
    let Some(setting) = settings.every(keyword).first() else {
        return Ok(kind.offered().to_vec());
    };
    let chosen = one(&setting.line).and_then(|list| select(kind, list));
    let chosen = chosen.map_err(|problem| setting.fault(problem))?;
    if chosen.is_empty() {
        let offered = kind.offered().join(",");
        return Err(setting.fault(format_args!(
            "refused: none of these is offered; add one of {offered}"
        )));
    }
    Ok(chosen)
}

/// A list from which nothing can be taken.
fn whole(settings: &Settings, keyword: &'static str, kind: Kind) -> Result<(), Fault> {
    let chosen = algorithms(settings, keyword, kind)?;
    let Some(missing) = kind.offered().iter().find(|name| !chosen.contains(name)) else {
        return Ok(());
    };
    let setting = settings.every(keyword).first();
    let problem = format!("refused: {missing} is not withheld; add it");
    Err(setting.map_or_else(
        || settings.whole(&problem),
        |setting| setting.fault(&problem),
    ))
}

/// sftp, served inside the sandbox whichever program is named for it; nothing else.
fn subsystems(settings: &Settings) -> Result<(), Fault> {
    let mut seen: Vec<&str> = Vec::new();
    for setting in settings.every("Subsystem") {
        let [name, ..] = setting.line.arguments.as_slice() else {
            continue;
        };
        if seen.contains(&name.as_str()) {
            return Err(setting.fault(format_args!("Subsystem '{name}' already defined.")));
        }
        seen.push(name);
    }
    for setting in settings.every("Subsystem") {
        let problem = match setting.line.arguments.as_slice() {
            [_] | [] => "Missing subsystem command.",
            [name, program] if name == "sftp" && is_sftp(program) => continue,
            [name, program, ..] if name == "sftp" && is_sftp(program) => {
                "refused: sftp takes no arguments here"
            }
            _ => "refused: the one subsystem is sftp; write `Subsystem sftp internal-sftp`",
        };
        return Err(setting.fault(problem));
    }
    Ok(())
}

fn is_sftp(program: &str) -> bool {
    program == "internal-sftp" || program.ends_with("/sftp-server")
}
