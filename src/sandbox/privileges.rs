//! Dropping privileges for good, and proving it.

use std::io;

pub(super) use rustix::process::Rlimit;
use rustix::process::{DumpableBehavior, Gid, Resource, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::blueprint::Account;
use super::footing::Footing;

/// Why privileges could not be dropped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivilegeError {
    /// A step failed.
    #[error("{step}: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The drop was answered with success and yet something is left.
    #[error("privileges are not gone: {0}")]
    Left(&'static str),
}

fn step<T>(
    step: &'static str,
    result: Result<T, impl Into<io::Error>>,
) -> Result<T, PrivilegeError> {
    result.map_err(|source| PrivilegeError::Step {
        step,
        source: source.into(),
    })
}

/// Proof that this process has the ids of `account`, no capability, no way to get one back.
#[derive(Debug)]
pub(crate) struct Dropped(());

/// Becomes `account` and checks that root can't be regained (credentials(7), capabilities(7)).
pub(crate) fn drop_to(account: Account, footing: Footing) -> Result<Dropped, PrivilegeError> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    if uid.is_root() || gid.is_root() {
        return Err(PrivilegeError::Left("the target is root"));
    }
    empty_bounding_set()?;
    step(
        "clear ambient capabilities",
        rustix::thread::clear_ambient_capability_set(),
    )?;
    if footing != Footing::OneId {
        step("setgroups", rustix::thread::set_thread_groups(&[]))?;
    }
    step(
        "setresgid",
        rustix::thread::set_thread_res_gid(gid, gid, gid),
    )?;
    step(
        "setresuid",
        rustix::thread::set_thread_res_uid(uid, uid, uid),
    )?;
    step(
        "clear capabilities",
        rustix::thread::set_capabilities(None, NO_CAPABILITIES),
    )?;
    step("set no_new_privs", rustix::thread::set_no_new_privs(true))?;
    verify(account, footing)
}

/// Keeps the ids and gives up every capability: for a sandbox's init, which only reaps.
pub(crate) fn drop_capabilities() -> Result<(), PrivilegeError> {
    empty_bounding_set()?;
    step(
        "clear ambient capabilities",
        rustix::thread::clear_ambient_capability_set(),
    )?;
    step(
        "clear capabilities",
        rustix::thread::set_capabilities(None, NO_CAPABILITIES),
    )?;
    step("set no_new_privs", rustix::thread::set_no_new_privs(true))
}

const NO_CAPABILITIES: CapabilitySets = CapabilitySets {
    effective: CapabilitySet::empty(),
    permitted: CapabilitySet::empty(),
    inheritable: CapabilitySet::empty(),
};

/// `CAP_CHECKPOINT_RESTORE`: every kernel that serves, from 5.15 on, knows all up to it (capabilities(7)).
const LAST_CERTAIN: u32 = 40;

/// The kernel may know capabilities that this program does not: every number it answers for goes.
fn empty_bounding_set() -> Result<(), PrivilegeError> {
    for capability in bounding_set()? {
        step(
            "drop from bounding set",
            rustix::thread::remove_capability_from_bounding_set(capability),
        )?;
    }
    Ok(())
}

/// What is in the bounding set. A number past the kernel's last is an error of its own; one that it has
/// to know is a failure, or a call that fails once would leave all the rest.
pub(super) fn bounding_set() -> Result<Vec<CapabilitySet>, PrivilegeError> {
    let mut there = Vec::new();
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) => there.push(capability),
            Ok(false) => {}
            Err(rustix::io::Errno::INVAL) if number > LAST_CERTAIN => break,
            Err(e) => return step("read bounding set", Err(e)),
        }
    }
    Ok(there)
}

/// Reads back what the kernel holds and tries to become root again.
fn verify(account: Account, footing: Footing) -> Result<Dropped, PrivilegeError> {
    let left = |what| Err(PrivilegeError::Left(what));
    let uids = step("getresuid", nix::unistd::getresuid())?;
    let gids = step("getresgid", nix::unistd::getresgid())?;
    if [uids.real, uids.effective, uids.saved]
        .iter()
        .any(|uid| uid.as_raw() != account.uid)
    {
        return left("a user id is another");
    }
    if [gids.real, gids.effective, gids.saved]
        .iter()
        .any(|gid| gid.as_raw() != account.gid)
    {
        return left("a group id is another");
    }
    // Where only one id is mapped the kernel lets nobody drop groups (user_namespaces(7), setgroups).
    if footing != Footing::OneId && !step("getgroups", rustix::process::getgroups())?.is_empty() {
        return left("a supplementary group");
    }
    if step("read capabilities", rustix::thread::capabilities(None))? != NO_CAPABILITIES {
        return left("a capability");
    }
    if !bounding_set()?.is_empty() {
        return left("a capability in the bounding set");
    }
    if !step("read no_new_privs", rustix::thread::no_new_privs())? {
        return left("no_new_privs is off");
    }
    if rustix::thread::set_thread_uid(Uid::ROOT).is_ok()
        || rustix::thread::set_thread_gid(Gid::ROOT).is_ok()
    {
        return left("root can be regained");
    }
    Ok(Dropped(()))
}

/// Raises the bound on open files to what the hard limit allows, for a process that holds many for
/// others; returns the bound that others should have.
pub(crate) fn raise_open_files() -> Result<Rlimit, PrivilegeError> {
    let given = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: given.maximum,
        maximum: given.maximum,
    };
    step(
        "raise open files",
        rustix::process::setrlimit(Resource::Nofile, raised),
    )?;
    Ok(given)
}

/// Gives a session the bound on open files that the daemon was started with.
pub(super) fn limit_open_files(limit: Rlimit) -> Result<(), PrivilegeError> {
    step(
        "limit open files",
        rustix::process::setrlimit(Resource::Nofile, limit),
    )
}

/// Nobody of this account may trace this process or read its memory, and no core dump is made, piped ones
/// included, which RLIMIT_CORE does not bound (core(5)). A change of ids undoes it: prctl(2), PR_SET_DUMPABLE.
pub(crate) fn hide_memory() -> Result<(), PrivilegeError> {
    step(
        "make memory unreadable",
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable),
    )
}

/// No core dumps: they would carry a session's memory, or the gate's, to disk.
pub(crate) fn forbid_core_dumps() -> Result<(), PrivilegeError> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    step(
        "limit core files",
        rustix::process::setrlimit(Resource::Core, none),
    )
}
