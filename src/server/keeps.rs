//! What logins keep on this host: that each is one thing of one size, that it can be held, and its growth.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::check::{CheckError, Checked};
use super::files::{directory, refuse};
use crate::config::{Extent, Keep};
use crate::model::{Kind, LoginName};
use crate::sandbox::{self, Blueprint, Claim, Growth, Unkept};

const HOME: &str = "home.keep";
const CHANGES: &str = "root.keep";

/// What is kept of the logins of these blueprints, each once for each that keeps it.
fn all(
    blueprints: &BTreeMap<Kind, Arc<Blueprint>>,
) -> impl Iterator<Item = (&LoginName, &'static str, &Keep)> {
    (blueprints.values())
        .flat_map(|blueprint| kept(blueprint).map(|(key, keep)| (&blueprint.login, key, keep)))
}

fn kept(blueprint: &Blueprint) -> impl Iterator<Item = (&'static str, &Keep)> {
    let root = blueprint.root.as_ref();
    let changes = root.and_then(|root| root.changes.as_ref());
    let kept = [(HOME, blueprint.home.keep.as_ref()), (CHANGES, changes)];
    let kept = kept.into_iter();
    kept.filter_map(|(key, keep)| Some((key, keep?)))
}

/// What may be served, though not all of it is as it should be.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// What nothing bounds, what the host has no room for, and what has come to harm.
    pub(super) warnings: Vec<String>,
    /// Of which nothing can be made until what their login keeps is mended.
    pub(super) damaged: BTreeSet<Kind>,
}

/// Refuses what can't be.
pub(super) fn check(blueprints: &BTreeMap<Kind, Arc<Blueprint>>) -> Result<Survey, CheckError> {
    let mut damaged = Vec::new();
    let mut places: BTreeMap<(&LoginName, &Path), (&str, Extent)> = BTreeMap::new();
    let mut warnings = Vec::new();
    let mut claims = Claims::default();
    for (login, key, keep) in all(blueprints) {
        let store = &keep.directory;
        match places.insert((login, store), (key, keep.extent)) {
            Some((other, _)) if other != key => {
                let problem = format!("is {other} as well; give each a directory of its own");
                return refuse(key, store, &problem);
            }
            Some((_, extent)) if extent != keep.extent => {
                let problem = format!(
                    "login {login} has it in two definitions, with another `size` or `files` in each; write the same"
                );
                return refuse(key, store, &problem);
            }
            // The same in another definition.
            Some(_) => continue,
            None => {}
        }
        sound(key, store)?;
        let claim = match examine(keep, login) {
            Ok(claim) => claim,
            Err(Unkept::Wrong(problem)) => return refuse(key, store, &problem),
            Err(Unkept::Damaged(problem)) => {
                warnings.push(refused_until_mended(login, key, &problem));
                damaged.push((login, store));
                continue;
            }
        };
        let warning = match claim {
            None => "by the operator's word nothing bounds what is kept in",
            Some(claim) => {
                claims.add(key, store, claim.bytes)?;
                if !claim.is_smaller {
                    continue;
                }
                "it has not yet its size, and grows when the daemon starts:"
            }
        };
        let directory = store.display();
        warnings.push(format!("login {login}: {key}: {warning} {directory}"));
    }
    warnings.extend(claims.warnings());
    Ok(Survey {
        warnings,
        damaged: (damaged.into_iter())
            .flat_map(|(login, store)| having(blueprints, login, store))
            .collect(),
    })
}

/// One login's harm is no reason to keep others out.
fn refused_until_mended(login: &LoginName, key: &str, problem: &str) -> String {
    format!("login {login}: {key}: {problem}; until then its sandboxes are refused")
}

