//! Takes hold of a sandbox whose root is made and in which nothing of a user's has run yet.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::Pid;

use super::Context;
use crate::config::Allow;
use crate::model::{Kind, SandboxId};
use crate::sandbox::confine::Entrance;
use crate::sandbox::identity::Names;
use crate::sandbox::landlock::Rulesets;
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

/// Takes hold of a sandbox of this kind, by its init and the namespace that it was given; with its proxy's listener.
pub(super) fn take_hold(
    context: &Context,
    id: SandboxId,
    kind: &Kind,
    (init, given): (&Child, Option<&Given>),
) -> Result<(Made, OwnedFd), String> {
    let blueprint = context
        .charter
        .blueprints
        .get(kind)
        .ok_or("no such kind of sandbox is configured")?;
    let Child { pid, pidfd } = init;
    let hold = || -> io::Result<_> {
        let entrance = Entrance::of(*pid, pidfd.try_clone()?)?;
        let (network, listener) = Network::prepare(
            &context.own_network,
            open_of(*pid, "ns/net", OFlags::RDONLY)?,
            given,
        )?;
        let root = open_of(*pid, "root", OFlags::PATH)?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let terminals = rustix::fs::openat2(
            &root,
            "dev/pts",
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )?;
        Ok((entrance, network, listener, root, terminals))
    };
    let (entrance, network, listener, root, terminals) =
        hold().map_err(|e| format!("cannot take hold of sandbox {id}: {e}"))?;
    let rulesets = Rulesets::create(context.charter.kernel, &root, blueprint);
    let rulesets = rulesets.map_err(|e| e.to_string())?;
    Ok((
        Made {
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
        },
        listener.into(),
    ))
}

fn open_of(pid: Pid, what: &str, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        format!("/proc/{pid}/{what}"),
        flags | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}
