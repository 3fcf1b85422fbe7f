//! What may be forwarded: sshd's switches, which are one pair for TCP and one for sockets, as the one pair
//! that is here.

use super::lexer::Line;
use super::settings::{Fault, Settings};
use super::values::{one, word};
use crate::config::Forwarding;
use crate::model::{Invalid, PermitList};

/// Connections to the sandbox, and from it to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ways {
    local: bool,
    remote: bool,
}

const NONE: Ways = Ways {
    local: false,
    remote: false,
};

/// What the switches leave. Without a word of AllowTcpForwarding nothing leads out of a sandbox, unlike
/// with sshd; of AllowStreamLocalForwarding, sockets are like ports.
pub(super) fn forwarding(settings: &Settings) -> Result<Forwarding, Fault> {
    if settings.first("DisableForwarding", flag)? {
        return Ok(Forwarding {
            local: false,
            remote: false,
            sockets: false,
            agent: false,
            ..Forwarding::default()
        });
    }
    let tcp = settings.first("AllowTcpForwarding", ways)?;
    let sockets = match settings.every("AllowStreamLocalForwarding").first() {
        None => true,
        Some(setting) => match ways(&setting.line).map_err(|problem| setting.fault(problem))? {
            NONE => false,
            same if same == tcp => true,
            _ => {
                let problem = "refused: sockets are forwarded as ports are; write what AllowTcpForwarding says \
                     (local, if nothing), or no";
                return Err(setting.fault(problem));
            }
        },
    };
    Ok(Forwarding {
        local: tcp.local,
        remote: tcp.remote,
        sockets,
        agent: settings.first("AllowAgentForwarding", flag)?,
        replace_sockets: settings.first("StreamLocalBindUnlink", flag)?,
        permit_open: settings.first("PermitOpen", |line| permits(line, PermitList::open))?,
        permit_listen: settings.first("PermitListen", |line| permits(line, PermitList::listen))?,
    })
}

pub(super) fn flag(line: &Line) -> Result<bool, String> {
    Ok(word(&["yes", "no"], one(line)?)? == "yes")
}

fn ways(line: &Line) -> Result<Ways, String> {
    let said = word(&["yes", "all", "local", "remote", "no"], one(line)?)?;
    let both = matches!(said, "yes" | "all");
    Ok(Ways {
        local: both || said == "local",
        remote: both || said == "remote",
    })
}

/// `any` is no list, `none` an empty one.
fn permits(
    line: &Line,
    add: impl Fn(&mut PermitList, &str) -> Result<(), Invalid>,
) -> Result<Option<PermitList>, String> {
    let mut list = PermitList::default();
    match line.arguments.as_slice() {
        [any] if any.eq_ignore_ascii_case("any") => return Ok(None),
        [none] if none.eq_ignore_ascii_case("none") => {}
        places => {
            for place in places {
                add(&mut list, place).map_err(|invalid| invalid.to_string())?;
            }
        }
    }
    Ok(Some(list))
}
