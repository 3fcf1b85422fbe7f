//! What a definition's sandboxes get that others never have: a network of somebody else's making, user namespaces, ptrace.

use std::path::{Component, PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::text::wrong;
use crate::yaml::Fault;

/// Where a sandbox's network comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Network {
    /// Each has its own, with no way out but the proxy.
    #[default]
    Own,
    /// A namespace that somebody else has made and keeps, by its path. One sandbox at a time is in it.
    Given(PathBuf),
}

/// What the filter of a definition's sessions lets them do that it refuses to others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allow {
    /// Namespaces and mounts of their own, as whom they like inside of them (user_namespaces(7)).
    pub user_namespaces: bool,
    /// Looking into and stopping other processes of the same session (ptrace(2)).
    pub ptrace: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkFile {
    namespace: Option<Spanned<PathBuf>>,
}

pub(super) fn check(file: NetworkFile) -> Result<Network, Fault> {
    let Some(Spanned {
        value, referenced, ..
    }) = file.namespace
    else {
        return Ok(Network::Own);
    };
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if value.is_absolute() && value.components().all(plain) {
        Ok(Network::Given(value))
    } else {
        wrong(
            referenced,
            "give the absolute path of a network namespace, such as /run/netns/NAME",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Network, String> {
        let told = |fault: Fault| fault.describe("f", text).to_string();
        check(crate::yaml::read(text).map_err(told)?).map_err(told)
    }

    #[test]
    fn a_namespace_is_an_absolute_path() {
        assert_eq!(checked("{}").unwrap(), Network::Own);
        assert_eq!(
            checked("{namespace: /run/netns/vpn}").unwrap(),
            Network::Given("/run/netns/vpn".into())
        );
        for text in ["vpn", "run/netns/vpn", "/run/netns/../vpn", "''"] {
            let refused = checked(&format!("{{namespace: {text}}}")).unwrap_err();
            assert!(refused.contains("such as /run/netns/NAME"), "{refused}");
        }
        let misspelt = checked("{namespaces: /run/netns/vpn}").unwrap_err();
        assert!(misspelt.contains("`namespace`"), "{misspelt}");
    }

    #[test]
    fn nothing_is_allowed_unless_it_is_said() {
        let allow = |text: &str| crate::yaml::read::<Allow>(text);
        assert_eq!(allow("{}").unwrap(), Allow::default());
        assert!(allow("{ptrace: true}").unwrap().ptrace);
        assert!(!allow("{ptrace: true}").unwrap().user_namespaces);
        assert!(allow("{mounts: true}").is_err());
    }
}
