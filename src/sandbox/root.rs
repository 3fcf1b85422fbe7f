//! The private root of a sandbox: what policy lists, over a tmpfs, and nothing else of the host.
//!
//! Runs in the sandbox's init, in a mount namespace of its own, before anything of the user's exists.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use super::blueprint::{Access, Account, Blueprint, HOME, is_private};
use super::files;
use crate::sys::mount::{Depth, add_attributes};

const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | LOCKED_DOWN;
const LOCKED_DOWN: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// Size of each private tmpfs in bytes: what a sandbox can pin in memory through its files.
const SCRATCH: &str = "1073741824";

/// Files in each private tmpfs: an empty one costs the kernel memory that its size does not count.
const MOST_FILES: &str = "131072";

/// PTYs of one sandbox: the kernel has a few thousand for all (kernel.pty.max).
const MOST_TERMINALS: &str = "256";

const ROOT: Account = Account { uid: 0, gid: 0 };

/// Why a root could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum RootError {
    /// The mount guard: this is still the starting process's mount namespace.
    #[error("refusing to mount: the mount namespace is the host's")]
    HostNamespace,
    /// A step failed.
    #[error("{step} {}: {source}", path.display())]
    Step {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

fn at<T>(
    step: &'static str,
    path: impl AsRef<Path>,
    result: Result<T, impl Into<io::Error>>,
) -> Result<T, RootError> {
    result.map_err(|source| RootError::Step {
        step,
        path: path.as_ref().to_owned(),
        source: source.into(),
    })
}

/// A tree of the host, cloned while its path still means the host's.
struct Tree {
    mount: OwnedFd,
    path: PathBuf,
    is_directory: bool,
}

/// A mount namespace proven not to be `host`'s, an inode number of /proc/PID/ns/mnt.
struct Guarded;

impl Guarded {
    fn check(host: u64) -> Result<Self, RootError> {
        let own = at(
            "stat",
            "/proc/self/ns/mnt",
            rustix::fs::stat("/proc/self/ns/mnt"),
        )?
        .st_ino;
        if own == host {
            Err(RootError::HostNamespace)
        } else {
            Ok(Self)
        }
    }
}

/// Replaces the root of this mount namespace. `host` is the inode of the host's mount namespace.
pub(super) fn build(blueprint: &Blueprint, account: Account, host: u64) -> Result<(), RootError> {
    let _guarded = Guarded::check(host)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    at(
        "make private (a plain chroot has no mount to start from: bind it to itself and pivot_root into it)",
        "/",
        rustix::mount::mount_change("/", private),
    )?;
    let (trees, links) = clone_listed(blueprint)?;
    let devices = clone_devices()?;

    // Any directory serves as the place to build at; this one exists everywhere (hier(7)).
    let base = tmpfs("0755", ROOT, "16777216")?;
    attach(&base, CWD, Path::new("/tmp"))?;
    let root = &base;
    private_mounts(root, account, devices)?;
    for link in &links {
        symlink(root, &link.target, &link.path)?;
    }
    for tree in trees {
        mount_point(root, &tree.path, tree.is_directory)?;
        attach(&tree.mount, root.as_fd(), inside(&tree.path))?;
    }
    files::synthesize(root.as_fd(), blueprint, account)?;
    pivot(root)?;
    at(
        "seal",
        "/",
        add_attributes(root.as_fd(), READ_ONLY, Depth::One),
    )
}

/// A symbolic link of the host on the way to a listed path.
struct Link {
    path: PathBuf,
    target: PathBuf,
}

/// Clones what policy lists, parents before children, and notes the links that lead there.
/// A path that the host lacks gives nothing (`sandgate check` warns of it).
fn clone_listed(blueprint: &Blueprint) -> Result<(Vec<Tree>, Vec<Link>), RootError> {
    let mut links = merged_usr_links()?;
    let mut listed: Vec<(PathBuf, Access)> = Vec::new();
    for entry in &blueprint.paths {
        for path in expand(&entry.path)? {
            let real = match std::fs::canonicalize(&path) {
                Ok(real) => real,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return at("resolve", &path, Err(error)),
            };
            if is_private(&real) {
                continue;
            }
            if real != path && !links.iter().any(|link| path.starts_with(&link.path)) {
                links.push(Link {
                    path,
                    target: real.clone(),
                });
            }
            listed.push((real, entry.access));
        }
    }
    listed.sort();
    listed.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 = earlier.1.max(later.1);
        }
        same
    });
    listed.extend(ways(&listed));
    listed.sort();
    listed.dedup();
    let trees = listed
        .into_iter()
        .map(|(path, access)| clone_tree(path, access))
        .collect::<Result<_, _>>()?;
    Ok((trees, links))
}

