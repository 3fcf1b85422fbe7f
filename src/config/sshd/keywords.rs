//! Every keyword of sshd_config(5), and what becomes of it here.

use super::algorithms::Kind;
use super::values::{FLAG, Form};

/// A keyword.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keyword {
    /// As the manual writes it.
    pub(super) name: &'static str,
    /// What stands behind it.
    pub(super) form: Form,
    /// What becomes of it.
    pub(super) fate: Fate,
    /// What holds where no line names it; empty for what has no value then.
    pub(super) default: &'static str,
}

/// What becomes of a keyword.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// Its first line is carried over.
    First,
    /// Its lines add up and are carried over.
    Every,
    /// Only these values are taken, which ask for what is done here in any case; others are refused
    /// for this reason.
    Always(&'static [&'static str], &'static str),
    /// It grants and forbids nothing. Other values than these are not followed, with a warning.
    Taste(&'static [&'static str], &'static str),
    /// It shapes what is never done here, so that nothing depends on it.
    Moot,
    /// It is refused whatever it says, for this reason.
    Never(&'static str),
}

use Fate::{Always, Every, First, Moot, Never, Taste};
use Form::{Algorithms, Many, Number, One, Rest, Time, TimeOrNone, Word};

const NO: &[&str] = &["no"];
const YES: &[&str] = &["yes"];
const NONE: &[&str] = &["none"];
const PASSWORDS: &str = "passwords are not taken; use keys";
const GSSAPI: &str = "GSSAPI is not offered; use keys";
const KERBEROS: &str = "Kerberos is not offered; use keys";
const HOSTS: &str = "a host's word for its users is not taken; use keys";
const PRINCIPALS: &str =
    "a program's word for principals is not taken; list them in AuthorizedPrincipalsFile";
const LOG: &str = "messages go to standard error, or to -E's file";
const OLD: &str = "the option is deprecated and does nothing";

/// What may be forwarded: connections to the sandbox (local) and from it (remote).
const WAYS: Form = Word(&["yes", "no", "all", "local", "remote"]);

const fn row(name: &'static str, form: Form, fate: Fate, default: &'static str) -> Keyword {
    Keyword {
        name,
        form,
        fate,
        default,
    }
}

