//! Landlock: the same map as the mounts, a second time, and scopes between sessions (landlock(7)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::blueprint::{Access, Blueprint, HOME};
use super::files;
use crate::config::Gap;

mod carved;
mod rulesets;

use carved::RootDevice;

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

    /// The rules for one sandbox, whose root `root` refers to; nothing of a user's runs in it yet.
    pub(super) fn sandbox(
        self,
        root: &OwnedFd,
        blueprint: &Blueprint,
    ) -> Result<RulesetCreated, LandlockError> {
        // Where sessions share a sandbox on purpose, one finds and ends what another left behind; the pid and
        // network namespaces keep all of it inside.
        let scopes = if blueprint.scope.is_shared() {
            Scopes::None
        } else {
            Scopes::Session
        };
        let carved = if blueprint.denied.is_empty() {
            None
        } else {
            let device = RootDevice::of(root)?;
            device.verify(root, &blueprint.denied)?;
            Some(device)
        };
        let mut rules = Vec::new();
        for (path, grant) in grants(blueprint) {
            let Some((file, kind)) = open_inside(root, path)? else {
                continue;
            };
            match carved {
                Some(device) => device.spread((file, kind, grant), path, &mut rules)?,
                None => rules.push((file, kind, grant)),
            }
        }
        let mut ruleset = self.ruleset(scopes)?;
        for (file, kind, grant) in rules {
            let rights = grant.rights(self.abi)
                & if kind.is_dir() {
                    BitFlags::all()
                } else {
                    AccessFs::from_file(self.abi)
                };
            ruleset = ruleset.add_rule(PathBeneath::new(file, rights))?;
        }
        Ok(ruleset)
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

fn grants(blueprint: &Blueprint) -> impl Iterator<Item = (&Path, Grant)> {
    let own = [
        ("/", Grant::Names),
        ("/proc", Grant::Listed(Access::ReadOnly)),
        ("/dev", Grant::Devices),
        ("/dev/shm", Grant::Listed(Access::ReadWrite)),
        (HOME, Grant::Listed(Access::ReadOnly)),
    ];
    own.into_iter()
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

/// Opens a path as the sandbox sees it; `None` where it has no such path.
fn open_inside(root: &OwnedFd, path: &Path) -> Result<Option<(OwnedFd, FileType)>, LandlockError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let wrong = |source: rustix::io::Errno| LandlockError::Path {
        path: path.display().to_string(),
        source: source.into(),
    };
    match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(file) => {
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&file).map_err(wrong)?.st_mode);
            Ok(Some((file, kind)))
        }
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(e) => Err(wrong(e)),
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
