//! Landlock: the same map as the mounts, a second time, and scopes between sessions (landlock(7)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::FileType;

use super::blueprint::{Access, Blueprint, HOME};
use super::files;
use super::root::Written;
use crate::config::Gap;

mod carved;
mod rulesets;

use carved::{RootDevice, Ruled};

pub(super) use carved::CarvedRules;
pub(super) use rulesets::Rulesets;

/// Why a ruleset could not be made or enforced.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// The kernel has none.
    #[error(
        "this kernel enforces no Landlock: it needs CONFIG_SECURITY_LANDLOCK and `landlock` in lsm= (Linux 5.13 or later), and in a container a seccomp profile that allows landlock_create_ruleset"
    )]
    Missing,
    /// The kernel refused a ruleset.
    #[error("landlock: {0}")]
    Ruleset(#[from] RulesetError),
    /// A path that a rule names can't be opened.
    #[error("landlock: cannot open {path}: {source}")]
    Path {
        /// The path inside the sandbox.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The root that was made leads to something denied.
    #[error("landlock: {0} is denied, and yet the sandbox's root leads to it")]
    Reachable(String),
    /// It has no scopes, and a domain that holds paths lets nobody mount.
    #[error(
        "landlock: user namespaces need a kernel that enforces scopes (Landlock ABI 6, Linux 6.12); leave `allow.user_namespaces` out"
    )]
    NoScopes,
    /// The kernel took the ruleset but does not enforce all of it.
    #[error("landlock: the ruleset is only partly enforced")]
    Partly,
}

/// What the running kernel's Landlock can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    abi: ABI,
}

impl Kernel {
    /// Asks the kernel by making a ruleset at each ABI, the newest first. ABI 1 can't allow moving
    /// files between directories; it denies it everywhere, which is stricter and no gap.
    pub fn probe() -> Result<Self, LandlockError> {
        [
            ABI::V7,
            ABI::V6,
            ABI::V5,
            ABI::V4,
            ABI::V3,
            ABI::V2,
            ABI::V1,
        ]
        .into_iter()
        .map(|abi| Self { abi })
        .find(|kernel| kernel.ruleset(Scopes::Session).is_ok())
        .ok_or(LandlockError::Missing)
    }

    /// The number of its ABI.
    pub fn abi(self) -> i32 {
        self.abi as i32
    }

    /// What newer ABIs would enforce and this one does not.
    pub fn gaps(self) -> Vec<Gap> {
        [
            (ABI::V3, Gap::LandlockTruncate),
            (ABI::V5, Gap::LandlockIoctl),
            (ABI::V6, Gap::LandlockScopes),
        ]
        .into_iter()
        .filter(|(needed, _)| self.abi < *needed)
        .map(|(_, gap)| gap)
        .collect()
    }

    /// Denies everything that this ABI can deny, until rules allow.
    fn ruleset(self, scopes: Scopes) -> Result<RulesetCreated, RulesetError> {
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(self.abi))?;
        if self.abi >= ABI::V6 && scopes == Scopes::Session {
            ruleset = ruleset.scope(Scope::from_all(self.abi))?;
        }
        ruleset.create()
    }

    /// The rules for one sandbox, whose root `root` refers to; nothing of a user's runs in it yet. `prior` are those
    /// of the root that it is a copy of.
    pub(super) fn sandbox(
        self,
        root: &OwnedFd,
        blueprint: &Blueprint,
        prior: Option<Prior<'_>>,
    ) -> Result<RulesetCreated, LandlockError> {
        let carved = carved_device(root, blueprint)?;
        let view = View::of(root, blueprint);
        let (mut ruleset, known) = match prior {
            Some(Prior { ruleset, known }) => (ruleset, Some(known)),
            None => (self.ruleset(Scopes::of(blueprint))?, None),
        };
        for (path, grant) in grants(blueprint) {
            let Some((file, kind)) = view.open(path)? else {
                continue;
            };
            let mut rules = Vec::new();
            match carved {
                Some(device) if device.carves(&file, kind, grant, path)? => {
                    if known.is_some_and(|known| known.of(path).is_some()) {
                        continue;
                    }
                    device.spread((file, kind, grant), path, &mut rules)?;
                }
                _ => rules.push((file, kind, grant)),
            }
            for rule in &rules {
                ruleset = self.allow(ruleset, rule)?;
            }
        }
        Ok(ruleset)
    }

    /// A ruleset with what is known beforehand: it can be made while a sandbox still is.
    pub(super) fn begin(
        self,
        blueprint: &Blueprint,
        known: &CarvedRules,
    ) -> Result<RulesetCreated, LandlockError> {
        let mut ruleset = self.ruleset(Scopes::of(blueprint))?;
        for rule in known.all() {
            ruleset = self.allow(ruleset, rule)?;
        }
        Ok(ruleset)
    }

    fn allow(
        self,
        ruleset: RulesetCreated,
        (file, kind, grant): &Ruled,
    ) -> Result<RulesetCreated, LandlockError> {
        let rights = grant.rights(self.abi)
            & if kind.is_dir() {
                BitFlags::all()
            } else {
                AccessFs::from_file(self.abi)
            };
        Ok(ruleset.add_rule(PathBeneath::new(file, rights))?)
    }

    /// The gate's own rules: it makes unnamed files in its spill directory and opens nothing else.
    pub(crate) fn gate(self, spill: impl AsFd) -> Result<RulesetCreated, LandlockError> {
        let rights = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::MakeReg;
        // No scopes: the gate signals nobody (its seccomp filter sees to it) and logs to a socket at most.
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(self.abi))?
            .create()?;
        Ok(ruleset.add_rule(PathBeneath::new(spill, rights))?)
    }

    /// For what works on bytes of strangers: no path, and none but its own children to signal.
    pub(crate) fn blind(self) -> Result<RulesetCreated, LandlockError> {
        Ok(self.ruleset(Scopes::Session)?)
    }
}

