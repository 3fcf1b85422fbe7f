//! The variables that a client may set (RFC 4254 §6.4).

use std::net::SocketAddr;

use super::visit::Route;
use super::wire::NOWHERE;
use crate::sandbox::protocol::{LONGEST, LONGEST_COMMAND};

/// What every login accepts; a trailing `*` matches a prefix.
const BUILT_IN: [&str; 5] = ["LANG", "LC_*", "TERM", "COLORTERM", "GIT_PROTOCOL"];

/// The most variables that one channel may set.
const COUNT: usize = 128;

/// The most bytes of a variable's name and value together.
const BYTES: usize = 32 * 1024;

/// The most bytes of all of them: they wait in memory, and a request to the monitor has to hold them.
const TOGETHER: usize = 256 * 1024;

// The longest command, all variables with the lengths of their parts, a terminal's modes and the rest fit into one
// request. With a forced command in its place the client's comes as one variable more; what is too long then is refused.
const _: () = assert!(LONGEST_COMMAND + TOGETHER + 16 * 1024 <= LONGEST);

/// What a client set before its program started, later ones replacing earlier ones of the same name.
#[derive(Debug, Default)]
pub(super) struct Environment(Vec<(Vec<u8>, Vec<u8>)>);

/// Whether a variable was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is set.
    Yes,
    /// It is not, and nothing changed.
    No,
}

impl Environment {
    /// Sets a variable that the built-in list or the operator's accepts.
    pub(super) fn offer(&mut self, operator: &[String], name: &[u8], value: &[u8]) -> Taken {
        match str::from_utf8(name) {
            Ok(name) if acceptable(operator, name) => self.set(name, value),
            _ => Taken::No,
        }
    }

    /// What ssh(1) lists under ENVIRONMENT: both ends of the connection, and what had been asked for
    /// where something else runs. No list lets a client set these.
    pub(super) fn introduce(&mut self, route: Route, original: Option<Vec<u8>>) {
        let Route { client, server } = route;
        // As sshd names what has no address.
        let name = |address: SocketAddr| match address {
            NOWHERE => "UNKNOWN".to_owned(),
            known => known.ip().to_canonical().to_string(),
        };
        let (from, port, to) = (name(client), client.port(), name(server));
        let ends = [
            ("SSH_CLIENT", format!("{from} {port} {}", server.port())),
            (
                "SSH_CONNECTION",
                format!("{from} {port} {to} {}", server.port()),
            ),
        ];
        let ends = ends.map(|(name, value)| (name.into(), value.into_bytes()));
        let original = original.map(|command| (b"SSH_ORIGINAL_COMMAND".to_vec(), command));
        self.0.extend(ends.into_iter().chain(original));
    }

    /// Sets what the key brings with it (sshd(8), environment="…"), or the operator.
    pub(super) fn assign<'a>(
        &mut self,
        variables: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Taken {
        for (name, value) in variables {
            if self.set(name, value) == Taken::No {
                return Taken::No;
            }
        }
        Taken::Yes
    }

    /// Sets a variable by the server's own choice: TERM of a pty-req (RFC 4254 §6.2).
    pub(super) fn set(&mut self, name: impl AsRef<[u8]>, value: &[u8]) -> Taken {
        let name = name.as_ref();
        if name.len() + value.len() > BYTES || value.contains(&0) {
            return Taken::No;
        }
        let others = self.0.iter().filter(|(known, _)| known != name);
        let held: usize = others.map(|(name, value)| name.len() + value.len()).sum();
        if held + name.len() + value.len() > TOGETHER {
            return Taken::No;
        }
        let (name, value) = (name.to_vec(), value.to_vec());
        let room = self.0.len() < COUNT;
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, current)) => *current = value,
            None if room => self.0.push((name, value)),
            None => return Taken::No,
        }
        Taken::Yes
    }

    /// The variables, in the order in which they were first set.
    pub(super) fn into_variables(self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0
    }
}

fn acceptable(operator: &[String], name: &str) -> bool {
    let built_in = BUILT_IN.iter().copied();
    let mut listed = built_in.chain(operator.iter().map(String::as_str));
    well_formed(name) && listed.any(|pattern| fits(pattern, name)) && !reserved(name)
}

/// Whether a name is among these.
pub(super) fn listed(patterns: &[String], name: &[u8]) -> bool {
    let name = str::from_utf8(name);
    name.is_ok_and(|name| patterns.iter().any(|pattern| fits(pattern, name)))
}

