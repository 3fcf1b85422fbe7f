//! Which controllers of cgroups this host has for the daemon, and in which version (cgroups(7)).

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::process::getpid;

use super::swap::{self, Counting, Swap};
use super::{DAEMON, open_directory, pids, read};
use crate::config::Resource;
use crate::sandbox::footing::Footing;

/// The resources, by the names that their controllers have in both versions.
const NAMES: [(&str, Resource); 3] = [
    ("pids", Resource::Processes),
    ("memory", Resource::Memory),
    ("cpu", Resource::Cpu),
];

/// A version of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Each controller, or a few together, in a hierarchy of its own.
    One,
    /// All in one hierarchy.
    Two,
}

/// What the host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controllers {
    /// Hierarchies of the first version that have one of ours.
    pub(super) separate: Vec<Separate>,
    /// Those of the second version.
    pub(super) unified: Vec<Resource>,
    /// Those of the second version that can't be given to sandboxes where the daemon stands.
    pub(super) beyond_reach: Vec<Resource>,
}

/// A hierarchy of the first version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Separate {
    /// Every controller in it: the mount has to name them all.
    pub(super) controllers: Vec<String>,
    /// The daemon's own cgroup in it, from its root.
    pub(super) path: String,
    /// Which of ours.
    pub(super) resources: Vec<Resource>,
}

impl Controllers {
    /// Asks the kernel. Whoever may not mount looks at what is mounted.
    pub fn probe(footing: Footing) -> io::Result<Self> {
        let membership = std::fs::read_to_string("/proc/self/cgroup")?;
        // The first version can't be delegated safely (cgroups(7), Cgroups delegation).
        let ours = membership.lines().filter(|_| footing == Footing::Root);
        let separate: Vec<Separate> = ours.filter_map(separate).collect();
        let (unified, reach) = match unified_path(&membership) {
            Ok(path) => match own_directory(path).or_else(|_| mounted_directory(path)) {
                Ok(own) => (resources(&read(&own, "cgroup.controllers")?), reach(&own)?),
                Err(_) => (Vec::new(), Reach::Given),
            },
            Err(_) => (Vec::new(), Reach::Given),
        };
        let (unified, beyond_reach) = match reach {
            Reach::Given => (unified, Vec::new()),
            Reach::Shared => (Vec::new(), unified),
        };
        Ok(Self {
            separate,
            unified,
            beyond_reach,
        })
    }

    /// Which version holds it, if one does.
    pub fn version(&self, resource: Resource) -> Option<Version> {
        let separate = |hierarchy: &Separate| hierarchy.resources.contains(&resource);
        if self.unified.contains(&resource) {
            Some(Version::Two)
        } else {
            self.separate.iter().any(separate).then_some(Version::One)
        }
    }

    /// Whether swap is bounded where memory is, as far as it can be told before there are groups: the root of version 2
    /// has no bounds to look for.
    pub fn swap(&self) -> io::Result<Swap> {
        let Some(version) = self.version(Resource::Memory).filter(|_| swap::is_there()) else {
            return Ok(Swap::Held);
        };
        let group = match version {
            Version::Two => {
                let membership = std::fs::read_to_string("/proc/self/cgroup")?;
                let path = unified_path(&membership)?;
                own_directory(path).or_else(|_| mounted_directory(path))?
            }
            Version::One => {
                let mut hierarchies = self.separate.iter();
                let memory = hierarchies.find(|one| one.resources.contains(&Resource::Memory));
                match memory {
                    Some(memory) => separate_directory(memory)?,
                    None => return Ok(Swap::Held),
                }
            }
        };
        let unknown = version == Version::Two && is_root(&group);
        if unknown || Counting::of(Some((&group, version)))? == Counting::Counted {
            Ok(Swap::Held)
        } else {
            Ok(Swap::Unheld)
        }
    }