/// The keywords of OpenSSH 10 and of those before it that configurations still carry; in the end those
/// that only this server has.
#[rustfmt::skip]
pub(super) const KEYWORDS: &[Keyword] = &[
    // Where it listens, and what it proves itself with.
    row("Port", Number, Every, "22"),
    row("ListenAddress", Many, Every, ""),
    row("AddressFamily", Word(&["any", "inet", "inet6"]), First, "any"),
    row("HostKey", One, Every, ""),
    row("HostCertificate", One, Every, ""),
    row("HostKeyAgent", One, Always(NONE, "host keys are read from files; name them by HostKey"), "none"),
    row("PidFile", One, First, "none"),
    row("RDomain", One, Always(NONE, "start the server in the namespace that sessions shall come from"), ""),
    row("VersionAddendum", Rest, Taste(NONE, "the version is said without an addendum"), "none"),
    row("DebianBanner", FLAG, Taste(NO, "the version is said without an addendum"), ""),
    row("Protocol", One, Always(&["2"], "only version 2 is spoken"), ""),
    // The transport.
    row("Ciphers", Algorithms(Kind::Cipher), First, ""),
    row("MACs", Algorithms(Kind::Mac), First, ""),
    row("KexAlgorithms", Algorithms(Kind::Kex), First, ""),
    row("HostKeyAlgorithms", Algorithms(Kind::HostKey), First, ""),
    row("PubkeyAcceptedAlgorithms", Algorithms(Kind::Signature), First, ""),
    row("Compression", Word(&["yes", "delayed", "no"]), Taste(NO, "compression is not offered"), ""),
    row("RekeyLimit", Many, First, "0 0"),
    row("TCPKeepAlive", FLAG, Taste(YES, "keepalives are always sent"), "yes"),
    row("IPQoS", Many, Taste(&[], "packets are not marked"), ""),
    row("ModuliFile", One, Moot, ""),
    // Who may log in.
    row("AllowUsers", Many, Every, ""),
    row("DenyUsers", Many, Every, ""),
    row("AllowGroups", Many, Never("logins are no members of the host's groups; name them by AllowUsers"), ""),
    row("DenyGroups", Many, Never("logins are no members of the host's groups; name others by DenyUsers"), ""),
    row("PermitRootLogin", Word(&["yes", "no", "prohibit-password", "without-password", "forced-commands-only"]), First, "prohibit-password"),
    row("PubkeyAuthentication", FLAG, First, "yes"),
    row("AuthorizedKeysFile", Many, First, ".ssh/authorized_keys .ssh/authorized_keys2"),
    row("AuthorizedKeysCommand", Rest, First, "none"),
    row("AuthorizedKeysCommandUser", One, First, "none"),
    row("AuthorizedPrincipalsFile", One, First, "none"),
    row("AuthorizedPrincipalsCommand", Rest, Always(NONE, PRINCIPALS), "none"),
    row("AuthorizedPrincipalsCommandUser", One, Moot, ""),
    row("TrustedUserCAKeys", One, First, "none"),
    row("CASignatureAlgorithms", Many, Never("authorities sign as TrustedUserCAKeys' keys do"), ""),
    row("RevokedKeys", One, First, "none"),
    row("PubkeyAuthOptions", Many, Always(NONE, "a key's own options decide on touch and PIN"), "none"),
    row("SecurityKeyProvider", One, Always(&["internal"], "no library is loaded"), ""),
    row("RequiredRSASize", Number, First, "2048"),
    row("AuthenticationMethods", Many, First, "any"),
    row("PasswordAuthentication", FLAG, Always(NO, PASSWORDS), "no"),
    row("PermitEmptyPasswords", FLAG, Always(NO, PASSWORDS), "no"),
    row("KbdInteractiveAuthentication", FLAG, First, ""),
    row("UsePAM", FLAG, Always(NO, "PAM speaks of the host's accounts and sessions; write `UsePAM no`"), "no"),
    row("PAMServiceName", One, Moot, ""),
    row("HostbasedAuthentication", FLAG, Always(NO, HOSTS), "no"),
    row("HostbasedUsesNameFromPacketOnly", FLAG, Moot, ""),
    row("HostbasedAcceptedAlgorithms", Many, Moot, ""),
    row("IgnoreRhosts", Word(&["yes", "no", "shosts-only"]), Moot, ""),
    row("IgnoreUserKnownHosts", FLAG, Moot, ""),
    row("KerberosAuthentication", FLAG, Always(NO, KERBEROS), "no"),
    row("KerberosOrLocalPasswd", FLAG, Moot, ""),
    row("KerberosTicketCleanup", FLAG, Moot, ""),
    row("KerberosGetAFSToken", FLAG, Moot, ""),
    row("GSSAPIAuthentication", FLAG, Always(NO, GSSAPI), "no"),
    row("GSSAPIKeyExchange", FLAG, Always(NO, GSSAPI), "no"),
    row("GSSAPIKexAlgorithms", Many, Moot, ""),
    row("GSSAPICleanupCredentials", FLAG, Moot, ""),
    row("GSSAPIStoreCredentialsOnRekey", FLAG, Moot, ""),
    row("GSSAPIStrictAcceptorCheck", FLAG, Moot, ""),
    row("StrictModes", FLAG, First, "yes"),
    row("UseDNS", FLAG, Always(NO, "addresses are not looked up; match them as numbers"), "no"),
    row("RefuseConnection", FLAG, Always(NO, "end the server instead"), ""),
    // Manners.
    row("LoginGraceTime", Time, First, "120"),
    row("MaxAuthTries", Number, First, "6"),
    row("MaxSessions", Number, First, "10"),
    row("MaxStartups", One, First, "10:30:100"),
    row("PerSourceMaxStartups", One, First, "none"),
    row("PerSourceNetBlockSize", One, First, "32:128"),
    row("PerSourcePenalties", Many, First, "yes"),
    row("PerSourcePenaltyExemptList", One, First, "none"),
    row("ClientAliveInterval", Time, First, ""),
    row("ClientAliveCountMax", Number, First, ""),
    row("UnusedConnectionTimeout", TimeOrNone, First, "none"),
    row("ChannelTimeout", Many, First, "none"),
    row("Banner", One, First, "none"),
    row("PrintMotd", FLAG, First, "no"),
    row("PrintLastLog", FLAG, Taste(NO, "the last login is not shown"), "no"),
    // What a session may do.
    row("AcceptEnv", Many, Every, ""),
    row("SetEnv", Many, First, ""),
    row("ForceCommand", Rest, First, "none"),
    row("Subsystem", Many, Every, ""),
    row("ChrootDirectory", One, Always(NONE, "what a session sees is SandboxPolicy's to say"), "none"),
    row("PermitTTY", FLAG, First, "yes"),
    row("PermitUserEnvironment", One, First, "no"),
    row("PermitUserRC", FLAG, Always(NO, "no file of the user's is run before the session"), "no"),
    row("ExposeAuthInfo", FLAG, Always(NO, "how somebody logged in is not told to programs"), "no"),
    // Forwarding.
    row("AllowTcpForwarding", WAYS, First, "local"),
    row("AllowStreamLocalForwarding", WAYS, First, ""),
    row("AllowAgentForwarding", FLAG, First, "no"),
    row("DisableForwarding", FLAG, First, "no"),
    row("PermitOpen", Many, First, "any"),
    row("PermitListen", Many, First, "any"),
    row("GatewayPorts", Word(&["yes", "no", "clientspecified"]), Moot, ""),
    row("StreamLocalBindMask", One, Always(&["0177", "177"], "a socket inside is its user's alone"), "0177"),
    row("StreamLocalBindUnlink", FLAG, First, "no"),
    row("PermitTunnel", Word(&["yes", "no", "point-to-point", "ethernet"]), Always(NO, "tunnel devices are not offered"), "no"),
    row("X11Forwarding", FLAG, Always(NO, "X11 gives the client's screen and keyboard to the session"), "no"),
    row("X11DisplayOffset", Number, Moot, ""),
    row("X11UseLocalhost", FLAG, Moot, ""),
    row("XAuthLocation", One, Moot, ""),
    // Logs.
    row("LogLevel", Word(LEVELS), First, "INFO"),
    row("LogVerbose", Many, Taste(&[], "RUST_LOG selects messages"), ""),
    row("SyslogFacility", One, Taste(&[], LOG), ""),
    row("FingerprintHash", Word(&["md5", "sha256"]), Taste(&["sha256"], "fingerprints are SHA-256"), "sha256"),
    // What OpenSSH has dropped, or uses for itself.
    row("UsePrivilegeSeparation", One, Taste(&["yes", "sandbox"], OLD), ""),
    row("UseLogin", FLAG, Always(NO, "login(1) is a program of the host"), ""),
    row("RSAAuthentication", FLAG, Taste(&[], OLD), ""),
    row("RhostsRSAAuthentication", FLAG, Always(NO, HOSTS), ""),
    row("KeyRegenerationInterval", One, Taste(&[], OLD), ""),
    row("ServerKeyBits", One, Taste(&[], OLD), ""),
    row("SshdSessionPath", One, Moot, ""),
    row("SshdAuthPath", One, Moot, ""),
    // What sshd does not have.
    row("SandboxPolicy", One, First, "builtin"),
    row("SandboxAudit", One, First, "none"),
    row("SandboxCodes", One, First, "none"),
    row("SandboxShell", One, First, "/bin/bash"),
    row("SandboxUids", Many, First, "1900000000 1900000001 4096"),
];

