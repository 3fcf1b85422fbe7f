//! Which program holds a connection: the socket's inode, sought among the sandbox's own processes.
//!
//! This is attribution, not a boundary: a program can borrow another's name (ptrace and its kin are
//! shut but where the operator opens them, exec after connect is not). See docs/threat-model.md.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::Pid;

use crate::model::{Identity, Peer, SessionId};

/// A sandbox that holds more is not searched further; its connection then has no known owner.
const MOST_PROCESSES: usize = 1024;
const MOST_DESCRIPTORS: usize = 8192;

/// What the path of a running program says (/proc/PID/exe).
#[derive(Debug)]
pub(super) enum Names {
    /// What is there in the sandbox: nobody can mount, so there is one tree for all.
    True,
    /// What somebody calls it, who may have mounted anything anywhere in a namespace of their own. It counts where
    /// this root of the sandbox's has the very file under that name.
    Checked(OwnedFd),
}

/// How one looks at a sandbox's processes.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) init: Pid,
    pub(super) names: &'a Names,
}

/// How far up ancestors are followed.
const MOST_ANCESTORS: usize = 64;

/// The bytes of all paths of one answer. Programs choose theirs, up to 4 KiB each: so long a message the kernel may have no
/// room for (unix(7), ENOBUFS), and all others would wait behind it.
const MOST_BYTES: usize = 32 * 1024;

/// Names the program among `members` that holds socket `inode`. Several programs holding it at once
/// are no single owner: a denied one could hide behind an allowed one. But those that descend from one
/// holder are allowed wherever that one is, by the rule about ancestors, so it may stand for them
/// (git's helpers for http fork with libcurl's connections open). `session` has the cgroup in which
/// the socket was made; a program that got it from there is another session's, or nobody's.
pub(super) fn find(
    inode: u32,
    members: &[Pid],
    view: View<'_>,
    session: Option<(SessionId, &str)>,
) -> Peer {
    match holders(inode, members, view.names) {
        Ok(holders) => {
            let all_in = |group: &str| holders.iter().all(|(pid, _)| is_in(*pid, group));
            let session = session.filter(|(_, group)| all_in(group));
            name(&holders, view, session.map(|(id, _)| id))
        }
        Err(reason) => Peer::Unknown(reason),
    }
}

/// Whether a process is in the cgroup of this name below the daemon's (cgroups(7), /proc/PID/cgroup).
fn is_in(pid: Pid, group: &str) -> bool {
    let membership = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    membership
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .and_then(|path| path.strip_suffix(group))
        .is_some_and(|daemons| daemons.ends_with('/'))
}

fn name(holders: &[(Pid, PathBuf)], view: View<'_>, session: Option<SessionId>) -> Peer {
    let Some((_, first)) = holders.first() else {
        return Peer::Unknown("no process of the sandbox holds the connection".into());
    };
    let stands_for_all = |(pid, binary): &&(Pid, PathBuf)| {
        let stands_for = |(other, theirs): &(Pid, PathBuf)| {
            theirs == binary || descends(*other, *pid, view.init)
        };
        holders.iter().all(stands_for)
    };
    let Some((pid, binary)) = holders.iter().find(stands_for_all) else {
        let other = holders.iter().map(|(_, other)| other);
        let other = other.rev().find(|other| *other != first);
        return Peer::Unknown(format!(
            "both {} and {} hold the connection",
            first.display(),
            other.unwrap_or(first).display()
        ));
    };
    let ancestors = ancestors(*pid, view);
    let paths = ancestors.iter().chain([binary]);
    if paths.map(|path| path.as_os_str().len()).sum::<usize>() > MOST_BYTES {
        return Peer::Unknown(format!(
            "the paths of the program and its ancestors take more than {MOST_BYTES} bytes"
        ));
    }
    Peer::Known(Identity {
        session,
        pid: pid.as_raw_pid().cast_unsigned(),
        binary: binary.clone(),
        ancestors,
    })
}

fn holders(inode: u32, members: &[Pid], names: &Names) -> Result<Vec<(Pid, PathBuf)>, String> {
    if members.len() > MOST_PROCESSES {
        return Err(format!(
            "the sandbox holds more than {MOST_PROCESSES} processes"
        ));
    }
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    let mut budget = MOST_DESCRIPTORS;
    let mut holders = Vec::new();
    for &pid in members {
        if holds(pid, &wanted, &mut budget)? {
            match executable(pid, names) {
                Ok(binary) => holders.push((pid, binary)),
                Err(Unnamed::Forged(path)) => {
                    return Err(format!("{} is another file in the sandbox", path.display()));
                }
                // A process that ends meanwhile holds nothing any more.
                Err(Unnamed::Gone) => {}
            }
        }
    }
    Ok(holders)
}

/// Looks through one process. Its threads share one table (the sessions' filter lets them have no other),
/// but the first thread's view of it is gone when that has ended before the others.
fn holds(pid: Pid, wanted: &Path, budget: &mut usize) -> Result<bool, String> {
    let own = Path::new("/proc").join(pid.to_string());
    if let Some(found) = search(&own.join("fd"), wanted, budget)? {
        return Ok(found);
    }
    let threads = std::fs::read_dir(own.join("task"));
    for thread in threads.into_iter().flatten().flatten() {
        // A look costs whether or not there is anything to see.
        spend(budget)?;
        if let Some(found) = search(&thread.path().join("fd"), wanted, budget)? {
            return Ok(found);
        }
    }
    Ok(false)
}

