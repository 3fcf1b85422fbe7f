//! What a container's engine, or a security module, has put around this process, and so what refuses it a call.

use std::io;

/// A call that failed.
pub(super) struct Attempt<'a> {
    /// Its name.
    pub(super) call: &'a str,
    /// Its errno(3); none if it ended the process.
    pub(super) errno: Option<i32>,
}

impl Attempt<'_> {
    /// Mounting procfs anew, which in a user namespace nobody may while a mount of its parent's covers a part of the
    /// one that is there (mount_namespaces(7), locked mounts).
    pub(super) const PROC: &'static str = "fsmount of a fresh /proc";
}

/// What is around this process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Surroundings {
    /// Whether somebody's seccomp filter is in force.
    pub(super) filtered: bool,
    /// The profile of a security module, such as AppArmor, that confines it.
    pub(super) profile: Option<String>,
    /// Whether this is not the first user namespace.
    pub(super) mapped: bool,
}

impl Surroundings {
    /// Asks /proc. What can't be read there is taken for absent: this is for messages alone.
    pub(super) fn read() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        let filter = status
            .lines()
            .find_map(|line| line.strip_prefix("Seccomp:"));
        Self {
            filtered: filter.is_some_and(|mode| mode.trim() == "2"),
            profile: profile(&read("/proc/self/attr/current")),
            mapped: !is_identity(&read("/proc/self/uid_map")),
        }
    }

    /// What `attempt` likely failed by, and the mend.
    pub(super) fn mend(&self, attempt: &Attempt<'_>) -> String {
        let call = attempt.call;
        match (attempt.errno, &self.profile) {
            (Some(libc::ENOSPC), _) => {
                "the host allows no more namespaces: raise the sysctls user.max_*_namespaces".to_owned()
            }
            (Some(libc::EACCES), Some(profile)) => format!(
                "the security profile {profile} refuses it: run the container with --security-opt apparmor=unconfined (SELinux: label=disable), or by a profile that allows it"
            ),
            (Some(libc::EPERM), _) if self.mapped && call == Attempt::PROC => {
                "parts of this container's /proc are masked: run it with --security-opt unmask=ALL, or without a user namespace (--userns=host)".to_owned()
            }
            (Some(libc::EPERM | libc::ENOSYS) | None, _) if self.filtered => {
                FILTER.to_owned()
            }
            (Some(libc::EPERM | libc::EACCES | libc::EROFS), _) if self.mapped => {
                USER_NAMESPACE.to_owned()
            }
            (Some(libc::ENOSYS), _) => "this kernel lacks it: run Linux 5.15 or newer".to_owned(),
            _ => "docs/container.md lists what is needed".to_owned(),
        }
    }
}

const FILTER: &str = "the seccomp profile that this process was started under refuses it: give the container one that allows it (podman's default does; --security-opt seccomp=FILE, or seccomp=unconfined)";

const USER_NAMESPACE: &str = "this user namespace is not the host's: run the container as root and without one (--userns=host, no --uidmap)";

/// Why the daemon has no cgroups of its own, with the mend where there is one.
pub(crate) fn cgroup_mend(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => Some(
            "the hierarchy is mounted read-only: mount it read-write on the host (mount -o remount,rw)",
        ),
        io::ErrorKind::PermissionDenied if Surroundings::read().mapped => Some(USER_NAMESPACE),
        _ => None,
    }
}

/// `docker-default (enforce)`; whoever is confined by none, or by one that only complains, has none.
fn profile(label: &str) -> Option<String> {
    let label = label.trim_end_matches(['\n', '\0']);
    let free = label.is_empty() || label.starts_with("unconfined") || label.ends_with("(complain)");
    (!free).then(|| label.to_owned())
}

/// `0 0 4294967295`: the first user namespace's (user_namespaces(7)).
fn is_identity(map: &str) -> bool {
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(surroundings: &Surroundings, call: &str, errno: Option<i32>) -> String {
        surroundings.mend(&Attempt { call, errno })
    }

    #[test]
    fn each_refusal_has_its_own_mend() {
        let free = Surroundings::default();
        let filtered = Surroundings {
            filtered: true,
            ..Surroundings::default()
        };
        let profiled = Surroundings {
            profile: profile("docker-default (enforce)\n"),
            ..filtered.clone()
        };
        let mapped = Surroundings {
            mapped: true,
            ..filtered.clone()
        };
        for (around, call, errno, mend) in [
            (&filtered, "pivot_root", Some(libc::EPERM), "seccomp=FILE"),
            (&filtered, "clone3", Some(libc::ENOSYS), "seccomp=FILE"),
            (&filtered, "mount", None, "seccomp=FILE"),
            (
                &profiled,
                "mount",
                Some(libc::EACCES),
                "docker-default (enforce) refuses it: run the container with --security-opt apparmor=unconfined",
            ),
            (&mapped, Attempt::PROC, Some(libc::EPERM), "unmask=ALL"),
            (&free, "clone3", Some(libc::ENOSPC), "user.max_*_namespaces"),
            (&free, "openat2", Some(libc::ENOSYS), "Linux 5.15"),
            (&free, "mount", Some(libc::EIO), "docs/container.md"),
        ] {
            let found = said(around, call, errno);
            assert!(found.contains(mend), "{call}: {found}");
        }
    }

    #[test]
    fn a_profile_that_refuses_nothing_is_none() {
        for label in [
            "",
            "unconfined\n",
            "unconfined_u:unconfined_r:x\n",
            "p (complain)\n",
        ] {
            assert_eq!(profile(label), None, "{label}");
        }
        assert_eq!(profile("p (enforce)\n").as_deref(), Some("p (enforce)"));
    }

    #[test]
    fn only_the_whole_map_is_the_first_namespaces() {
        assert!(is_identity("         0          0 4294967295\n"));
        assert!(!is_identity("         0     100000      65536\n"));
        assert!(!is_identity(""));
    }
}
