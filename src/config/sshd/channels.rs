//! ChannelTimeout: times by patterns of what channels are for.

use super::lexer::Line;
use super::values::{matches, time};
use crate::config::{ChannelKind, Timeouts};

/// OpenSSH's names (sshd_config(5)). Other channels than these are refused in any case.
const KINDS: &[(&str, ChannelKind)] = &[
    ("session:shell", ChannelKind::Shell),
    ("session:command", ChannelKind::Command),
    ("session:subsystem:sftp", ChannelKind::Sftp),
    ("direct-tcpip", ChannelKind::DirectTcpip),
    (
        "direct-streamlocal@openssh.com",
        ChannelKind::DirectStreamlocal,
    ),
    ("forwarded-tcpip", ChannelKind::ForwardedTcpip),
    (
        "forwarded-streamlocal@openssh.com",
        ChannelKind::ForwardedStreamlocal,
    ),
    ("agent-connection", ChannelKind::Agent),
];

/// Fills in the time of each kind, which the first pattern that fits gives; `global` is that of all of a
/// connection's channels together.
pub(super) fn times(line: &Line, timeouts: &mut Timeouts) -> Result<(), String> {
    if matches!(line.arguments.as_slice(), [none] if none.eq_ignore_ascii_case("none")) {
        return Ok(());
    }
    let mut times = Vec::new();
    for word in &line.arguments {
        let (pattern, length) = word.split_once('=').ok_or_else(|| {
            format!("invalid channel timeout {word}; write one like session:*=10m, or none")
        })?;
        let limit = Some(time(length)?).filter(|limit| !limit.is_zero());
        if pattern == "global" {
            timeouts.all_idle = limit;
        } else {
            times.push((pattern, limit));
        }
    }
    for (name, kind) in KINDS {
        let own = times.iter().find(|(pattern, _)| matches(pattern, name));
        timeouts
            .channels
            .extend(own.map(|(_, limit)| (*kind, *limit)));
    }
    Ok(())
}