/// `None` where there is nothing to look through: the process has ended, or its first thread has.
fn search(directory: &Path, wanted: &Path, budget: &mut usize) -> Result<Option<bool>, String> {
    let mut looked = None;
    let descriptors = std::fs::read_dir(directory);
    for descriptor in descriptors.into_iter().flatten().flatten() {
        spend(budget)?;
        if std::fs::read_link(descriptor.path()).is_ok_and(|target| target == wanted) {
            return Ok(Some(true));
        }
        looked = Some(false);
    }
    Ok(looked)
}

fn spend(budget: &mut usize) -> Result<(), String> {
    *budget = budget.checked_sub(1).ok_or_else(|| {
        format!("the sandbox holds more than {MOST_DESCRIPTORS} descriptors and threads")
    })?;
    Ok(())
}

/// Why a process has no name.
#[derive(Debug)]
enum Unnamed {
    Gone,
    /// It is called so somewhere, and not in the sandbox.
    Forged(PathBuf),
}

/// The path as the sandbox sees it: its mounts hang below no other root.
fn executable(pid: Pid, names: &Names) -> Result<PathBuf, Unnamed> {
    let running = format!("/proc/{pid}/exe");
    let Names::Checked(root) = names else {
        return std::fs::read_link(running).map_err(|_| Unnamed::Gone);
    };
    // One look at the process gives both the file and what it is called.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let open = rustix::fs::open(running, flags, Mode::empty());
    let running = open.map_err(|_| Unnamed::Gone)?;
    let path = std::fs::read_link(format!("/proc/self/fd/{}", running.as_raw_fd()));
    let path = path.map_err(|_| Unnamed::Gone)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let there = rustix::fs::openat2(root, &path, flags, Mode::empty(), resolve);
    let file = |file: OwnedFd| rustix::fs::fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
    match (there.and_then(file), file(running)) {
        (Ok(there), Ok(running)) if there == running => Ok(path),
        _ => Err(Unnamed::Forged(path)),
    }
}

/// Executables of parents inside the sandbox, nearest first.
fn ancestors(pid: Pid, View { init, names }: View<'_>) -> Vec<PathBuf> {
    let inside = namespace(init);
    let mut chain = Vec::new();
    let mut current = pid;
    while chain.len() < MOST_ANCESTORS {
        match parent(current) {
            Some(up) if up != init && inside.is_some() && namespace(up) == inside => {
                match executable(up, names) {
                    Ok(path) => chain.push(path),
                    Err(_) => break,
                }
                current = up;
            }
            _ => break,
        }
    }
    chain
}

/// Whether `pid` comes from `ancestor` by processes that are all still there.
fn descends(pid: Pid, ancestor: Pid, init: Pid) -> bool {
    let up = std::iter::successors(Some(pid), |&pid| parent(pid).filter(|&up| up != init));
    up.skip(1).take(MOST_ANCESTORS).any(|up| up == ancestor)
}

fn namespace(pid: Pid) -> Option<u64> {
    rustix::fs::stat(Path::new("/proc").join(pid.to_string()).join("ns/pid"))
        .ok()
        .map(|stat| stat.st_ino)
}

/// Field 4 of /proc/PID/stat (proc_pid_stat(5)), behind a name that may hold anything.
fn parent(pid: Pid) -> Option<Pid> {
    stat_field(pid, 4)?.parse().ok().and_then(Pid::from_raw)
}

/// The process group, field 5.
pub(super) fn process_group(pid: Pid) -> Option<Pid> {
    stat_field(pid, 5)?.parse().ok().and_then(Pid::from_raw)
}

/// The terminal's foreground process group, field 8, in this pid namespace's numbers; `None` without a terminal.
pub(super) fn foreground_group(pid: Pid) -> Option<Pid> {
    stat_field(pid, 8)?
        .parse()
        .ok()
        .filter(|&group: &i32| group > 0)
        .and_then(Pid::from_raw)
}

fn stat_field(pid: Pid, number: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace()
        .nth(number.checked_sub(3)?)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(init: Pid) -> View<'static> {
        View {
            init,
            names: &Names::True,
        }
    }

    #[test]
    fn the_holder_of_a_socket_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = rustix::fs::fstat(&listener).unwrap().st_ino;
        let own = rustix::process::getpid();
        let found = holders(u32::try_from(inode).unwrap(), &[own], &Names::True).unwrap();
        assert_eq!(found, [(own, std::env::current_exe().unwrap())]);
        drop(listener);
        assert!(
            holders(u32::try_from(inode).unwrap(), &[own], &Names::True)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_holder_stands_for_its_descendants() {
        let own = rustix::process::getpid();
        let up = rustix::process::getppid().unwrap();
        let init = Pid::INIT;
        let both = [
            (own, PathBuf::from("/usr/bin/child")),
            (up, PathBuf::from("/usr/bin/parent")),
        ];
        assert!(
            matches!(name(&both, view(init), None), Peer::Known(found) if found.binary == Path::new("/usr/bin/parent"))
        );
    }

    #[test]
    fn two_programs_on_one_connection_are_no_owner() {
        let own = rustix::process::getpid();
        let both = [
            (own, PathBuf::from("/usr/bin/curl")),
            (own, PathBuf::from("/tmp/evil")),
        ];
        assert!(
            matches!(name(&both, view(own), None), Peer::Unknown(reason) if reason.contains("/tmp/evil"))
        );
    }
}
