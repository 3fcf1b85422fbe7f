//! Sandboxes: the monitor that makes them, and the gate's side of its channel.

mod blueprint;
mod bounds;
mod bundle;
mod capabilities;
mod cgroup;
mod channel;
mod client;
mod confine;
mod environment;
mod errand;
mod files;
mod footing;
mod identity;
mod init;
mod keys_command;
mod landlock;
mod monitor;
mod mould;
mod network;
mod oom;
mod order;
mod privileges;
pub mod protocol;
mod pty;
mod rehearsal;
mod root;
mod seal;
mod seccomp;
mod secret_program;
mod surroundings;
mod trust;

pub(crate) use blueprint::is_private;
pub use blueprint::{
    Access, Account, Blueprint, HOME, Home, KeySources, Listed, PROXY, RootFilesystem,
};
pub use bounds::{Ceiling, Holder, Holders, ProcessLimits, Unholdable};
pub(crate) use bundle::{BundleListener, BundleTeller, bundle_line};
pub use capabilities::{
    CapabilityError, MONITOR, Missing, Needed, START, Wants, missing as missing_capabilities,
    needed as needed_capabilities,
};
pub(crate) use capabilities::{
    given_up, keep_bundlers, keep_keepers, keep_monitors, keep_supervisors,
    require as require_capabilities,
};
pub(crate) use cgroup::Tree;
pub use cgroup::{Controllers, Limits, Swap, Version, is_delegated};
pub(crate) use channel::Channel;
pub use client::{
    Attached, Lease, Lost, Monitor, PathError, Refusal, Renewal, Session, Stdio, Witness,
};
#[cfg(debug_assertions)]
pub use confine::ablation;
pub(crate) use files::SYNTHESIZED;
pub use footing::Footing;
pub(crate) use footing::settle_monitor;
pub use keys_command::KeysCommand;
pub(crate) use keys_command::examine as examine_program;
pub(crate) use landlock::enforce;
pub use landlock::{Kernel, LandlockError};
pub(crate) use monitor::{
    Charter, Lines, Occasion, Reload, Reloaded, open_keys, open_secrets, run as serve_as_monitor,
};
pub(crate) use network::Given;
pub(crate) use privileges::{
    PrivilegeError, drop_to, forbid_core_dumps, hide_memory, raise_open_files,
};
pub use protocol::{
    Exit, Family, KeyFiles, LONGEST_COMMAND, OfferedKey, Place, Program, SocketPath, Spawn,
    Terminal, WindowSize,
};
pub use pty::{Break, resize, send_break};
pub use rehearsal::RehearsalError;
pub(crate) use rehearsal::rehearse;
pub(crate) use root::{Claim, Growth, Source, Unkept, examine_kept, grow_kept, probe_volumes};
pub(crate) use seccomp::{Filter, MemoryFiles, SeccompError};
pub(crate) use secret_program::{Running as RunningSecret, SecretProgram};
pub(crate) use surroundings::cgroup_mend;
