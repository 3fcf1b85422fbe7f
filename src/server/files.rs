//! What `files` of a login's sandboxes names on this host: whether it is there, and an image's config.json.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::check::CheckError;
use crate::config::{Files, Keep, Root};
use crate::model::LoginName;
use crate::sandbox::{Account, Blueprint, HOME, RootFilesystem, SYNTHESIZED};

/// The root filesystem of a login's sandboxes.
#[derive(Debug, Default)]
pub(super) struct Base {
    /// Where it is; `None` is the host's.
    pub(super) root: Option<RootFilesystem>,
    /// Whose ids an image's programs have.
    pub(super) account: Option<Account>,
    /// Variables that an image gives to its programs.
    pub(super) variables: Vec<String>,
}

/// The part of config.json that counts here (OCI runtime specification, config.md).
#[derive(Debug, Deserialize)]
struct Image {
    root: ImageRoot,
    #[serde(default)]
    process: Process,
}

#[derive(Debug, Deserialize)]
struct ImageRoot {
    path: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Process {
    user: User,
    env: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct User {
    uid: u32,
    gid: u32,
}

/// Finds a login's root filesystem.
pub(super) fn base(files: &Files) -> Result<Base, CheckError> {
    let changes = files.changes.clone();
    let base = match &files.root {
        Root::Host => Base::default(),
        Root::Directory(path) => Base {
            root: Some(RootFilesystem {
                directory: path.clone(),
                changes,
            }),
            ..Base::default()
        },
        Root::Bundle(path) => bundle(path, changes)?,
    };
    if let Some(root) = &base.root {
        directory("root", &root.directory)?;
    }
    Ok(base)
}

fn bundle(path: &Path, changes: Option<Keep>) -> Result<Base, CheckError> {
    let config = path.join("config.json");
    let wrong = |source| CheckError::Path {
        key: "root.oci",
        path: config.clone(),
        source,
    };
    let text = std::fs::read_to_string(&config).map_err(wrong)?;
    let image: Image = serde_json::from_str(&text).map_err(|e| wrong(e.into()))?;
    let User { uid, gid } = image.process.user;
    Ok(Base {
        root: Some(RootFilesystem {
            directory: path.join(image.root.path),
            changes,
        }),
        // An image's root is no account for a session, which takes one of the daemon's range then.
        account: (uid != 0 && gid != 0).then_some(Account { uid, gid }),
        variables: image.process.env,
    })
}

pub(super) fn directory(key: &'static str, path: &Path) -> Result<(), CheckError> {
    std::fs::read_dir(path).map(drop).map_err(|source| {
        let path = path.to_owned();
        CheckError::Path { key, path, source }
    })
}

/// Refuses what can't be, and gives warnings of what is odd.
pub(super) fn check(name: &LoginName, blueprint: &Blueprint) -> Result<Vec<String>, CheckError> {
    let mut warnings = Vec::new();
    if let Some(skeleton) = &blueprint.home.skeleton {
        directory("home.skeleton", skeleton)?;
    }
    if blueprint.home.keep.is_some() {
        let inside = |path: &Path| path != Path::new(HOME) && path.starts_with(HOME);
        if let Some(listed) = blueprint.paths.iter().find(|listed| inside(&listed.path)) {
            let problem = "filesystem_policy lists it, below a home that is kept and that sessions write to; \
                list it elsewhere, or leave `home.keep` out";
            return refuse("home.keep", &listed.path, problem);
        }
    }
    if let Some(changes) = blueprint
        .root
        .as_ref()
        .and_then(|root| root.changes.as_ref())
        && blueprint.account.is_none()
    {
        let problem = "what is kept belongs to an account, and each sandbox has another; \
            name one in process.run_as_user";
        return refuse("root.keep", &changes.directory, problem);
    }
    for path in &blueprint.denied {
        let meets = |own: &str| path.starts_with(own) || Path::new(own).starts_with(path);
        if let Some(own) = SYNTHESIZED.into_iter().find(|own| meets(own)) {
            let problem = format!(
                "{own} is made for each sandbox and says nothing of the host; deny what else there is"
            );
            return refuse("deny", path, &problem);
        }
        if !(blueprint.paths.iter()).any(|listed| path.starts_with(&listed.path)) {
            warnings.push(format!(
                "deny: nothing that filesystem_policy lists is above {}",
                path.display()
            ));
        }
        if std::fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.nlink() > 1) {
            warnings.push(format!(
                "deny: {} has another name (a hard link), which is not denied",
                path.display()
            ));
        }
    }
    for path in &blueprint.devices {
        warnings.extend(device(path)?);
    }
    let named = |warning| format!("login {name}: {warning}");
    Ok(warnings.into_iter().map(named).collect())
}

pub(super) fn refuse<T>(key: &'static str, path: &Path, problem: &str) -> Result<T, CheckError> {
    Err(CheckError::Path {
        key,
        path: path.to_owned(),
        source: std::io::Error::other(problem.to_owned()),
    })
}

fn device(path: &Path) -> Result<Option<String>, CheckError> {
    match std::fs::symlink_metadata(path) {
        Ok(node) if !node.file_type().is_char_device() => refuse(
            "devices",
            path,
            "is no character device; name one, and no link to it",
        ),
        Ok(_) => Ok(None),
        Err(_) => Ok(Some(format!(
            "devices: this host has no {}",
            path.display()
        ))),
    }
}