/// The directories on the way from a tree that may be written to one in it that may not. Each becomes a mount
/// of its own, which cannot be renamed or replaced (rename(2), EBUSY): the next sandbox finds at its path
/// what is there now, and not what somebody put in its place.
fn ways(listed: &[(PathBuf, Access)]) -> Vec<(PathBuf, Access)> {
    let guarded = listed
        .iter()
        .filter(|(_, access)| *access == Access::ReadOnly);
    let way = |path: &Path| -> Option<Vec<(PathBuf, Access)>> {
        // The listed are sorted: of those above it the last is the nearest.
        let above = |(other, _): &&(PathBuf, Access)| other != path && path.starts_with(other);
        let (outer, access) = listed.iter().rfind(above)?;
        let between = path.ancestors().skip(1).take_while(|part| part != outer);
        (*access == Access::ReadWrite)
            .then(|| between.map(|part| (part.to_owned(), *access)).collect())
    };
    guarded
        .filter_map(|(path, _)| way(path))
        .flatten()
        .collect()
}

/// `/` stands for everything at the top of the host but what a sandbox has of its own.
fn expand(path: &Path) -> Result<Vec<PathBuf>, RootError> {
    if path != Path::new("/") {
        return Ok(vec![path.to_owned()]);
    }
    let entries = at("list", "/", std::fs::read_dir("/"))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(at("list", "/", entry)?.path());
    }
    Ok(paths)
}

/// On a merged-usr host /bin, /sbin and /lib* are links into /usr. They grant nothing by themselves,
/// and without them no program finds its loader.
fn merged_usr_links() -> Result<Vec<Link>, RootError> {
    let mut links = Vec::new();
    for path in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
        match std::fs::read_link(path) {
            Ok(target) => links.push(Link {
                path: path.into(),
                target,
            }),
            // EINVAL: it is there and no link (readlink(2)).
            Err(error) if is_absent(&error) || error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => return at("read link", path, Err(error)),
        }
    }
    Ok(links)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn clone_tree(path: PathBuf, access: Access) -> Result<Tree, RootError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_NO_AUTOMOUNT;
    let mount = at("clone", &path, rustix::mount::open_tree(CWD, &path, flags))?;
    let attributes = match access {
        Access::ReadOnly => READ_ONLY,
        Access::ReadWrite => LOCKED_DOWN,
    };
    at(
        "restrict",
        &path,
        add_attributes(mount.as_fd(), attributes, Depth::Tree),
    )?;
    let stat = at("stat", &path, rustix::fs::fstat(&mount))?;
    let is_directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
    Ok(Tree {
        mount,
        path,
        is_directory,
    })
}

/// The device nodes that every program expects, bound one by one (mknod(2) would need CAP_MKNOD).
fn clone_devices() -> Result<Vec<(&'static str, OwnedFd)>, RootError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    ["null", "zero", "full", "random", "urandom", "tty"]
        .into_iter()
        .map(|name| {
            let path = Path::new("/dev").join(name);
            let mount = at("clone", &path, rustix::mount::open_tree(CWD, &path, flags))?;
            at(
                "restrict",
                &path,
                add_attributes(
                    mount.as_fd(),
                    libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
                    Depth::One,
                ),
            )?;
            Ok((name, mount))
        })
        .collect()
}

fn private_mounts(
    root: &OwnedFd,
    account: Account,
    devices: Vec<(&'static str, OwnedFd)>,
) -> Result<(), RootError> {
    // Processes of other users are not there: init's command line speaks of the host.
    mount_at(
        root,
        "/proc",
        &filesystem("proc", &[("hidepid", Some("invisible"))])?,
    )?;
    mount_at(root, "/tmp", &tmpfs("1777", ROOT, SCRATCH)?)?;
    mount_at(root, HOME, &tmpfs("0700", account, SCRATCH)?)?;
    let dev = tmpfs("0755", ROOT, "65536")?;
    mount_at(root, "/dev", &dev)?;
    for (name, device) in devices {
        let path = Path::new("/dev").join(name);
        mount_point(root, &path, false)?;
        attach(&device, root.as_fd(), inside(&path))?;
    }
    let terminals = filesystem(
        "devpts",
        &[
            ("newinstance", None),
            ("ptmxmode", Some("0666")),
            ("mode", Some("0620")),
            ("max", Some(MOST_TERMINALS)),
        ],
    )?;
    mount_at(root, "/dev/pts", &terminals)?;
    mount_at(root, "/dev/shm", &tmpfs("1777", ROOT, SCRATCH)?)?;
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ] {
        symlink(root, Path::new(target), &Path::new("/dev").join(name))?;
    }
    // The nodes above are bound over plain files; the directory itself needs no writer any more.
    at(
        "seal",
        "/dev",
        add_attributes(
            dev.as_fd(),
            libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID,
            Depth::One,
        ),
    )
}