    /// What would let this host hold it.
    pub fn mend(&self, resource: Resource) -> String {
        let name = name(resource);
        if self.beyond_reach.contains(&resource) {
            format!(
                "other processes share the daemon's cgroup, which keeps its `{name}` controller from sandboxes: start it as a service with Delegate=yes, or by `systemd-run --scope -p Delegate=yes sandgate serve …`"
            )
        } else {
            format!(
                "the daemon's cgroup has no `{name}` controller: enable it in the kernel (no cgroup_disable={name}) and in cgroup.subtree_control above (systemd: Delegate=yes)"
            )
        }
    }
}

impl std::fmt::Display for Controllers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |resources: &[Resource]| {
            let names: Vec<&str> = resources.iter().map(|resource| name(*resource)).collect();
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(" ")
            }
        };
        let separate: Vec<Resource> = (self.separate.iter())
            .flat_map(|hierarchy| hierarchy.resources.iter().copied())
            .collect();
        let (one, two) = (names(&separate), names(&self.unified));
        write!(f, "v2: {two}; v1: {one}")
    }
}

/// Whether a cgroup's controllers can be given to groups below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Given,
    /// It has processes other than this one; only a group without any, or the root, gives controllers
    /// to its children (cgroup-v2.rst, No Internal Process Constraint).
    Shared,
}

fn reach(own: &OwnedFd) -> io::Result<Reach> {
    let alone = is_root(own) || pids(own)?.iter().all(|pid| *pid == getpid());
    Ok(if alone { Reach::Given } else { Reach::Shared })
}

/// Whether this process may make groups below its own of the second version, and move processes there.
pub fn is_delegated() -> io::Result<bool> {
    use rustix::fs::{Access, AtFlags, accessat};
    let membership = std::fs::read_to_string("/proc/self/cgroup")?;
    let path = unified_path(&membership)?;
    let Ok(own) = own_directory(path).or_else(|_| mounted_directory(path)) else {
        return Ok(false);
    };
    let may_write = |name| accessat(&own, name, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    Ok([".", "cgroup.procs"].into_iter().all(may_write))
}

/// The hierarchy's root, which has no type; that of a cgroup namespace has one.
pub(super) fn is_root(group: &OwnedFd) -> bool {
    rustix::fs::accessat(
        group,
        "cgroup.type",
        rustix::fs::Access::EXISTS,
        rustix::fs::AtFlags::empty(),
    ) == Err(rustix::io::Errno::NOENT)
}

/// A controller's name.
pub(super) fn name(resource: Resource) -> &'static str {
    NAMES
        .iter()
        .find(|(_, named)| *named == resource)
        .map_or("", |(name, _)| name)
}

/// `pids memory` or `cpu,cpuacct`, as far as it concerns us.
fn resources(names: &str) -> Vec<Resource> {
    let ours = |name: &str| NAMES.iter().find(|(known, _)| *known == name);
    names
        .split([' ', ',', '\n'])
        .filter_map(|name| ours(name).map(|(_, resource)| *resource))
        .collect()
}

/// `4:cpu,cpuacct:/path` of /proc/PID/cgroup, if it has one of ours.
fn separate(line: &str) -> Option<Separate> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (names, path) = (fields.next()?, fields.next()?);
    let resources = resources(names);
    (!resources.is_empty()).then(|| Separate {
        controllers: names.split(',').map(str::to_owned).collect(),
        path: path.to_owned(),
        resources,
    })
}

/// The daemon's own cgroup of the second version. Whoever starts it in the group that it would move to (systemd's
/// DelegateSubgroup=, or after one that was killed) means the one above.
pub(super) fn unified_path(membership: &str) -> io::Result<&str> {
    let own = membership.lines().find_map(|line| line.strip_prefix("0::"));
    let missing = || io::Error::other("this kernel has no cgroup v2 hierarchy (CONFIG_CGROUPS)");
    let own = own.ok_or_else(missing)?;
    let above = own
        .strip_suffix(DAEMON)
        .filter(|above| above.ends_with('/'));
    Ok(above.unwrap_or(own))
}

