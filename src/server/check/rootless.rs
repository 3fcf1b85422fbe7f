//! What a login may ask for where an ordinary user serves.

use std::path::{Path, PathBuf};

use super::CheckError;
use crate::config::{Activation, Files, Root};
use crate::model::Kind;
use crate::policy::{self, RunAs};
use crate::sandbox::{Account, Blueprint, Footing, is_private};
use crate::server::rootless::ONE;

/// The account of a login's sandboxes, of those that there are; or what can't be had, with the mend.
pub(super) fn account(
    account: Option<Account>,
    run_as: &RunAs,
    files: &Files,
    footing: Footing,
) -> Result<Option<Account>, String> {
    if footing == Footing::Root {
        return Ok(account);
    }
    if files.root != Root::Host {
        return Err("root: an ordinary user can't lay changes over a root filesystem; leave it out, or serve as root".into());
    }
    let names = [run_as.user.as_ref(), run_as.group.as_ref()];
    let is_hosts =
        |named: &policy::Account| matches!(named, policy::Account::Name(name) if name != "sandbox");
    if names.into_iter().flatten().any(is_hosts) {
        return Err("process: an ordinary user can't become one of the host's; write `sandbox`, or the number of an id in the user's range".into());
    }
    match (footing, account) {
        (Footing::OneId, Some(_)) => {
            Err("process: there is one id, for all; write `sandbox`".into())
        }
        (Footing::OneId, None) => Ok(Some(ONE)),
        (_, None) if files.home.keep.is_some() => Err(
            "home: keep: its files are one account's, and an ordinary user can't map ids; write the number of an id in the user's range as process.run_as_user".into(),
        ),
        (_, account) => Ok(account),
    }
}

/// With one id, what listens in the user's runtime directory (the service manager, the bus, agents) takes a session for
/// the user, and some of it runs programs for them. Who means one socket of these lists that.
pub(super) fn sockets(
    kind: &Kind,
    blueprint: &Blueprint,
    footing: Footing,
) -> Result<(), CheckError> {
    let runtime = Activation::from_environment().runtime;
    let Some(runtime) = runtime.filter(|_| footing == Footing::OneId) else {
        return Ok(());
    };
    let inner = real(&runtime);
    let holds = |path: &PathBuf| inner.starts_with(real(path));
    let listed = blueprint.paths.iter().map(|listed| &listed.path);
    let mut shown = listed.filter(|path| !is_private(path));
    match shown.find(|path| holds(path)) {
        Some(path) if !blueprint.denied.iter().any(holds) => Err(CheckError::Outside {
            kind: kind.clone(),
            key: "filesystem_policy",
            problem: format!(
                "{} has {} in it, and there is one id: what listens there takes sessions for you; list less, or `files: {{deny: [{1}]}}` in its sandbox",
                path.display(),
                runtime.display()
            ),
        }),
        _ => Ok(()),
    }
}

/// Without links on the way; as it is written where that can't be found out.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