fn mount_at(root: &OwnedFd, path: &str, mount: &OwnedFd) -> Result<(), RootError> {
    mount_point(root, Path::new(path), true)?;
    attach(mount, root.as_fd(), inside(Path::new(path)))
}

fn tmpfs(mode: &str, owner: Account, size: &str) -> Result<OwnedFd, RootError> {
    let (uid, gid) = (owner.uid.to_string(), owner.gid.to_string());
    let options = [
        ("mode", Some(mode)),
        ("uid", Some(&*uid)),
        ("gid", Some(&*gid)),
        ("size", Some(size)),
        ("nr_inodes", Some(MOST_FILES)),
    ];
    let mount = filesystem("tmpfs", &options)?;
    at(
        "restrict",
        "tmpfs",
        add_attributes(mount.as_fd(), LOCKED_DOWN, Depth::One),
    )?;
    Ok(mount)
}

fn filesystem(kind: &str, options: &[(&str, Option<&str>)]) -> Result<OwnedFd, RootError> {
    let context = at(
        "open file system",
        kind,
        rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC),
    )?;
    for (key, value) in options {
        let set = match value {
            Some(value) => rustix::mount::fsconfig_set_string(&context, *key, *value),
            None => rustix::mount::fsconfig_set_flag(&context, *key),
        };
        at("configure file system", kind, set)?;
    }
    at(
        "create file system",
        kind,
        rustix::mount::fsconfig_create(&context),
    )?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    // tmpfs holds programs too (build trees, language servers); proc and devpts never do.
    let attributes = if kind == "tmpfs" {
        MountAttrFlags::MOUNT_ATTR_NOSUID
    } else {
        attributes
    };
    at(
        "mount",
        kind,
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes),
    )
}

fn attach(mount: &OwnedFd, base: BorrowedFd<'_>, path: &Path) -> Result<(), RootError> {
    let moved = rustix::mount::move_mount(
        mount,
        "",
        base,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    );
    at("attach", path, moved)
}

/// Makes a directory or an empty file to mount on, with its parents, unless it exists.
pub(super) fn mount_point(
    root: &impl AsFd,
    path: &Path,
    is_directory: bool,
) -> Result<(), RootError> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| parent.components().count() > 1)
    {
        mount_point(root, parent, true)?;
    }
    if rustix::fs::statat(root, inside(path), AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Ok(());
    }
    if !at("mount point", path, is_ours(root, path))? {
        // It would be made on the host, through a tree that policy lists for writing.
        return at(
            "mount point",
            path,
            Err(io::Error::from_raw_os_error(libc::EROFS)),
        );
    }
    let made = if is_directory {
        rustix::fs::mkdirat(root, inside(path), Mode::from_raw_mode(0o755))
    } else {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(root, inside(path), flags, Mode::from_raw_mode(0o644)).map(drop)
    };
    at("mount point", path, made)
}

/// Whether what is made at `path` is made in a file system of the sandbox's own, and not in the host's.
pub(super) fn is_ours(root: &impl AsFd, path: &Path) -> io::Result<bool> {
    let device = |path: &Path| {
        rustix::fs::statat(root, inside(path), AtFlags::empty()).map(|stat| stat.st_dev)
    };
    let parent = device(path.parent().unwrap_or(Path::new("/")))?;
    let own = ["/", "/dev", "/tmp", HOME].map(|own| device(Path::new(own)).ok());
    Ok(own.contains(&Some(parent)))
}

fn symlink(root: &OwnedFd, target: &Path, path: &Path) -> Result<(), RootError> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| parent.components().count() > 1)
    {
        mount_point(root, parent, true)?;
    }
    match rustix::fs::symlinkat(target, root, inside(path)) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        other => at("link", path, other),
    }
}

/// `path` relative to the root's descriptor.
pub(super) fn inside(path: &Path) -> &Path {
    let mut components = path.components();
    if components.clone().next() == Some(Component::RootDir) {
        components.next();
    }
    let rest = components.as_path();
    if rest.as_os_str().is_empty() {
        Path::new(OsStr::new("."))
    } else {
        rest
    }
}

/// Makes `root` the root and lets go of the old one (pivot_root(2), "." twice).
fn pivot(root: &OwnedFd) -> Result<(), RootError> {
    at("enter", "new root", rustix::process::fchdir(root))?;
    at(
        "pivot to",
        "new root",
        rustix::process::pivot_root(".", "."),
    )?;
    at(
        "detach",
        "old root",
        rustix::mount::unmount(".", UnmountFlags::DETACH),
    )?;
    at("enter", "/", rustix::process::chdir("/"))
}