fn fits(pattern: &str, name: &str) -> bool {
    pattern
        .strip_suffix('*')
        .map_or(pattern == name, |prefix| name.starts_with(prefix))
}

fn well_formed(name: &str) -> bool {
    let head = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    head && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// What no list opens: the loader's variables (ld.so(8)) choose the code of every program, and the
/// proxy's (`http_proxy`, `NODE_USE_ENV_PROXY`, ...) are the sandbox's to set, as SSH_CLIENT and its
/// kind are the server's.
fn reserved(name: &str) -> bool {
    name.starts_with("LD_")
        || name.starts_with("SSH_")
        || name.to_ascii_uppercase().ends_with("_PROXY")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(operator: &[&str], name: &str) -> Taken {
        let operator: Vec<String> = operator.iter().map(|&pattern| pattern.to_owned()).collect();
        Environment::default().offer(&operator, name.as_bytes(), b"x")
    }

    #[test]
    fn the_built_in_list_is_accepted_and_nothing_beside_it() {
        for name in ["LANG", "LC_ALL", "LC_", "TERM", "COLORTERM", "GIT_PROTOCOL"] {
            assert_eq!(offered(&[], name), Taken::Yes, "{name}");
        }
        for name in [
            "LANGUAGE", "LC", "PATH", "HOME", "SHELL", "BASH_ENV", "TERMINFO", "lang", "",
        ] {
            assert_eq!(offered(&[], name), Taken::No, "{name}");
        }
    }

    #[test]
    fn the_operators_list_adds_names_and_prefixes() {
        assert_eq!(offered(&["CI_*", "EDITOR"], "CI_JOB"), Taken::Yes);
        assert_eq!(offered(&["CI_*", "EDITOR"], "EDITOR"), Taken::Yes);
        assert_eq!(offered(&["CI_*", "EDITOR"], "EDITORS"), Taken::No);
        assert_eq!(offered(&["CI_*", "EDITOR"], "XCI_JOB"), Taken::No);
    }

    #[test]
    fn loader_and_proxy_variables_are_never_accepted() {
        for name in [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "HTTPS_PROXY",
            "no_proxy",
            "All_Proxy",
            "NODE_USE_ENV_PROXY",
            "SSH_CONNECTION",
            "SSH_ORIGINAL_COMMAND",
        ] {
            assert_eq!(offered(&["*", name], name), Taken::No, "{name}");
        }
        assert_eq!(offered(&["*"], "ANYTHING"), Taken::Yes);
    }

    #[test]
    fn malformed_names_and_values_are_refused_whatever_the_list() {
        for name in ["1A", "A-B", "A=B", "A B", "A\0", "Ä"] {
            assert_eq!(offered(&["*"], name), Taken::No, "{name:?}");
        }
        assert_eq!(
            Environment::default().offer(&[], b"LANG", b"a\0b"),
            Taken::No
        );
    }

    #[test]
    fn values_are_bytes_and_names_are_not() {
        let mut environment = Environment::default();
        assert_eq!(environment.offer(&[], b"LANG", b"\xe9\xff"), Taken::Yes);
        assert_eq!(environment.offer(&[], b"LC_\xff", b"x"), Taken::No);
        let expected = [(b"LANG".to_vec(), b"\xe9\xff".to_vec())];
        assert_eq!(environment.into_variables(), expected);
    }

    #[test]
    fn a_variable_may_hold_32_kib_and_no_more() {
        let fitting = "v".repeat(BYTES - "LANG".len());
        assert_eq!(
            Environment::default().offer(&[], b"LANG", fitting.as_bytes()),
            Taken::Yes
        );
        assert_eq!(
            Environment::default().offer(&[], b"LANG", format!("{fitting}v").as_bytes()),
            Taken::No
        );
    }

    #[test]
    fn the_129th_variable_is_refused_and_a_known_one_replaced() {
        let mut environment = Environment::default();
        for index in 0..COUNT {
            assert_eq!(
                environment.offer(&[], format!("LC_{index}").as_bytes(), b"a"),
                Taken::Yes
            );
        }
        assert_eq!(environment.offer(&[], b"LANG", b"a"), Taken::No);
        assert_eq!(environment.offer(&[], b"LC_0", b"b"), Taken::Yes);
        let variables = environment.into_variables();
        assert_eq!(variables.len(), COUNT);
        assert_eq!(variables[0], (b"LC_0".to_vec(), b"b".to_vec()));
    }
}
