//! What a policy file means: every value checked, nothing left to fail when a flow is judged.

use std::collections::BTreeMap;

use super::pattern::file_regex;
use super::schema::{self, Compatibility, File};
use crate::yaml::Fault;

mod conditions;
mod endpoint;
mod middleware;
mod overlap;
mod rules;
mod standing;

pub(super) use conditions::{Condition, Messages, Subject};
pub(super) use endpoint::{Endpoint, Inspection, Processing, Requests};
pub(super) use middleware::Middleware;
pub use standing::{Account, Filesystem, RunAs};

/// What stands among the binaries of a network policy that also allows what clients of the SSH server
/// forward (`ssh -L`, `-D`, `-W`). No program's path reads like this: they begin with `/`.
pub const FORWARD: &str = "ssh-forward";

/// Endpoints in one file. Each is compared with every other.
const MAX_ENDPOINTS: usize = 2048;
/// Rules in one file. Each is asked about each part of a request.
const MAX_RULES: usize = 2048;
/// Binaries in one file: with the hosts, no more globs than the engine keeps compiled.
const MAX_BINARIES: usize = 2048;

/// A file whose every value is valid.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) filesystem: Filesystem,
    pub(super) run_as: RunAs,
    pub(super) landlock: Compatibility,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) binaries: BTreeMap<String, Binaries>,
    pub(super) middlewares: Vec<Middleware>,
    pub(super) warnings: Vec<Fault>,
}

/// The programs that a network policy is for.
#[derive(Debug, Default)]
pub(super) struct Binaries {
    /// Whole paths, as `merged` spells them.
    pub(super) exact: Vec<String>,
    /// Regular expressions over whole paths.
    pub(super) globs: Vec<String>,
}

/// Checks a file whole.
pub(super) fn check(file: &File) -> Result<Checked, Fault> {
    if file.version.value != 1 {
        return Err(Fault::at(
            file.version.referenced,
            format!(
                "version {} is not known; this is version 1",
                file.version.value
            ),
        ));
    }
    let mut warnings = Vec::new();
    let (mut endpoints, mut binaries) = (Vec::new(), BTreeMap::new());
    let (mut programs, mut rules) = (0, 0);
    for (name, policy) in &file.network_policies {
        for written in &policy.value.endpoints {
            if endpoints.len() == MAX_ENDPOINTS {
                return Err(Fault::at(
                    written.referenced,
                    format!("more than {MAX_ENDPOINTS} endpoints; split the policy"),
                ));
            }
            rules += written.value.rules.len() + written.value.deny_rules.len();
            if rules > MAX_RULES {
                return Err(Fault::at(
                    written.referenced,
                    format!("more than {MAX_RULES} rules; use globs"),
                ));
            }
            endpoints.push(endpoint::check(name, written, &mut warnings)?);
        }
        programs += policy.value.binaries.len();
        if programs > MAX_BINARIES {
            return Err(Fault::at(
                policy.referenced,
                format!("more than {MAX_BINARIES} binaries; use globs"),
            ));
        }
        binaries.insert(
            name.clone(),
            check_binaries(&policy.value.binaries, &mut warnings)?,
        );
        if policy.value.binaries.is_empty() {
            warnings.push(Fault::at(
                policy.referenced,
                "`binaries` is empty, so this policy allows nothing; `path: /**` is any program",
            ));
        }
    }
    overlap::check(&endpoints)?;
    let middlewares = middleware::check(&file.network_middlewares, &endpoints, &mut warnings)?;
    Ok(Checked {
        filesystem: standing::filesystem(file.filesystem_policy.as_ref())?,
        run_as: standing::run_as(&file.process)?,
        landlock: file.landlock.compatibility,
        endpoints,
        binaries,
        middlewares,
        warnings,
    })
}

fn check_binaries(
    written: &[schema::Binary],
    warnings: &mut Vec<Fault>,
) -> Result<Binaries, Fault> {
    let mut binaries = Binaries::default();
    for binary in written {
        let (path, place) = (&binary.path.value, binary.path.referenced);
        if !path.starts_with('/') && path != FORWARD {
            warnings.push(Fault::at(
                place,
                "never matches: a program's path begins with `/`; what clients forward is `ssh-forward`",
            ));
        }
        if path.contains('*') {
            binaries
                .globs
                .push(file_regex(path).map_err(|problem| Fault::at(place, problem))?);
        } else {
            binaries.exact.push(merged(path).into_owned());
        }
    }
    Ok(binaries)
}

/// The path on a system whose `/bin`, `/sbin`, `/lib` and `/lib64` are links into `/usr`, so that
/// a rule holds for a program whichever way its file or the kernel spells it.
pub(super) fn merged(path: &str) -> std::borrow::Cow<'_, str> {
    let split = ["/bin/", "/sbin/", "/lib/", "/lib64/"]
        .iter()
        .any(|top| path.starts_with(top));
    if split {
        format!("/usr{path}").into()
    } else {
        path.into()
    }
}
