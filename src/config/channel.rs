//! What a channel is for, and how long one may carry nothing: ChannelTimeout of sshd_config(5).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::manners::{Timeouts, seconds_or_never};
use crate::yaml::Fault;

/// What a channel is for. A session is what the client asked for, whatever a forced command makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// A login shell (sshd's `session:shell`).
    Shell,
    /// A command (`session:command`).
    Command,
    /// Files (`session:subsystem:sftp`).
    Sftp,
    /// `ssh -L`, `-D` or `-W` to a port.
    DirectTcpip,
    /// The same to a UNIX socket (`direct-streamlocal@openssh.com`).
    DirectStreamlocal,
    /// `ssh -R` of a port.
    ForwardedTcpip,
    /// The same of a UNIX socket (`forwarded-streamlocal@openssh.com`).
    ForwardedStreamlocal,
    /// A connection to the client's agent (`agent-connection`).
    Agent,
}

/// The kinds that have a time of their own in the file, in seconds.
pub(super) type ChannelsFile = BTreeMap<ChannelKind, Spanned<u64>>;

pub(super) fn check(file: &ChannelsFile) -> Result<BTreeMap<ChannelKind, Option<Duration>>, Fault> {
    let times = file
        .iter()
        .map(|(kind, time)| Ok((*kind, seconds_or_never(time)?)));
    times.collect()
}

impl Timeouts {
    /// How long a channel of this kind may carry nothing: its own time, or that of all.
    pub fn of(&self, kind: ChannelKind) -> Option<Duration> {
        self.channels.get(&kind).copied().unwrap_or(self.idle)
    }
}