/// The kinds of sandboxes that have what a login keeps in a store.
fn having<'a>(
    blueprints: &'a BTreeMap<Kind, Arc<Blueprint>>,
    login: &'a LoginName,
    store: &'a Path,
) -> impl Iterator<Item = Kind> {
    let has = move |blueprint: &Blueprint| {
        let kept = kept(blueprint).any(|(_, keep)| keep.directory == store);
        kept && blueprint.login == *login
    };
    let found = blueprints
        .iter()
        .filter(move |(_, blueprint)| has(blueprint));
    found.map(|(kind, _)| kind.clone())
}

/// What one login keeps may take yet; `None` is without bound.
fn examine(keep: &Keep, login: &LoginName) -> Result<Option<Claim>, Unkept> {
    if keep.extent != Extent::Unlimited
        && let Err(problem) = sandbox::probe_volumes()
    {
        let problem = format!("this host can't bound it: {problem}; or write `size: unlimited`");
        return Err(Unkept::Wrong(problem));
    }
    sandbox::examine_kept(keep, login)
}

/// What is claimed of file systems of the host, by their devices.
#[derive(Default)]
struct Claims<'a>(BTreeMap<u64, Claimed<'a>>);

struct Claimed<'a> {
    store: &'a Path,
    bytes: u64,
    room: u64,
}

impl<'a> Claims<'a> {
    fn add(&mut self, key: &'static str, store: &'a Path, bytes: u64) -> Result<(), CheckError> {
        let of = || -> rustix::io::Result<(u64, u64)> {
            let there = rustix::fs::statvfs(store)?;
            let room = there.f_bavail.saturating_mul(there.f_frsize);
            Ok((rustix::fs::stat(store)?.st_dev, room))
        };
        let (device, room) = of().or_else(|e| refuse(key, store, &e.to_string()))?;
        let new = Claimed {
            store,
            bytes: 0,
            room,
        };
        let claimed = self.0.entry(device).or_insert(new);
        claimed.bytes = claimed.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Where its file system is full, an image fails whoever writes to it.
    fn warnings(self) -> impl Iterator<Item = String> {
        let over = |claimed: &Claimed<'_>| claimed.bytes > claimed.room;
        self.0.into_values().filter(over).map(|claimed| {
            format!(
                "what logins keep may come to {} MiB more where {} is, and there is room for {} MiB; \
                    write smaller sizes, or who fills it fills it for all",
                claimed.bytes >> 20,
                claimed.store.display(),
                claimed.room >> 20
            )
        })
    }
}

/// What sessions leave there, links among it, must be in nobody's way but theirs.
fn sound(key: &'static str, store: &Path) -> Result<(), CheckError> {
    directory(key, store)?;
    match std::fs::metadata(store) {
        Ok(found) if found.uid() == 0 && found.mode() & 0o022 == 0 => Ok(()),
        Ok(_) => refuse(
            key,
            store,
            "must be root's and writable by nobody else; chown root and chmod go-w it",
        ),
        Err(e) => refuse(key, store, &e.to_string()),
    }
}

/// Lets what is kept have the size that is written now, before anybody can have it. A check of each file system that
/// grows comes first, which takes its time. Gives the kinds of which nothing can be made then.
pub(super) fn grow(checked: &Checked) -> Result<BTreeSet<Kind>, CheckError> {
    let blueprints = &checked.charter().blueprints;
    let mut damaged = BTreeSet::new();
    for (login, key, keep) in all(blueprints) {
        let directory = keep.directory.display();
        match sandbox::grow_kept(keep, login) {
            Ok(Growth::None) => {}
            Ok(Growth::Done) => tracing::info!(%login, key, %directory, "grown to its new size"),
            Ok(Growth::InUse) => {
                tracing::warn!(%login, key, %directory, "it is in use, and keeps the size that it has");
            }
            Err(Unkept::Wrong(problem)) => return refuse(key, &keep.directory, &problem),
            Err(Unkept::Damaged(problem)) => {
                tracing::error!("{}", refused_until_mended(login, key, &problem));
                damaged.extend(having(blueprints, login, &keep.directory));
            }
        }
    }
    Ok(damaged)
}
