//! What holds the programs of a sandbox, and what holds those of ours that work with its files.

use std::io;
use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access as _, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreated,
    Scope,
};

use super::{Kernel, LandlockError, Prior};
use crate::sandbox::blueprint::Blueprint;

/// The rulesets of one sandbox.
#[derive(Debug)]
pub(in crate::sandbox) struct Rulesets {
    paths: RulesetCreated,
    /// For programs that may mount. A domain that holds paths refuses every mount, in whatever user namespace
    /// (landlock(7), LIMITATIONS): these have scopes alone, so that each session still is a domain of its own.
    mounting: Option<RulesetCreated>,
}

impl Rulesets {
    pub(in crate::sandbox) fn create(
        kernel: Kernel,
        root: &OwnedFd,
        blueprint: &Blueprint,
        prior: Option<Prior<'_>>,
    ) -> Result<Self, LandlockError> {
        let mounting = blueprint.allow.user_namespaces;
        let mounting = mounting
            .then(|| kernel.scopes_alone(blueprint))
            .transpose()?;
        Ok(Self {
            paths: kernel.sandbox(root, blueprint, prior)?,
            mounting,
        })
    }

    /// For what a session executes.
    pub(in crate::sandbox) fn for_programs(&self) -> io::Result<RulesetCreated> {
        self.mounting.as_ref().unwrap_or(&self.paths).try_clone()
    }

    /// For our own SFTP server, and errands: they never mount.
    pub(in crate::sandbox) fn for_files(&self) -> io::Result<RulesetCreated> {
        self.paths.try_clone()
    }
}

impl Kernel {
    /// Whether it can keep programs apart without holding their paths.
    pub fn has_scopes(self) -> bool {
        self.abi >= ABI::V6
    }

    /// Holds no path. In shared sandboxes sessions may signal one another; that they don't share abstract sockets
    /// is the price of a domain.
    fn scopes_alone(self, blueprint: &Blueprint) -> Result<RulesetCreated, LandlockError> {
        if !self.has_scopes() {
            return Err(LandlockError::NoScopes);
        }
        let scopes: BitFlags<Scope> = if blueprint.scope.is_shared() {
            Scope::AbstractUnixSocket.into()
        } else {
            Scope::from_all(self.abi)
        };
        Ok(Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .scope(scopes)?
            .create()?)
    }
}
