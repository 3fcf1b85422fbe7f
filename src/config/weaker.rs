//! `accept_weaker`, and the same on the command line: what can't be enforced here, and is done without by the operator's
//! word.

use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;

use super::Config;
use super::builtin::BUILTIN;

/// Something that a kernel or an ordinary user can't enforce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// Before Landlock ABI 3 (Linux 6.2) files in read-only trees can be truncated by who may write them otherwise.
    LandlockTruncate,
    /// Before Landlock ABI 5 (Linux 6.10) ioctl(2) on devices is not restricted by Landlock.
    LandlockIoctl,
    /// Before Landlock ABI 6 (Linux 6.12) sessions of one sandbox can signal one another.
    LandlockScopes,
    /// Before Linux 6.3, and where an ordinary user serves and vm.memfd_noexec is 0: a program can run from memory
    /// (memfd_create(2)) under a name of its own. Without this word sessions can't make such files.
    MemfdExec,
    /// An ordinary user without subordinate ids has one for the gate, the monitor and every sandbox: namespaces,
    /// Landlock and seccomp alone keep them apart.
    OneUid,
}

impl Gap {
    const ALL: [Self; 5] = [
        Self::LandlockTruncate,
        Self::LandlockIoctl,
        Self::LandlockScopes,
        Self::MemfdExec,
        Self::OneUid,
    ];
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::LandlockTruncate => "landlock_truncate",
            Self::LandlockIoctl => "landlock_ioctl",
            Self::LandlockScopes => "landlock_scopes",
            Self::MemfdExec => "memfd_exec",
            Self::OneUid => "one_uid",
        })
    }
}

impl FromStr for Gap {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(|gap| gap.to_string()).join(", ");
        (Self::ALL.into_iter().find(|gap| gap.to_string() == name))
            .ok_or_else(|| format!("it is one of {}", known()))
    }
}

/// Names, with commas between them.
pub fn list(gaps: &[Gap]) -> String {
    let names: Vec<String> = gaps.iter().map(Gap::to_string).collect();
    names.join(", ")
}

/// What the operator does without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    written: Vec<Gap>,
    spoken: Vec<Gap>,
}

impl Accepted {
    pub(super) fn written(written: Vec<Gap>) -> Self {
        Self {
            written,
            spoken: Vec::new(),
        }
    }

    /// The same, and what stands on the command line, which no change of the configuration takes away.
    #[must_use]
    pub fn and_spoken(self, spoken: Vec<Gap>) -> Self {
        Self { spoken, ..self }
    }

    /// The same, with what stood on the command line of another.
    #[must_use]
    pub fn spoken_as(self, other: &Self) -> Self {
        self.and_spoken(other.spoken.clone())
    }

    /// Whether it is done without.
    pub fn has(&self, gap: Gap) -> bool {
        self.written.contains(&gap) || self.spoken.contains(&gap)
    }
}

impl Config {
    /// How the operator would accept these: what to write, or, where there is no file, what to type.
    pub fn consent(&self, missing: &[Gap]) -> String {
        if self.has_file() {
            return format!("accept_weaker: [{}]", list(missing));
        }
        let mut said = self.accept_weaker.spoken.clone();
        said.extend(missing);
        self.typed(&said)
    }

    /// The command that serves this, as it was typed.
    pub fn command(&self) -> String {
        self.typed(&self.accept_weaker.spoken)
    }

    fn typed(&self, accepted: &[Gap]) -> String {
        let mut command = "sandgate serve".to_owned();
        if self.has_file() {
            command = format!("{command} --config {}", self.source.display());
        }
        if !accepted.is_empty() {
            let names: Vec<String> = accepted.iter().map(Gap::to_string).collect();
            command = format!("{command} --accept-weaker {}", names.join(","));
        }
        command
    }

    fn has_file(&self) -> bool {
        self.source != Path::new(BUILTIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Invoker, parse};

    #[test]
    fn each_gap_is_known_by_the_name_that_is_said() {
        for gap in Gap::ALL {
            assert_eq!(gap.to_string().parse(), Ok(gap));
        }
        let unknown = "one-uid".parse::<Gap>().unwrap_err();
        assert!(unknown.contains("memfd_exec, one_uid"), "{unknown}");
    }

    #[test]
    fn what_is_to_be_typed_repeats_what_was_typed() {
        let mut config = Config::builtin(&Invoker::from_environment()).unwrap();
        assert_eq!(
            config.consent(&[Gap::OneUid]),
            "sandgate serve --accept-weaker one_uid"
        );
        assert_eq!(config.command(), "sandgate serve");
        config.accept_weaker = Accepted::default().and_spoken(vec![Gap::OneUid]);
        assert_eq!(
            config.consent(&[Gap::LandlockIoctl, Gap::LandlockScopes]),
            "sandgate serve --accept-weaker one_uid,landlock_ioctl,landlock_scopes"
        );
        assert_eq!(config.command(), "sandgate serve --accept-weaker one_uid");
    }

    #[test]
    fn what_is_to_be_written_is_the_files_key() {
        let text = "host_keys: [k]\nlogins: {a: {authorized_keys: [a], policy: p}}\naccept_weaker: [one_uid]\n";
        let config = parse(Path::new("sandgate.yaml"), text).unwrap();
        assert!(config.accept_weaker.has(Gap::OneUid));
        assert_eq!(
            config.consent(&[Gap::LandlockScopes]),
            "accept_weaker: [landlock_scopes]"
        );
        assert_eq!(config.command(), "sandgate serve --config sandgate.yaml");
    }
}
