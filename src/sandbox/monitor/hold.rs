//! Takes hold of a sandbox whose root is made and in which nothing of a user's has run yet.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::Pid;

use super::Context;
use crate::config::Allow;
use crate::model::SandboxId;
use crate::sandbox::blueprint::Blueprint;
use crate::sandbox::confine::Entrance;
use crate::sandbox::identity::Names;
use crate::sandbox::landlock::{Prior, Rulesets};
use crate::sandbox::network::{Given, Network};
use crate::sys::clone::Child;

/// The monitor's handles.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) entrance: Entrance,
    pub(super) network: Network,
    pub(super) rulesets: Rulesets,
    /// What the rulesets were made for.
    pub(super) allow: Allow,
    /// The root of its devpts.
    pub(super) terminals: OwnedFd,
    /// What its programs' names are worth.
    pub(super) names: Names,
}

/// Takes hold of a sandbox, by its init and the namespace that it was given.
/// `prior` are the rules of the root that its own is a copy of.
pub(super) fn take_hold(
    context: &Context,
    id: SandboxId,
    blueprint: &Blueprint,
    (init, given): (&Child, Option<&Given>),
    prior: Option<Prior<'_>>,
) -> Result<Made, String> {
    let Child { pid, pidfd } = init;
    let hold = || -> io::Result<_> {
        let entrance = Entrance::of(*pid, pidfd.try_clone()?)?;
        let network = open_of(*pid, "ns/net", OFlags::RDONLY)?;
        let network = Network::of(&context.own_network, network, given)?;
        let root = open_of(*pid, "root", OFlags::PATH)?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let terminals = rustix::fs::openat2(
            &root,
            "dev/pts",
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )?;
        Ok((entrance, network, root, terminals))
    };
    let (entrance, network, root, terminals) =
        hold().map_err(|e| format!("cannot take hold of sandbox {id}: {e}"))?;
    let rulesets = Rulesets::create(context.charter.kernel, &root, blueprint, prior);
    let rulesets = rulesets.map_err(|e| e.to_string())?;
    Ok(Made {
        entrance,
        network,
        rulesets,
        allow: blueprint.allow,
        terminals,
        names: if blueprint.allow.user_namespaces {
            Names::Checked(root)
        } else {
            Names::True
        },
    })
}

fn open_of(pid: Pid, what: &str, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        format!("/proc/{pid}/{what}"),
        flags | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}
