//! What a login's sandboxes are made of beyond what policy lists: root, home, denied paths, devices.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Scope;
use super::keep::{self, Keep};
use super::text::wrong;
use crate::yaml::Fault;

/// The most paths that can be denied, and devices that can be given.
const MOST: usize = 256;

/// Paths whose contents are a sandbox's own, so that nothing of the host is there to be denied.
const OWN: [&str; 5] = ["/proc", "/dev", "/sys", "/tmp", "/sandbox"];

/// Devices and names that every sandbox has of its own.
const EVERYONES: [&str; 13] = [
    "null", "zero", "full", "random", "urandom", "tty", "pts", "ptmx", "shm", "fd", "stdin",
    "stdout", "stderr",
];

/// The files of a login's sandboxes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Where the paths that policy lists are taken from.
    pub root: Root,
    /// Where each login has what its sandboxes changed in the root filesystem; without it changes end with the
    /// sandbox.
    pub changes: Option<Keep>,
    /// What HOME holds.
    pub home: Home,
    /// Absolute paths that are not there, whatever policy lists above them.
    pub denied: Vec<PathBuf>,
    /// Character devices below /dev.
    pub devices: Vec<PathBuf>,
}

/// Where the paths that policy lists are taken from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Root {
    /// The host.
    #[default]
    Host,
    /// A root filesystem.
    Directory(PathBuf),
    /// An unpacked OCI image: a directory with config.json and the root filesystem that it names
    /// (OCI runtime specification, bundle.md).
    Bundle(PathBuf),
}

/// What HOME holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Home {
    /// Where each login has one that stays; without it a home ends with its sandbox.
    pub keep: Option<Keep>,
    /// What a new one is filled with.
    pub skeleton: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FilesFile {
    root: Option<Spanned<RootFile>>,
    home: HomeFile,
    deny: Vec<Spanned<String>>,
    devices: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RootFile {
    directory: Option<PathBuf>,
    oci: Option<PathBuf>,
    keep: Option<PathBuf>,
    size: Option<Spanned<String>>,
    files: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HomeFile {
    keep: Option<PathBuf>,
    size: Option<Spanned<String>>,
    files: Option<Spanned<String>>,
    skeleton: Option<PathBuf>,
}

/// Relative paths count from `base`.
pub(super) fn check(base: &Path, scope: Scope, file: FilesFile) -> Result<Files, Fault> {
    for paths in [&file.deny, &file.devices] {
        if let Some(over) = paths.get(MOST) {
            return wrong(over.referenced, format!("more than {MOST} paths"));
        }
    }
    let (root, changes) = match file.root {
        None => (Root::Host, None),
        Some(root) => of(base, scope, root)?,
    };
    let HomeFile {
        keep: kept,
        size,
        files,
        skeleton,
    } = file.home;
    Ok(Files {
        root,
        changes,
        home: Home {
            keep: keep::check(base, kept, size.as_ref(), files.as_ref())?,
            skeleton: skeleton.map(|path| base.join(path)),
        },
        denied: file.deny.iter().map(denied).collect::<Result<_, _>>()?,
        devices: file.devices.iter().map(device).collect::<Result<_, _>>()?,
    })
}

fn of(base: &Path, scope: Scope, root: Spanned<RootFile>) -> Result<(Root, Option<Keep>), Fault> {
    let RootFile {
        directory,
        oci,
        keep,
        size,
        files,
    } = root.value;
    let changes = keep::check(base, keep, size.as_ref(), files.as_ref())?;
    if changes.is_some() && scope != Scope::Login {
        return wrong(
            root.referenced,
            "only one sandbox at a time can have changes that are kept; add `scope: login`, or leave `keep` out",
        );
    }
    let root = match (directory, oci) {
        (Some(path), None) => Root::Directory(base.join(path)),
        (None, Some(path)) => Root::Bundle(base.join(path)),
        _ => {
            return wrong(
                root.referenced,
                "give either `directory`, a root filesystem, or `oci`, an unpacked image with a config.json",
            );
        }
    };
    Ok((root, changes))
}

/// An absolute path without `..`, and what comes after its `/`.
fn plain(written: &Spanned<String>) -> Result<PathBuf, Fault> {
    let path = Path::new(&written.value);
    let mut parts = path.components();
    let sound = parts.next() == Some(Component::RootDir)
        && parts.clone().next().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && !written.value.contains('\0');
    if sound {
        Ok(path.components().collect())
    } else {
        wrong(
            written.referenced,
            "give an absolute path below `/` without `..`",
        )
    }
}

fn denied(written: &Spanned<String>) -> Result<PathBuf, Fault> {
    let path = plain(written)?;
    match OWN.iter().find(|own| path.starts_with(own)) {
        Some(own) => wrong(
            written.referenced,
            format!("{own} is the sandbox's own, and nothing of the host's is there; leave it out"),
        ),
        None => Ok(path),
    }
}

fn device(written: &Spanned<String>) -> Result<PathBuf, Fault> {
    let path = plain(written)?;
    let name = match path.strip_prefix("/dev") {
        Ok(name) if !name.as_os_str().is_empty() => name,
        _ => {
            return wrong(
                written.referenced,
                "a device is below /dev, such as /dev/fuse",
            );
        }
    };
    if EVERYONES.iter().any(|own| name.starts_with(own)) {
        return wrong(
            written.referenced,
            "every sandbox has this of its own; leave it out",
        );
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Files, String> {
        let told = |fault: Fault| fault.describe("f", text).to_string();
        let file = crate::yaml::read(text).map_err(told)?;
        check(Path::new("/etc/sandgate"), Scope::Connection, file).map_err(told)
    }

    #[test]
    fn paths_of_the_host_count_from_the_file_and_those_inside_are_absolute() {
        assert_eq!(checked("{}").unwrap(), Files::default());
        let files = checked(
            "{root: {oci: image}, home: {keep: homes, skeleton: /etc/skel}, deny: [/srv//p/.env/], devices: [/dev/net/tun]}",
        )
        .unwrap();
        assert_eq!(files.root, Root::Bundle("/etc/sandgate/image".into()));
        let keep = files.home.keep.unwrap();
        assert_eq!(keep.directory, Path::new("/etc/sandgate/homes"));
        assert_eq!(files.home.skeleton, Some("/etc/skel".into()));
        assert_eq!(files.denied[0].as_os_str(), "/srv/p/.env");
        assert_eq!(files.devices, [PathBuf::from("/dev/net/tun")]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in [
            "{root: {}}",
            "{root: {directory: a, oci: b}}",
            "{root: {directory: a, keep: b}}",
            "{home: {kept: a}}",
            "{home: {size: 1GiB}}",
            "{home: {keep: a, size: 1}}",
            "{root: {directory: a, files: 100}}",
            "{deny: [a]}",
            "{deny: [/]}",
            "{deny: [/srv/../etc]}",
            "{deny: [/sandbox/.ssh]}",
            "{deny: [/dev/null]}",
            "{devices: [/dev]}",
            "{devices: [/etc/passwd]}",
            "{devices: [/dev/null]}",
            "{devices: [/dev/pts/0]}",
        ] {
            assert!(checked(text).is_err(), "{text}");
        }
    }
}
