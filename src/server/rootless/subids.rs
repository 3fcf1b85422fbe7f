//! The ids that a host gives its users (subuid(5)), and the programs that map them (newuidmap(1)).

use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::path::Path;

use rustix::process::{Pid, WaitId, WaitIdOptions};

use crate::sys::clone::{SingleThreaded, exit_now, fork};

pub(super) const NEWUIDMAP: &str = "/usr/bin/newuidmap";
pub(super) const NEWGIDMAP: &str = "/usr/bin/newgidmap";

/// The exit status of `map` where newuidmap was content.
pub(super) const GIDS_FAILED: i32 = 2;

/// A range with fewer is none.
pub(super) const FEWEST: u32 = 64;

/// What a user has beside their own id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ids {
    Range { uids: Range, gids: Range },
    One { why: String },
}

/// Ids of the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) count: u32,
}

/// Those of whoever runs this.
pub(super) fn find() -> io::Result<Ids> {
    for program in [NEWUIDMAP, NEWGIDMAP] {
        if !Path::new(program).exists() {
            let why = format!("this host has no {program}");
            return Ok(Ids::One { why });
        }
    }
    let uid = nix::unistd::getuid();
    let user = nix::unistd::User::from_uid(uid)?.map(|user| user.name);
    let (Some(uids), Some(gids)) = (
        range("/etc/subuid", user.as_deref(), uid.as_raw())?,
        range("/etc/subgid", user.as_deref(), uid.as_raw())?,
    ) else {
        let why = format!(
            "/etc/subuid and /etc/subgid have no {FEWEST} ids for {}",
            user.unwrap_or_else(|| format!("uid {uid}"))
        );
        return Ok(Ids::One { why });
    };
    Ok(Ids::Range { uids, gids })
}

fn range(path: &str, user: Option<&str>, uid: u32) -> io::Result<Option<Range>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(parse(&text, user, uid)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{path}: {error}"))),
    }
}

/// `alice:100000:65536`, or with her number: the first that is large enough.
fn parse(text: &str, user: Option<&str>, uid: u32) -> Option<Range> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let first = fields.next()?.parse().ok()?;
            let count = fields.next()?.parse().ok()?;
            (Some(owner) == user || owner == number).then_some(Range { first, count })
        })
        .find(|range| range.count >= FEWEST)
}

/// Maps, inside, 0 to the user and what follows to the range; the exit status of who does.
pub(super) fn map(target: Pid, uids: Range, gids: Range) -> i32 {
    let count = uids.count.min(gids.count);
    let own = rustix::process::getuid().as_raw();
    if !run(NEWUIDMAP, target, own, uids.first, count) {
        return 1;
    }
    let own = rustix::process::getgid().as_raw();
    if run(NEWGIDMAP, target, own, gids.first, count) {
        0
    } else {
        GIDS_FAILED
    }
}

fn run(program: &str, target: Pid, own: u32, first: u32, count: u32) -> bool {
    let arguments = format!("{program} {target} 0 {own} 1 1 {first} {count}");
    let arguments: Result<Vec<CString>, _> = arguments.split(' ').map(CString::new).collect();
    let ran = || -> io::Result<bool> {
        let arguments = arguments?;
        let child = fork(&SingleThreaded::prove()?, 0, None, || execute(&arguments))?;
        let ended = rustix::process::waitid(WaitId::Pid(child.pid), WaitIdOptions::EXITED)?;
        Ok(ended.and_then(|status| status.exit_status()) == Some(0))
    };
    ran().unwrap_or_else(|error| {
        eprintln!("sandgate: {program}: {error}");
        false
    })
}

fn execute(arguments: &[CString]) -> Infallible {
    let nothing: [CString; 0] = [];
    if let Some(program) = arguments.first()
        && let Err(error) = nix::unistd::execve(program, arguments, &nothing)
    {
        eprintln!("sandgate: {}: {error}", program.to_string_lossy());
    }
    exit_now(127)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_range_is_found_by_name_or_number() {
        let text = "root:1:65536\nalice:5:10\nalice:100000:65536\n4242:300000:70\nbroken\n";
        let of = |user, uid| parse(text, user, uid).map(|range| (range.first, range.count));
        assert_eq!(of(Some("alice"), 1), Some((100_000, 65_536)));
        assert_eq!(of(None, 4242), Some((300_000, 70)));
        assert_eq!(of(Some("bob"), 2), None);
    }
}
