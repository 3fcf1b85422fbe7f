//! Serving as an ordinary user: root of a user namespace, with the ids that the host gave the user.

use std::io;
use std::net::SocketAddr;

use nix::sched::{CloneFlags, unshare};
use rustix::process::{Gid, Uid, WaitId, WaitIdOptions};

use super::launch::signpost;
use crate::config::{Activation, Config, Gap, Network, Provider, Source, Uids};
use crate::sandbox::{Account, Footing, is_delegated};
use crate::sys::clone::{SingleThreaded, exit_now, fork, fork_with};

mod subids;

use subids::Ids;

/// Keys for some hundreds of sandboxes and sessions.
const ENOUGH_KEYS: u32 = 2000;

/// The one id that there is, as it is called inside.
pub(super) const ONE: Account = Account {
    uid: 1000,
    gid: 1000,
};

/// Why an ordinary user can't serve here, and the mend.
#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    /// The host gives users no namespaces.
    #[error("this host lets users make no user namespace ({source}): {mend}, or serve as root")]
    Namespaces {
        /// The kernel's answer.
        source: io::Error,
        /// What would let them.
        mend: &'static str,
    },
    /// There is one id for everything.
    #[error(
        "{why}; without subordinate ids the gate and all sandboxes have your own: give ids by `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER` and install newuidmap (package uidmap), or accept that by `{consent}`"
    )]
    OneId {
        /// Why there are no others.
        why: String,
        /// What to write or type.
        consent: String,
    },
    /// A port that is kept for root.
    #[error(
        "{0}: ports below {1} are root's; listen on a higher one, or lower the sysctl net.ipv4.ip_unprivileged_port_start"
    )]
    Port(SocketAddr, u16),
    /// No cgroup of the user's own.
    #[error(
        "your cgroup is not yours to divide, and sandboxes are made and ended by theirs: start it by `systemd-run --user --scope -p Delegate=yes {0}`"
    )]
    Cgroup(String),
    /// There is no place for the socket.
    #[error(
        "XDG_RUNTIME_DIR is not set: name a place for the socket of `sandgate sandboxes` by `admin`"
    )]
    Runtime,
    /// Something that takes root.
    #[error(
        "login {0}: authorized_keys_command runs as another user, which takes root; leave it out"
    )]
    KeysCommand(crate::model::LoginName),
    /// The same of a secret.
    #[error(
        "providers.{0}: its command runs as another user, which takes root; have it write a file and name that"
    )]
    SecretCommand(crate::model::ProviderName),
    /// What has only been made to work with root's daemon.
    #[error("login {0}: {1} takes a daemon of root's; leave it out, or serve as root")]
    RootsOnly(crate::model::Kind, &'static str),
    /// The ids could not be mapped.
    #[error(
        "{0} did not map your ids (it has said why); it must be set-user-ID root, and this process may not have NoNewPrivileges"
    )]
    Map(&'static str),
    /// Something else.
    #[error("{step}: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

fn step<T>(
    step: &'static str,
    result: Result<T, impl Into<io::Error>>,
) -> Result<T, RootlessError> {
    result.map_err(|source| RootlessError::Step {
        step,
        source: source.into(),
    })
}

/// An ordinary user who may serve.
#[derive(Debug)]
pub(super) struct Rootless {
    ids: Ids,
}

impl Rootless {
    /// Looks whether everything is there; changes nothing.
    pub(super) fn survey(config: &Config, activation: &Activation) -> Result<Self, RootlessError> {
        try_namespaces()?;
        let ids = step("look up your ids", subids::find())?;
        if let Ids::One { why } = &ids
            && !config.accept_weaker.has(Gap::OneUid)
        {
            return Err(RootlessError::OneId {
                why: why.clone(),
                consent: config.consent(&[Gap::OneUid]),
            });
        }
        let first = first_port();
        let low = |address: &&SocketAddr| address.port() != 0 && address.port() < first;
        if activation.sockets == 0
            && let Some(address) = config.listen.iter().find(low)
        {
            return Err(RootlessError::Port(*address, first));
        }
        if config.admin.is_none() && activation.runtime.is_none() {
            return Err(RootlessError::Runtime);
        }
        let runs_keys = |login: &crate::config::Login| login.authorized_keys_command.is_some();
        if let Some((name, _)) = config.logins.iter().find(|(_, login)| runs_keys(login)) {
            return Err(RootlessError::KeysCommand(name.clone()));
        }
        let has_command = |provider: &Provider| {
            let mut sources = provider.secrets.values();
            sources.any(|source| matches!(source, Source::Command(_)))
        };
        let mut providers = config.providers.iter();
        if let Some((name, _)) = providers.find(|(_, provider)| has_command(provider)) {
            return Err(RootlessError::SecretCommand(name.clone()));
        }
        for (kind, login) in config.kinds() {
            if login.sandbox.network != Network::Own {
                return Err(RootlessError::RootsOnly(kind, "network.namespace"));
            }
            if login.sandbox.allow.user_namespaces {
                return Err(RootlessError::RootsOnly(kind, "allow.user_namespaces"));
            }
        }
        if !step("look at cgroups", is_delegated())? {
            return Err(RootlessError::Cgroup(config.command()));
        }
        Ok(Self { ids })
    }

    /// What follows for the rest.
    pub(super) fn footing(&self) -> Footing {
        match self.ids {
            Ids::Range { .. } => Footing::Subordinate,
            Ids::One { .. } => Footing::OneId,
        }
    }

    /// What is weaker than with root, for people.
    pub(super) fn weaker(&self) -> Vec<String> {
        let mut weaker = vec![
            "monitor and supervisor are the user's: who leaves a sandbox for one of them is the user, whose files and programs have no other wall".to_owned(),
            "bounds of memory and processors are held only by controllers of cgroup v2 that the user was given; those of version 1 are not used".to_owned(),
        ];
        weaker.extend(few_keys());
        if let Ids::One { why } = &self.ids {
            weaker.push(format!("one id for all ({why}): gate, monitor and sandboxes are the user to the kernel, and sandboxes may what the user may in every listed path; namespaces, Landlock and seccomp alone keep them apart"));
            weaker.push("sessions keep the user's supplementary groups, which the kernel lets nobody drop here".to_owned());
        }
        weaker
    }

    /// The configuration with the ids that there are.
    pub(super) fn settle(&self, mut config: Config) -> Config {
        if config.uids != Uids::default() {
            tracing::warn!("rootless: `uids` is not used: ids come from the user's range");
        }
        config.uids = match &self.ids {
            Ids::Range { uids, gids } => inside(uids.count.min(gids.count)),
            Ids::One { .. } => Uids {
                gate: ONE.uid,
                first: ONE.uid,
                count: 1,
            },
        };
        config
    }

    /// Makes this process root of a user namespace, in a mount and a cgroup namespace that belong to it; with one
    /// id it is that, with root's capabilities there.
    pub(super) fn enter(&self) -> Result<(), RootlessError> {
        let one_thread = step("start", SingleThreaded::prove())?;
        match &self.ids {
            Ids::Range { uids, gids } => {
                let (made, say_made) = step("pipe", signpost())?;
                let target = rustix::process::getpid();
                let ends = (made, say_made);
                // newuidmap(1) writes from outside of the namespace.
                let forked = fork_with(&one_thread, 0, ends, |(made, say_made)| {
                    drop(say_made);
                    // Ends when the namespace is there, or its maker.
                    let waited =
                        rustix::io::retry_on_intr(|| rustix::io::read(&made, &mut [0_u8; 1]));
                    exit_now(match waited {
                        Ok(1) => subids::map(target, *uids, *gids),
                        _ => 1,
                    })
                });
                let (helper, (made, say_made)) = step("fork", forked)?;
                drop(made);
                separate()?;
                step("pipe", super::launch::say(&say_made))?;
                let waited =
                    rustix::process::waitid(WaitId::Pid(helper.pid), WaitIdOptions::EXITED);
                let status = step("wait", waited)?.and_then(|status| status.exit_status());
                match status {
                    Some(0) => {}
                    Some(subids::GIDS_FAILED) => return Err(RootlessError::Map(subids::NEWGIDMAP)),
                    _ => return Err(RootlessError::Map(subids::NEWUIDMAP)),
                }
                step("setgroups", rustix::thread::set_thread_groups(&[]))?;
                step("become root inside", become_root())
            }
            Ids::One { .. } => {
                let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
                separate()?;
                let map = |file, inner: u32, outer: u32| {
                    std::fs::write(file, format!("{inner} {outer} 1"))
                };
                // user_namespaces(7): before gid_map, by whoever may not set groups outside.
                step("setgroups", std::fs::write("/proc/self/setgroups", "deny"))?;
                step(
                    "map your uid",
                    map("/proc/self/uid_map", ONE.uid, uid.as_raw()),
                )?;
                step(
                    "map your gid",
                    map("/proc/self/gid_map", ONE.gid, gid.as_raw()),
                )
            }
        }
    }
}

fn become_root() -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Ids inside, of a range whose first is 1: the sandboxes have the last, before them comes the gate's. Those
/// before are for `run_as_user`.
fn inside(range: u32) -> Uids {
    let count = (range / 2).min(Uids::default().count);
    Uids {
        gate: range - count,
        first: range - count + 1,
        count,
    }
}

/// The user namespace first: where its maker gets no capabilities (AppArmor), the second call fails.
fn separate() -> Result<(), RootlessError> {
    unshare(CloneFlags::CLONE_NEWUSER)
        .and_then(|()| unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP))
        .map_err(|errno| forbidden(errno as i32))
}

