//! The files under /etc that speak of the sandbox instead of the host.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use super::blueprint::{Account, Blueprint, HOME};
use super::root::{RootError, inside, is_ours, mount_point};
use crate::sys::mount::{Depth, add_attributes};

/// What these files are called; a policy that does not list /etc still has them.
pub(super) const SYNTHESIZED: [&str; 5] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
];

/// Writes each file into the tmpfs, or over the host's where /etc is shared.
pub(super) fn synthesize(
    root: BorrowedFd<'_>,
    blueprint: &Blueprint,
    account: Account,
) -> Result<(), RootError> {
    let contents = contents(blueprint, account);
    for (path, text) in SYNTHESIZED.iter().zip(contents) {
        place(root, Path::new(path), text.as_bytes()).map_err(|source| RootError::Step {
            step: "synthesize",
            path: path.into(),
            source,
        })?;
    }
    Ok(())
}

fn contents(blueprint: &Blueprint, account: Account) -> [String; 5] {
    let Account { uid, gid } = account;
    let (login, shell) = (&blueprint.login, blueprint.shell.display());
    // A login named root has the name to itself: programs take the first of two.
    let (user, group) = match login.as_str() {
        "root" => ("", ""),
        _ => ("root:x:0:0:root:/:/usr/sbin/nologin\n", "root:x:0:\n"),
    };
    [
        format!(
            "{user}{login}:x:{uid}:{gid}::{HOME}:{shell}\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
        ),
        format!("{group}tty:x:5:\n{login}:x:{gid}:\nnogroup:x:65534:\n"),
        format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {login}\n"),
        format!("{login}\n"),
        // Nothing listens there, so that a program that ignores the proxy fails at once.
        "# Names are resolved by the proxy; see HTTPS_PROXY.\nnameserver 127.0.0.1\noptions timeout:1 attempts:1\n".to_owned(),
    ]
}

fn place(root: BorrowedFd<'_>, path: &Path, text: &[u8]) -> io::Result<()> {
    let path = final_target(root, path)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let exists =
        |path: &Path| rustix::fs::statat(root, inside(path), AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if exists(&path) {
        return cover(root, &path, text);
    }
    if exists(parent) && !is_ours(&root, &path)? {
        // A tree of the host that lacks the file: it is not made there, and the sandbox lacks it too.
        return Ok(());
    }
    mount_point(&root, parent, true).map_err(io::Error::other)?;
    write(root, &path, text)
}

/// Follows links inside the new root by hand: an absolute target counts from there, not from the host.
fn final_target(root: BorrowedFd<'_>, path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..8 {
        match rustix::fs::statat(root, inside(&path), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_symlink() => {
                let target = rustix::fs::readlinkat(root, inside(&path), Vec::new())?;
                let target = Path::new(std::ffi::OsStr::new(
                    target.to_str().map_err(io::Error::other)?,
                ))
                .to_owned();
                path = normalize(&path.parent().unwrap_or(Path::new("/")).join(target));
            }
            Ok(_) | Err(rustix::io::Errno::NOENT) => return Ok(path),
            Err(e) => return Err(e.into()),
        }
    }
    Err(io::Error::other("too many links"))
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

fn write(root: BorrowedFd<'_>, path: &Path, text: &[u8]) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(root, inside(path), flags, Mode::from_raw_mode(0o644))?;
    io::Write::write_all(&mut std::fs::File::from(file), text)
}

/// Binds a file of ours over the host's; the source's name goes, the mount stays.
fn cover(root: BorrowedFd<'_>, path: &Path, text: &[u8]) -> io::Result<()> {
    let source = Path::new("/.synthesized");
    write(root, source, text)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = rustix::mount::open_tree(root, inside(source), flags)?;
    let attributes = libc::MOUNT_ATTR_RDONLY
        | libc::MOUNT_ATTR_NOSUID
        | libc::MOUNT_ATTR_NODEV
        | libc::MOUNT_ATTR_NOEXEC;
    add_attributes(std::os::fd::AsFd::as_fd(&mount), attributes, Depth::One)?;
    rustix::mount::move_mount(
        &mount,
        "",
        root,
        inside(path),
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    rustix::fs::unlinkat(root, inside(source), AtFlags::empty())?;
    Ok(())
}