/// Whether sessions are kept from signalling one another and from each other's abstract sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scopes {
    Session,
    None,
}

impl Scopes {
    /// Where sessions share a sandbox on purpose, one finds and ends what another left behind; the pid and
    /// network namespaces keep all of it inside.
    fn of(blueprint: &Blueprint) -> Self {
        if blueprint.scope.is_shared() {
            Self::None
        } else {
            Self::Session
        }
    }
}

/// A ruleset that has what is known of another root by now.
pub(super) struct Prior<'a> {
    pub(super) ruleset: RulesetCreated,
    pub(super) known: &'a CarvedRules,
}

/// Proof that a ruleset is in force on this thread.
#[derive(Debug)]
pub(crate) struct InForce(());

/// Enforces a ruleset on this thread and what it starts; anything less than all of it is an error.
pub(crate) fn enforce(ruleset: RulesetCreated) -> Result<InForce, LandlockError> {
    let status = ruleset.restrict_self()?;
    if status.ruleset == RulesetStatus::FullyEnforced && status.no_new_privs {
        Ok(InForce(()))
    } else {
        Err(LandlockError::Partly)
    }
}

/// What a rule gives.
#[derive(Debug, Clone, Copy)]
enum Grant {
    Listed(Access),
    /// The names in a directory, not the files.
    Names,
    /// Device nodes: use, and ioctl.
    Devices,
}

impl Grant {
    fn rights(self, abi: ABI) -> BitFlags<AccessFs> {
        match self {
            Self::Listed(Access::ReadOnly) => AccessFs::from_read(abi),
            // Devices are bound one by one; nothing below a listed path is one (nodev).
            Self::Listed(Access::ReadWrite) => {
                AccessFs::from_all(abi) & !(AccessFs::MakeChar | AccessFs::MakeBlock)
            }
            Self::Names => AccessFs::ReadDir.into(),
            Self::Devices => {
                let ioctl = AccessFs::from_all(abi) & AccessFs::IoctlDev;
                AccessFs::ReadDir | AccessFs::ReadFile | AccessFs::WriteFile | ioctl
            }
        }
    }
}

/// What each sandbox has.
const OWN: [(&str, Grant); 5] = [
    ("/", Grant::Names),
    ("/proc", Grant::Listed(Access::ReadOnly)),
    ("/dev", Grant::Devices),
    ("/dev/shm", Grant::Listed(Access::ReadWrite)),
    (HOME, Grant::Listed(Access::ReadOnly)),
];

fn grants(blueprint: &Blueprint) -> impl Iterator<Item = (&Path, Grant)> {
    OWN.into_iter()
        .chain(files::SYNTHESIZED.map(|path| (path, Grant::Listed(Access::ReadOnly))))
        .map(|(path, grant)| (Path::new(path), grant))
        .chain(
            blueprint
                .paths
                .iter()
                .map(|listed| (&*listed.path, Grant::Listed(listed.access))),
        )
        .filter(|(path, grant)| {
            // Listing what is private and fixed (/proc, /dev) gives nothing more.
            !matches!(grant, Grant::Listed(Access::ReadWrite))
                || !(path.starts_with("/proc")
                    || path.starts_with("/dev") && *path != Path::new("/dev/shm"))
        })
}

/// The file system of carved directories, where some are; that nothing denied has a name was looked for then.
fn carved_device(
    root: &OwnedFd,
    blueprint: &Blueprint,
) -> Result<Option<RootDevice>, LandlockError> {
    if blueprint.denied.is_empty() {
        return Ok(None);
    }
    let device = RootDevice::of(root)?;
    device.verify(root, &blueprint.denied)?;
    Ok(Some(device))
}

/// Paths as a sandbox sees them, without the links that sessions may have left where they write: a grant is for what
/// policy means.
struct View<'a>(Written<'a>);

impl<'a> View<'a> {
    fn of(root: &'a OwnedFd, blueprint: &'a Blueprint) -> Self {
        let own = ["/tmp", "/dev/shm", HOME].map(Path::new);
        Self(Written::new(root.as_fd(), blueprint.writable().chain(own)))
    }

    /// `None` where the sandbox has no such path, which only what policy lists and what is made for it may lack.
    fn open(&self, path: &Path) -> Result<Option<(OwnedFd, FileType)>, LandlockError> {
        let wrong = |source: io::Error| LandlockError::Path {
            path: path.display().to_string(),
            source,
        };
        let Some(found) = self.0.find(path).map_err(wrong)? else {
            let everywhere = OWN.iter().any(|(own, _)| path == Path::new(own));
            let missing = || Err(wrong(io::ErrorKind::NotFound.into()));
            return if everywhere { missing() } else { Ok(None) };
        };
        let stat = rustix::fs::fstat(&found.file).map_err(|e| wrong(e.into()))?;
        Ok(Some((found.file, FileType::from_raw_mode(stat.st_mode))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_kernels_name_what_they_cannot_enforce() {
        let gaps = |abi| Kernel { abi }.gaps();
        assert_eq!(
            gaps(ABI::V1),
            [
                Gap::LandlockTruncate,
                Gap::LandlockIoctl,
                Gap::LandlockScopes
            ]
        );
        assert_eq!(gaps(ABI::V4), [Gap::LandlockIoctl, Gap::LandlockScopes]);
        assert_eq!(gaps(ABI::V5), [Gap::LandlockScopes]);
        assert!(gaps(ABI::V6).is_empty());
    }
}