/// The same in a child, which tells by its exit status.
fn try_namespaces() -> Result<(), RootlessError> {
    let one_thread = step("start", SingleThreaded::prove())?;
    let child = fork(&one_thread, 0, None, || {
        let made = unshare(CloneFlags::CLONE_NEWUSER)
            .and_then(|()| unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP));
        exit_now(made.err().map_or(0, |errno| errno as i32))
    });
    let child = step("fork", child)?;
    let waited = rustix::process::waitid(WaitId::Pid(child.pid), WaitIdOptions::EXITED);
    match step("wait", waited)?.and_then(|status| status.exit_status()) {
        Some(0) => Ok(()),
        errno => Err(forbidden(errno.unwrap_or(libc::EPERM))),
    }
}

fn forbidden(errno: i32) -> RootlessError {
    let says = |path: &str, value: &str| {
        std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
    };
    let mend = if says("/proc/sys/user/max_user_namespaces", "0") {
        "sysctl user.max_user_namespaces=10000"
    } else if says("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "sysctl kernel.unprivileged_userns_clone=1"
    } else if says(
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
    ) {
        "give sandgate an AppArmor profile with `userns,`, or sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    } else {
        "leave the container, or the filter of system calls, that forbids it, or raise user.max_user_namespaces"
    };
    RootlessError::Namespaces {
        source: io::Error::from_raw_os_error(errno),
        mend,
    }
}

/// Keyrings of sandboxes and sessions are quickly more than a user may have (keyrings(7), /proc/sys/kernel/keys).
fn few_keys() -> Option<String> {
    let most = std::fs::read_to_string("/proc/sys/kernel/keys/maxkeys").ok()?;
    let most: u32 = most.trim().parse().ok()?;
    (most < ENOUGH_KEYS).then(|| {
        format!("each sandbox and each session has a keyring, and the user may have {most} keys in all, so that what comes beyond is refused; sysctl kernel.keys.maxkeys={ENOUGH_KEYS} kernel.keys.maxbytes=200000")
    })
}

/// The first port that is not root's (ip(7)).
fn first_port() -> u16 {
    let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    start
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024)
}

#[cfg(test)]
mod tests {
    use super::subids::FEWEST;
    use super::*;

    #[test]
    fn gate_and_sandboxes_have_the_end_of_the_range() {
        for range in [FEWEST, 65_536, 1 << 20] {
            let Uids { gate, first, count } = inside(range);
            assert_eq!(first + count, range + 1);
            assert_eq!(gate + 1, first);
            // Terminals have group 5.
            assert!(gate > 5 && count >= FEWEST / 2, "{range}");
        }
    }
}
