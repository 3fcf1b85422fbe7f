//! The files under /etc that speak of the sandbox instead of the host.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::blueprint::{Account, Blueprint, HOME};
use super::root::{Place, READ_ONLY, RootError, at, attach, clone, inside};
use super::trust::Trust;
use crate::sys::mount::Depth;

/// What these files are called; a policy that does not list /etc still has them.
pub(crate) const SYNTHESIZED: [&str; 8] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/machine-id",
    BUNDLE,
    JAVA_STORE,
];

/// The certificates that programs trust. At the top, where no tree of the host lies above it.
pub(super) const BUNDLE: &str = "/.sandgate/ca-bundle.pem";
/// The same for Java, which reads no PEM.
pub(super) const JAVA_STORE: &str = "/.sandgate/ca-bundle.jks";

/// Those that differ from one sandbox to the next of its kind.
pub(super) const OWN: [&str; 3] = ["/etc/passwd", "/etc/group", "/etc/machine-id"];

/// Those that are the same for all of a kind. Where /etc is the host's each lies over the host's own, if that has one.
pub(super) const COMMON: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// Writes each file into the tmpfs, or over the one that is there where /etc is shared; of `OWN` only a place to
/// `cover`. The new root is the process's own, so that links lead nowhere else.
pub(super) fn synthesize(
    place: &Place,
    blueprint: &Blueprint,
    trust: &Trust,
) -> Result<(), RootError> {
    for path in OWN {
        let path = Path::new(path);
        if find(place, path)?.is_none() {
            make(place, path, b"")?;
        }
    }
    let login = &blueprint.login;
    let hosts = format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {login}\n");
    let [hosts_file, hostname, resolver] = COMMON;
    for (path, text) in [
        (hosts_file, hosts.as_bytes()),
        (hostname, format!("{login}\n").as_bytes()),
        (resolver, RESOLVER.as_bytes()),
        (BUNDLE, &trust.pem),
        (JAVA_STORE, &trust.java),
    ] {
        let path = Path::new(path);
        match find(place, path)? {
            Some(file) => cover_by(place, &file, path, text)?,
            None => make(place, path, text)?,
        }
    }
    Ok(())
}

/// Mounts one of `OWN` where `synthesize` has left its place; a tree of the host that lacks the file has none.
pub(super) fn cover(place: &Place, path: &Path, file: &OwnedFd) -> Result<(), RootError> {
    match find(place, path)? {
        Some(covered) => attach(file, &covered, path),
        None => Ok(()),
    }
}

/// What `OWN` say in a sandbox whose sessions have these ids.
pub(super) fn own_texts(blueprint: &Blueprint, account: Account) -> Result<[String; 3], RootError> {
    let Account { uid, gid } = account;
    let (login, shell) = (&blueprint.login, blueprint.shell.display());
    // A login named root has the name to itself: programs take the first of two.
    let (user, group) = match login.as_str() {
        "root" => ("", ""),
        _ => ("root:x:0:0:root:/:/usr/sbin/nologin\n", "root:x:0:\n"),
    };
    Ok([
        format!(
            "{user}{login}:x:{uid}:{gid}::{HOME}:{shell}\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
        ),
        format!("{group}tty:x:5:\n{login}:x:{gid}:\nnogroup:x:65534:\n"),
        at("read", "random bytes", machine_id())?,
    ])
}

/// Nothing listens there, so that a program that ignores the proxy fails at once.
const RESOLVER: &str = "# Names are resolved by the proxy; see HTTPS_PROXY.\nnameserver 127.0.0.1\noptions timeout:1 attempts:1\n";

/// 128 random bits as machine-id(5) has them: the host's would name it to whoever reads it.
fn machine_id() -> rustix::io::Result<String> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:032x}\n", u128::from_ne_bytes(bytes)))
}

fn make(place: &Place, path: &Path, text: &[u8]) -> Result<(), RootError> {
    let path = final_target(place, path)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    match find(place, parent)? {
        // A tree of the host that lacks the file: it is not made there, and the sandbox lacks it too.
        Some(directory) if !place.is_own(&directory)? => Ok(()),
        _ => place.write(parent, path.file_name().unwrap_or_default(), text),
    }
}

fn find(place: &Place, path: &Path) -> Result<Option<OwnedFd>, RootError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(place.root(), path, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT) => Ok(None),
        other => at("synthesize", path, other.map(Some)),
    }
}

/// Where a link that leads to nothing wants the file.
fn final_target(place: &Place, path: &Path) -> Result<PathBuf, RootError> {
    let mut path = path.to_owned();
    for _ in 0..8 {
        let found = rustix::fs::statat(place.root(), inside(&path), AtFlags::SYMLINK_NOFOLLOW);
        match found {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_symlink() => {
                let target = rustix::fs::readlinkat(place.root(), inside(&path), Vec::new());
                let target = at("read link", &path, target)?;
                let target = std::os::unix::ffi::OsStrExt::from_bytes(target.as_bytes());
                let target = Path::new::<OsStr>(target);
                path = normalize(&path.parent().unwrap_or(Path::new("/")).join(target));
            }
            Ok(_) | Err(Errno::NOENT) => return Ok(path),
            Err(e) => return at("synthesize", path, Err(e)),
        }
    }
    at("synthesize", path, Err(Errno::LOOP))
}

fn normalize(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::Normal(name) => out.push(name),
            _ => {}
        }
    }
    out
}

/// Binds a file of ours over the one that is there; the source's name goes, the mount stays.
fn cover_by(place: &Place, covered: &OwnedFd, path: &Path, text: &[u8]) -> Result<(), RootError> {
    let name = OsStr::new(".synthesized");
    place.write(Path::new("/"), name, text)?;
    let source = Path::new("/").join(name);
    let Some(file) = find(place, &source)? else {
        return at("find", source, Err(Errno::NOENT));
    };
    let attributes = READ_ONLY | libc::MOUNT_ATTR_NOEXEC;
    attach(&clone(&file, path, attributes, Depth::One)?, covered, path)?;
    at(
        "remove",
        &source,
        rustix::fs::unlinkat(place.root(), name, AtFlags::empty()),
    )
}
