//! What definitions want beyond what every sandbox has: whether this host gives it, and what it costs.

use std::path::Path;

use super::CheckError;
use super::blueprint::{real_name, source};
use crate::config::Network;
use crate::model::Kind;
use crate::policy::{lies_in, require_fixed};
use crate::sandbox::{Access, Blueprint, Given, Kernel};

/// Below /proc/sys. The first two are the kernel's (Documentation/admin-guide/sysctl/user.rst), as are Yama's scopes
/// (Documentation/admin-guide/LSM/Yama.rst); the third is Debian's, the fourth `AppArmor`'s.
const MOST_USER_NAMESPACES: &str = "user/max_user_namespaces";
const MOST_NET_NAMESPACES: &str = "user/max_net_namespaces";
const UNPRIVILEGED_USER_NAMESPACES: &str = "kernel/unprivileged_userns_clone";
const RESTRICTED_USER_NAMESPACES: &str = "kernel/apparmor_restrict_unprivileged_userns";
const PTRACE_SCOPE: &str = "kernel/yama/ptrace_scope";

/// Refuses what can't be, and says what is weaker than elsewhere.
pub(super) fn check(
    kind: &Kind,
    blueprint: &Blueprint,
    kernel: Kernel,
) -> Result<Vec<String>, CheckError> {
    let mut warnings = Vec::new();
    if let Network::Given(path) = &blueprint.network {
        warnings.push(given(path).map_err(|problem| refusal(kind, "network.namespace", problem))?);
    }
    if blueprint.allow.user_namespaces {
        let refuse = |problem| refusal(kind, "allow.user_namespaces", problem);
        warnings.push(user_namespaces(kernel, setting).map_err(refuse)?);
        if setting(RESTRICTED_USER_NAMESPACES) == Some(1) {
            warnings.push("allow.user_namespaces: this host's AppArmor takes the capabilities from user namespaces of programs without a profile that allows them (kernel.apparmor_restrict_unprivileged_userns = 1)".to_owned());
        }
        if blueprint.bounds.sandbox.memory.is_none() {
            warnings.push("allow.user_namespaces: nothing holds memory here (bounds.memory), and so nothing the file systems in memory that sessions mount".to_owned());
        }
    }
    if blueprint.allow.ptrace {
        let refuse = |problem| refusal(kind, "allow.ptrace", problem);
        warnings.extend(ptrace(setting).map_err(refuse)?);
    }
    let named = |warning| format!("login {kind}: {warning}");
    Ok(warnings.into_iter().map(named).collect())
}

/// Refuses what sessions could rename out of its place: they may mount, and their policy, `(file, text)`, or the
/// definition has something held inside of what they write.
pub(super) fn fixed(
    kind: &Kind,
    blueprint: &Blueprint,
    policy: (&str, &str),
) -> Result<(), CheckError> {
    if !blueprint.allow.user_namespaces {
        return Ok(());
    }
    let source = source(blueprint)?;
    let real = |path: &Path| real_name(&source, path).unwrap_or_else(|| path.to_owned());
    require_fixed(policy, real)?;
    let held = blueprint.denied.iter().find_map(|denied| {
        let above = blueprint.paths.iter().find(|listed| {
            let within =
                lies_in(denied, &listed.path) || lies_in(&real(denied), &real(&listed.path));
            within && listed.access == Access::ReadWrite
        });
        Some((denied.display(), above?.path.display()))
    });
    match held {
        Some((denied, above)) => Err(refusal(
            kind,
            "files.deny",
            format!(
                "{denied} lies in {above}, which may be written, and sessions with `allow: {{user_namespaces: true}}` can rename what it lies in; list {above} as read_only, or take the permission out"
            ),
        )),
        None => Ok(()),
    }
}

fn refusal(kind: &Kind, key: &'static str, problem: String) -> CheckError {
    CheckError::Outside {
        kind: kind.clone(),
        key,
        problem,
    }
}

fn given(path: &Path) -> Result<String, String> {
    let own = std::fs::File::open("/proc/self/ns/net").map_err(|e| e.to_string())?;
    Given::open(path, own).map_err(|e| e.to_string())?;
    Ok(format!(
        "network.namespace: what leaves by the routes of {} is neither judged by policy nor written to the audit trail",
        path.display()
    ))
}

fn user_namespaces(
    kernel: Kernel,
    setting: impl Fn(&'static str) -> Option<u64>,
) -> Result<String, String> {
    if !kernel.has_scopes() {
        let abi = kernel.abi();
        return Err(format!(
            "it needs Landlock ABI 6 (Linux 6.12), by which sessions are kept apart that may mount, and this kernel has {abi}; run a newer one, or leave it out"
        ));
    }
    for key in [MOST_USER_NAMESPACES, UNPRIVILEGED_USER_NAMESPACES] {
        if setting(key) == Some(0) {
            let key = key.replace('/', ".");
            return Err(format!(
                "this host has {key} = 0; raise it, or leave it out"
            ));
        }
    }
    let most =
        |key| setting(key).map_or_else(|| "any number of".to_owned(), |most| most.to_string());
    Ok(format!(
        "allow.user_namespaces: Landlock does not hold the paths of its programs, and the kernel's mounts and namespaces are in their reach; one account may make {} user and {} network namespaces (sysctl user.max_user_namespaces, user.max_net_namespaces)",
        most(MOST_USER_NAMESPACES),
        most(MOST_NET_NAMESPACES)
    ))
}

fn ptrace(setting: impl Fn(&'static str) -> Option<u64>) -> Result<Option<String>, String> {
    match setting(PTRACE_SCOPE) {
        None | Some(0) => Ok(None),
        Some(1) => Ok(Some(
            "allow.ptrace: this host has kernel.yama.ptrace_scope = 1: a debugger traces what it has started and can't attach to anything else".to_owned(),
        )),
        Some(scope) => Err(format!(
            "this host has kernel.yama.ptrace_scope = {scope}, which lets no session trace; set it to 0 or 1, or leave it out"
        )),
    }
}

/// A number below /proc/sys; `None` where this kernel has none by that name.
fn setting(key: &'static str) -> Option<u64> {
    let text = std::fs::read_to_string(Path::new("/proc/sys").join(key)).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_lets_nobody_trace_refuses_the_word() {
        assert_eq!(ptrace(|_| None), Ok(None));
        assert_eq!(ptrace(|_| Some(0)), Ok(None));
        let warned = ptrace(|_| Some(1)).unwrap().unwrap();
        assert!(warned.contains("can't attach"), "{warned}");
        for scope in [2, 3] {
            let refused = ptrace(|_| Some(scope)).unwrap_err();
            assert!(refused.contains("set it to 0 or 1"), "{refused}");
        }
    }

    #[test]
    fn a_host_without_user_namespaces_refuses_the_word() {
        let kernel = Kernel::probe().unwrap();
        for off in [MOST_USER_NAMESPACES, UNPRIVILEGED_USER_NAMESPACES] {
            let setting = |key| Some(u64::from(key != off));
            let refused = user_namespaces(kernel, setting).unwrap_err();
            assert!(refused.contains("raise it"), "{refused}");
        }
        let warned = user_namespaces(kernel, |_| Some(7)).unwrap();
        assert!(warned.contains("7 user and 7 network"), "{warned}");
    }
}