/// The directory of a cgroup of the second version, through a detached mount of our own.
pub(super) fn own_directory(path: &str) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // Each mount sets the options of all (cgroup-v2.rst, Mounting): those that hold have to be said again.
    for option in cgroup2_mount()?
        .map(|mount| mount.options)
        .unwrap_or_default()
    {
        rustix::mount::fsconfig_set_flag(&context, option)?;
    }
    open_below(&context, path)
}

/// The directory of a cgroup of the first version.
pub(super) fn separate_directory(hierarchy: &Separate) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("cgroup", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for controller in &hierarchy.controllers {
        rustix::mount::fsconfig_set_flag(&context, controller)?;
    }
    open_below(&context, &hierarchy.path)
}

fn open_below(context: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    rustix::mount::fsconfig_create(context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let path = path.trim_start_matches('/');
    open_directory(&root, if path.is_empty() { "." } else { path })
}

/// A mount of the second version that this process sees.
struct Mount {
    point: String,
    /// Which cgroup it shows.
    root: String,
    /// Its options beside `rw` and `ro`.
    options: Vec<String>,
}

/// `30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate` (proc_pid_mountinfo(5)).
fn cgroup2_mount() -> io::Result<Option<Mount>> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - cgroup2 ")?;
        let mut fields = left.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let options = right.split(' ').nth(1)?.split(',');
        let own = |option: &&str| !["rw", "ro"].contains(option);
        Some(Mount {
            point: point.to_owned(),
            root: root.to_owned(),
            options: options.filter(own).map(str::to_owned).collect(),
        })
    };
    Ok(mounts.lines().find_map(parse))
}

fn mounted_directory(path: &str) -> io::Result<OwnedFd> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let mount = cgroup2_mount()?.ok_or_else(missing)?;
    let below = path
        .strip_prefix(mount.root.trim_end_matches('/'))
        .ok_or_else(missing)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path = format!("{}{below}", mount.point);
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_told_by_what_is_in_them() {
        assert_eq!(separate("9:name=systemd:/"), None);
        assert_eq!(separate("0::/user.slice"), None);
        assert_eq!(separate("3:cpuset:/"), None);
        let cpu = separate("4:cpu,cpuacct:/a:b").unwrap();
        assert_eq!(cpu.controllers, ["cpu", "cpuacct"]);
        assert_eq!(
            (cpu.path.as_str(), cpu.resources),
            ("/a:b", vec![Resource::Cpu])
        );
        let both = resources("cpuset cpu io memory hugetlb pids\n");
        assert_eq!(both, [Resource::Cpu, Resource::Memory, Resource::Processes]);
    }

    #[test]
    fn a_daemon_in_the_group_of_daemons_works_in_the_one_above() {
        let path = |membership| unified_path(membership).unwrap();
        assert_eq!(path("4:cpu:/x\n0::/a/b\n"), "/a/b");
        assert_eq!(path("0::/a/b/sandgate-daemon\n"), "/a/b/");
        assert_eq!(path("0::/sandgate-daemon\n"), "/");
        assert_eq!(path("0::/not-sandgate-daemon\n"), "/not-sandgate-daemon");
        assert!(unified_path("4:cpu:/x\n").is_err());
    }

    #[test]
    fn a_resource_without_a_controller_has_no_holder_and_a_mend() {
        let controllers = Controllers {
            separate: vec![separate("8:pids:/").unwrap()],
            unified: vec![Resource::Cpu],
            beyond_reach: vec![Resource::Memory],
        };
        assert_eq!(controllers.version(Resource::Processes), Some(Version::One));
        assert_eq!(controllers.version(Resource::Cpu), Some(Version::Two));
        assert_eq!(controllers.version(Resource::Memory), None);
        assert!(controllers.mend(Resource::Memory).contains("systemd-run"));
    }
}
