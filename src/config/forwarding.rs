//! What clients of a login may forward: the operator's switches.

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::model::{Invalid, PermitList};
use crate::yaml::Fault;

/// What the clients of a login may forward. A key's own grants can only take away from it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of the file, each independent of the others"
)]
pub struct Forwarding {
    /// Whether they may connect to what listens inside, and as policy has it to the outside (`ssh -L`,
    /// `-D`, `-W`).
    pub local: bool,
    /// Whether they may listen inside for what leads to them (`ssh -R`): a way out that policy does not see.
    pub remote: bool,
    /// Whether `local` and `remote` hold for UNIX sockets, too.
    pub sockets: bool,
    /// Whether they may forward their agent (`ssh -A`).
    pub agent: bool,
    /// Whether a socket that is there already gives way to one that is listened on (`sshd_config(5)`,
    /// `StreamLocalBindUnlink`).
    pub replace_sockets: bool,
    /// The only places that `local` is for; `None` is any.
    pub permit_open: Option<PermitList>,
    /// The only places that `remote` is for; `None` is any.
    pub permit_listen: Option<PermitList>,
}

impl Default for Forwarding {
    /// Into the sandbox, and no way out of it.
    fn default() -> Self {
        Self {
            local: true,
            remote: false,
            sockets: true,
            agent: false,
            replace_sockets: false,
            permit_open: None,
            permit_listen: None,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ForwardingFile {
    local: Option<bool>,
    remote: Option<bool>,
    sockets: Option<bool>,
    agent: Option<bool>,
    replace_sockets: Option<bool>,
    permit_open: Option<Vec<Spanned<String>>>,
    permit_listen: Option<Vec<Spanned<String>>>,
}

pub(super) fn check(file: ForwardingFile) -> Result<Forwarding, Fault> {
    let default = Forwarding::default();
    Ok(Forwarding {
        local: file.local.unwrap_or(default.local),
        remote: file.remote.unwrap_or(default.remote),
        sockets: file.sockets.unwrap_or(default.sockets),
        agent: file.agent.unwrap_or(default.agent),
        replace_sockets: file.replace_sockets.unwrap_or(default.replace_sockets),
        permit_open: permits(file.permit_open, PermitList::open)?,
        permit_listen: permits(file.permit_listen, PermitList::listen)?,
    })
}

fn permits(
    entries: Option<Vec<Spanned<String>>>,
    add: impl Fn(&mut PermitList, &str) -> Result<(), Invalid>,
) -> Result<Option<PermitList>, Fault> {
    let Some(entries) = entries else {
        return Ok(None);
    };
    let mut list = PermitList::default();
    for entry in entries {
        add(&mut list, &entry.value)
            .map_err(|invalid| Fault::at(entry.referenced, invalid.to_string()))?;
    }
    Ok(Some(list))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, parse};
    use crate::yaml;

    fn config(forwarding: &str) -> Result<Config, yaml::Invalid> {
        let text = format!(
            "host_keys: [k]\nlogins:\n  sandbox:\n    authorized_keys: [a]\n    policy: p.yaml\n{forwarding}"
        );
        parse(Path::new("sandgate.yaml"), &text)
    }

    fn read(forwarding: &str) -> Forwarding {
        let config = config(forwarding).unwrap();
        config.logins.values().next().unwrap().forwarding.clone()
    }

    #[test]
    fn without_a_word_the_sandbox_is_reached_and_nothing_leaves_it() {
        assert_eq!(read(""), Forwarding::default());
        assert_eq!(read("    forwarding: {}\n"), Forwarding::default());
    }

    #[test]
    fn each_switch_is_read() {
        let read = read(
            "    forwarding: {local: false, remote: true, sockets: false, agent: true, replace_sockets: true,\n\
             \x20     permit_open: ['localhost:80', /run/s], permit_listen: []}\n",
        );
        let mut open = PermitList::default();
        open.open("localhost:80").unwrap();
        open.open("/run/s").unwrap();
        let expected = Forwarding {
            local: false,
            remote: true,
            sockets: false,
            agent: true,
            replace_sockets: true,
            permit_open: Some(open),
            permit_listen: Some(PermitList::default()),
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (forwarding, expected) in [
            ("{remot: true}", "did you mean `remote`?"),
            ("{remote: yes}", "logins.sandbox.forwarding.remote"),
            (
                "{permit_open: ['localhost:80', 'localhost']}",
                "logins.sandbox.forwarding.permit_open[1]: \"localhost\" is neither",
            ),
            ("{permit_listen: ['a:ssh']}", "port \"ssh\""),
        ] {
            let said = config(&format!("    forwarding: {forwarding}\n"))
                .unwrap_err()
                .to_string();
            assert!(said.starts_with("sandgate.yaml:6:"), "{said}");
            assert!(said.contains(expected), "{forwarding}: {said}");
        }
    }
}