/// The words of LogLevel.
pub(super) const LEVELS: &[&str] = &[
    "QUIET", "FATAL", "ERROR", "INFO", "VERBOSE", "DEBUG", "DEBUG1", "DEBUG2", "DEBUG3",
];

/// Other names for the same.
const ALIASES: &[(&str, &str)] = &[
    (
        "ChallengeResponseAuthentication",
        "KbdInteractiveAuthentication",
    ),
    ("SkeyAuthentication", "KbdInteractiveAuthentication"),
    ("PubkeyAcceptedKeyTypes", "PubkeyAcceptedAlgorithms"),
    ("HostbasedAcceptedKeyTypes", "HostbasedAcceptedAlgorithms"),
    ("DSAAuthentication", "PubkeyAuthentication"),
    ("KeepAlive", "TCPKeepAlive"),
];

/// The keyword of this name, in any case.
pub(super) fn find(name: &str) -> Option<&'static Keyword> {
    let alias = ALIASES
        .iter()
        .find(|(alias, _)| alias.eq_ignore_ascii_case(name));
    let name = alias.map_or(name, |(_, name)| name);
    KEYWORDS
        .iter()
        .find(|keyword| keyword.name.eq_ignore_ascii_case(name))
}

/// The keyword that somebody may have meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let distance =
        |keyword: &Keyword| strsim::damerau_levenshtein(&keyword.name.to_ascii_lowercase(), &name);
    let keyword = KEYWORDS.iter().min_by_key(|keyword| distance(keyword))?;
    (distance(keyword) <= 3).then_some(keyword.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_once_and_aliases_lead_somewhere() {
        for (at, keyword) in KEYWORDS.iter().enumerate() {
            let name = keyword.name;
            let same = |other: &Keyword| other.name.eq_ignore_ascii_case(name);
            assert_eq!(KEYWORDS.iter().position(same), Some(at), "{name}");
        }
        for (alias, name) in ALIASES {
            assert!(
                KEYWORDS.iter().any(|keyword| keyword.name == *name),
                "{alias}"
            );
        }
        assert_eq!(
            nearest("PassswordAuthentication"),
            Some("PasswordAuthentication")
        );
        assert_eq!(nearest("Frobnicate"), None);
    }
}
