//! `Match`: whom the lines after it are for. Only what is known before a client has proved anything is told
//! apart: the login.

use super::lexer::Line;
use super::values::matches;

/// What has to hold; nothing always does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Condition(Vec<String>);

impl Condition {
    /// Reads the arguments of a Match.
    pub(super) fn read(line: &Line) -> Result<Self, String> {
        let mut words = line.arguments.iter().map(String::as_str);
        let mut lists = Vec::new();
        while let Some(word) = words.next() {
            let (criterion, list) = match word.split_once('=') {
                Some((criterion, list)) => (criterion, Some(list)),
                None => (word, None),
            };
            let criterion = criterion.to_ascii_lowercase();
            if criterion == "all" {
                if line.arguments.len() != 1 || list.is_some() {
                    return Err("'all' cannot be combined with other Match attributes".to_owned());
                }
                return Ok(Self::default());
            }
            if !CRITERIA.contains(&criterion.as_str()) {
                return Err(format!("Unsupported Match attribute {word}"));
            }
            if criterion == "invalid-user" {
                return Err(REFUSED.to_owned());
            }
            let list = list
                .or_else(|| words.next())
                .filter(|list| !list.is_empty())
                .ok_or_else(|| format!("Missing Match criteria for {word}"))?;
            if criterion != "user" {
                return Err(REFUSED.to_owned());
            }
            lists.push(list.to_owned());
        }
        Ok(Self(lists))
    }

    /// Both of them.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self([self.0.as_slice(), other.0.as_slice()].concat())
    }

    /// Whether it holds for a login.
    pub(super) fn holds(&self, login: &str) -> bool {
        self.0.iter().all(|list| listed(list, login))
    }
}

/// ssh_config(5), PATTERNS: a pattern with `!` that matches excludes whatever the others say.
fn listed(list: &str, login: &str) -> bool {
    let mut found = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(pattern, login) => return false,
            Some(_) => {}
            None => found |= matches(pattern, login),
        }
    }
    found
}

/// Every criterion of OpenSSH 10.
const CRITERIA: &[&str] = &[
    "user",
    "group",
    "host",
    "address",
    "localaddress",
    "localport",
    "rdomain",
    "invalid-user",
    "version",
];

const REFUSED: &str = "refused: logins alone are told apart; write `Match User PATTERNS` or `Match all`, \
     or start a server of its own for these clients";

/// What may stand after a Match in sshd_config(5) and is a login's own here.
const OF_LOGINS: &[&str] = &[
    "AcceptEnv",
    "AllowAgentForwarding",
    "AllowStreamLocalForwarding",
    "AllowTcpForwarding",
    "AuthenticationMethods",
    "AuthorizedKeysCommand",
    "AuthorizedKeysCommandUser",
    "AuthorizedKeysFile",
    "AuthorizedPrincipalsFile",
    "DisableForwarding",
    "ForceCommand",
    "KbdInteractiveAuthentication",
    "PermitListen",
    "PermitOpen",
    "PermitRootLogin",
    "PermitTTY",
    "PubkeyAcceptedAlgorithms",
    "PubkeyAuthentication",
    "RevokedKeys",
    "SandboxCodes",
    "SandboxPolicy",
    "SandboxShell",
    "SetEnv",
    "StreamLocalBindUnlink",
    "Subsystem",
    "TrustedUserCAKeys",
];

/// What sshd can say for some clients and this server says for everybody.
const OF_EVERYBODY: &[&str] = &[
    "AllowUsers",
    "Banner",
    "ChannelTimeout",
    "ClientAliveCountMax",
    "ClientAliveInterval",
    "DenyUsers",
    "LogLevel",
    "MaxAuthTries",
    "MaxSessions",
    "RekeyLimit",
    "RequiredRSASize",
    "UnusedConnectionTimeout",
];

/// What sshd lets stand after a Match of what changes nothing here or is refused by itself.
const INDIFFERENT: &[&str] = &[
    "AllowGroups",
    "AuthorizedPrincipalsCommand",
    "AuthorizedPrincipalsCommandUser",
    "CASignatureAlgorithms",
    "ChrootDirectory",
    "DenyGroups",
    "ExposeAuthInfo",
    "GatewayPorts",
    "GSSAPIAuthentication",
    "HostbasedAcceptedAlgorithms",
    "HostbasedAuthentication",
    "HostbasedUsesNameFromPacketOnly",
    "IgnoreRhosts",
    "IPQoS",
    "KerberosAuthentication",
    "LogVerbose",
    "PAMServiceName",
    "PasswordAuthentication",
    "PermitEmptyPasswords",
    "PermitTunnel",
    "PermitUserRC",
    "PubkeyAuthOptions",
    "RDomain",
    "RefuseConnection",
    "StreamLocalBindMask",
    "X11DisplayOffset",
    "X11Forwarding",
    "X11UseLocalhost",
];

/// Whether a keyword may stand after a Match; otherwise why not.
pub(super) fn check(keyword: &str) -> Result<(), String> {
    if OF_EVERYBODY.contains(&keyword) {
        return Err("refused: everybody gets the same; write it above the first Match".to_owned());
    }
    if OF_LOGINS.contains(&keyword) || INDIFFERENT.contains(&keyword) {
        return Ok(());
    }
    Err(format!(
        "Directive '{keyword}' is not allowed within a Match block"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{keywords, lexer};
    use super::*;

    fn condition(text: &str) -> Result<Condition, String> {
        Condition::read(&lexer::read(&format!("Match {text}")).unwrap().unwrap())
    }

    #[test]
    fn patterns_are_those_of_the_manual() {
        for (text, login, holds) in [
            ("all", "ann", true),
            ("User ann", "ann", true),
            ("user=ann,bob", "bob", true),
            ("User *,!bob", "ann", true),
            ("User *,!bob", "bob", false),
            ("User !bob", "ann", false),
            ("User a* User *n", "ann", true),
            ("User a* User *n", "anna", false),
        ] {
            assert_eq!(condition(text).unwrap().holds(login), holds, "{text}");
        }
        let both = condition("User a*")
            .unwrap()
            .and(&condition("User *b").unwrap());
        assert!(both.holds("ab") && !both.holds("a") && !both.holds("b"));
    }

    #[test]
    fn what_is_wrong_is_said_and_what_is_not_done_refused() {
        for (text, said) in [
            ("User", "Missing"),
            ("User ann all", "'all' cannot"),
            ("Weather fine", "Unsupported"),
            ("Address 10.0.0.0/8", "refused: logins alone"),
            ("User ann LocalPort 22", "refused: logins alone"),
        ] {
            let problem = condition(text).unwrap_err();
            assert!(problem.starts_with(said), "{text}: {problem}");
        }
    }

    #[test]
    fn the_lists_name_keywords_as_they_are_written() {
        for name in [OF_LOGINS, OF_EVERYBODY, INDIFFERENT].concat() {
            assert_eq!(keywords::find(name).unwrap().name, name);
        }
    }
}
