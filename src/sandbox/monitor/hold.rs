//! Takes hold of a sandbox whose root is made and in which nothing of a user's has run yet.

use std::io;
use std::os::fd::OwnedFd;

use landlock::RulesetCreated;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::Pid;

use super::Context;
use crate::model::{LoginName, SandboxId};
use crate::sandbox::confine::Entrance;
use crate::sandbox::network::Network;
use crate::sys::clone::Child;

/// The monitor's handles.
pub(super) struct Made {
    pub(super) entrance: Entrance,
    pub(super) network: Network,
    pub(super) ruleset: RulesetCreated,
    pub(super) terminals: OwnedFd,
}

/// Takes hold of a sandbox of `login`, given its init; with its proxy's listener.
pub(super) fn take_hold(
    context: &Context,
    id: SandboxId,
    login: &LoginName,
    init: &Child,
) -> Result<(Made, OwnedFd), String> {
    let blueprint = context
        .charter
        .blueprints
        .get(login)
        .ok_or("no such login is configured")?;
    let Child { pid, pidfd } = init;
    let hold = || -> io::Result<_> {
        let entrance = Entrance::of(*pid, pidfd.try_clone()?)?;
        let (network, listener) = Network::prepare(
            &context.own_network,
            open_of(*pid, "ns/net", OFlags::RDONLY)?,
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
    let ruleset = context
        .charter
        .kernel
        .sandbox(&root, blueprint)
        .map_err(|e| e.to_string())?;
    Ok((
        Made {
            entrance,
            network,
            ruleset,
            terminals,
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
