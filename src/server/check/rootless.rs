//! What a login may ask for where an ordinary user serves.

use crate::config::{Extent, Files, Root};
use crate::policy::{self, RunAs};
use crate::sandbox::{Account, Footing};
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
    let keep = files.home.keep.as_ref();
    if keep.is_some_and(|keep| keep.extent != Extent::Unlimited) {
        return Err("home: keep: an ordinary user can't mount what would bound it; write `size: unlimited`, which leaves it to the host's quotas, or serve as root".into());
    }
    match (footing, account) {
        (Footing::OneId, Some(_)) => {
            Err("process: there is one id, for all; write `sandbox`".into())
        }
        (Footing::OneId, None) => Ok(Some(ONE)),
        (_, None) if keep.is_some() => Err(
            "home: keep: its files are one account's, and an ordinary user can't map ids; write the number of an id in the user's range as process.run_as_user".into(),
        ),
        (_, account) => Ok(account),
    }
}
