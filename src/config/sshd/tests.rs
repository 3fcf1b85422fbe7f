//! Whole files, as an operator writes them.

use std::net::SocketAddr;
use std::time::Duration;

use super::keywords::{Fate, KEYWORDS};
use super::*;
use crate::config::ChannelKind;

mod blocks;

/// A directory with a host key in it (any file: only its presence counts here).
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("sgsshd-{}-{next}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("key"), "").unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn read(
        &self,
        text: &str,
        options: &[&str],
        flags: &[(&'static str, &str)],
    ) -> Result<Sshd, SshdError> {
        let key = self.0.join("key");
        let base = format!(
            "HostKey {}\nAllowUsers agent\nAuthorizedKeysFile /k/%u\n",
            key.display()
        );
        let request = Request {
            file: self.write("sshd_config", &format!("{base}{text}")),
            flags: flags
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            service: Service::Everybody,
        };
        Sshd::read(&request, &Invoker::from_environment())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn good(text: &str) -> Sshd {
    Directory::new(&format!("{:x}", text.len()))
        .read(text, &[], &[])
        .unwrap()
}

/// What is said of the line behind the three of the base.
fn refusal(text: &str) -> String {
    let directory = Directory::new("refusal");
    directory.read(text, &[], &[]).unwrap_err().to_string()
}

#[test]
fn what_is_mapped_arrives() {
    let text = "Port 2022\nListenAddress 127.0.0.1\nListenAddress [::1]:2023\nLoginGraceTime 1m30s\n\
        MaxAuthTries 3\nMaxSessions 7\nMaxStartups 5:30:50\nAcceptEnv LANG CI_*\nAcceptEnv EDITOR\n\
        PidFile /run/x.pid\nLogLevel VERBOSE\nSandboxAudit /a.jsonl\nSandboxUids 70000 70001 5\n\
        AllowTcpForwarding yes\nCiphers aes128-gcm@openssh.com,aes128-ctr\n";
    let directory = Directory::new("mapped");
    let sshd = directory.read(text, &[], &[]).unwrap();
    let config = &sshd.config;
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:2022", "[::1]:2023"]);
    assert_eq!(config.limits.login_grace, Duration::from_secs(90));
    assert_eq!((config.limits.auth_tries, config.limits.channels), (3, 7));
    assert_eq!(sshd.pid_file, Some("/run/x.pid".into()));
    let startups = &config.manners.startups;
    assert_eq!((startups.start, startups.rate, startups.full), (5, 30, 50));
    assert_eq!(config.audit, Some("/a.jsonl".into()));
    assert_eq!(
        (config.uids.gate, config.uids.first, config.uids.count),
        (70000, 70001, 5)
    );
    assert_eq!(config.algorithms.ciphers, ["aes128-gcm@openssh.com"]);
    let (name, login) = config.logins.first_key_value().unwrap();
    assert_eq!(name.as_str(), "agent");
    assert_eq!(login.authorized_keys, [PathBuf::from("/k/agent")]);
    assert_eq!(login.accept_env, ["LANG", "CI_*", "EDITOR"]);
    assert!(login.forwarding.remote);
}

#[test]
fn the_first_line_counts_and_the_command_line_comes_before_it() {
    let directory = Directory::new("first");
    let text = "MaxAuthTries 3\nmaxauthtries 4\nPort 22\nPort 23\nPasswordAuthentication no\nPasswordAuthentication yes\n";
    let read = |options: &[&str], flags: &[(&'static str, &str)]| {
        let config = directory.read(text, options, flags).unwrap().config;
        let ports: Vec<u16> = config
            .listen
            .iter()
            .filter(|a| a.is_ipv4())
            .map(SocketAddr::port)
            .collect();
        (config.limits.auth_tries, ports)
    };
    assert_eq!(read(&[], &[]), (3, vec![22, 23]));
    assert_eq!(
        read(&["MaxAuthTries=5"], &[("Port", "2222")]),
        (5, vec![2222])
    );
    let said = directory
        .read(text, &["MaxAuthTries x"], &[])
        .unwrap_err()
        .to_string();
    assert!(
        said.starts_with("command-line: line 0: MaxAuthTries: integer value x is invalid\n"),
        "{said}"
    );
}

#[test]
fn a_fault_names_file_line_and_keyword_and_all_are_told() {
    let said = refusal("UsePAM yes\nPermitRootLogn no\nPort many\n");
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].contains("sshd_config: line 4: UsePAM: refused: "),
        "{said}"
    );
    assert!(
        lines[1].contains(
            ": line 5: Bad configuration option: PermitRootLogn; did you mean PermitRootLogin?"
        ),
        "{said}"
    );
    assert!(
        lines[2].contains(": line 6: Port: integer value many is invalid"),
        "{said}"
    );
    assert!(
        lines[3].ends_with("sshd_config: terminating, 3 bad configuration options"),
        "{said}"
    );
}

/// What no table entry says by itself.
#[test]
fn what_would_be_weaker_than_asked_is_refused_by_name() {
    for (line, why) in [
        ("PasswordAuthentication yes", "passwords"),
        ("UsePAM yes", "PAM"),
        ("ClientAliveCountMax 0", "1 to 1000"),
        ("ChannelTimeout session", "invalid channel timeout"),
        ("PerSourcePenalties max-sources4:5", "there are"),
        ("RekeyLimit 15", "too small"),
        ("AllowUsers a*", "one by one"),
        ("AllowUsers a@1.2.3.4", "one by one"),
        ("DenyUsers *@1.2.3.4", "wherever"),
        ("DenyUsers ag*", "nobody could log in"),
        ("Subsystem netconf /bin/netconf", "one subsystem is sftp"),
        ("Subsystem sftp internal-sftp -R", "no arguments"),
        ("Ciphers aes128-ctr", "none of these is offered"),
        ("PubkeyAcceptedAlgorithms ssh-dss", "none of these"),
        ("HostKeyAlgorithms ssh-dss", "none of these"),
        ("Match Address 10.0.0.0/8", "logins alone"),
        ("AuthenticationMethods password", "no method"),
        (
            "AuthenticationMethods publickey,keyboard-interactive",
            "SandboxCodes",
        ),
        ("SandboxCodes /c", "no code is asked for"),
        ("KbdInteractiveAuthentication yes", "a code alone"),
        (
            "AuthorizedKeysCommand /bin/k",
            "without AuthorizedKeysCommandUser",
        ),
        ("PubkeyAuthentication no", "the only way in"),
        ("ForceCommand internal-sftp -R", "no arguments"),
        ("PermitUserEnvironment A?", "variable's name"),
        ("SetEnv A", "Invalid environment"),
        ("SetEnv SSH_CLIENT=x", "tells of the connection"),
        ("RequiredRSASize 4096", "at most 2048"),
        ("LoginGraceTime 0", "for ever"),
        ("MaxSessions 0", "1 to 1024"),
        ("AllowStreamLocalForwarding yes", "as ports are"),
        ("PermitOpen localhost", "neither"),
        ("AcceptEnv A?B", "variable's name"),
    ] {
        let keyword = line.split(' ').next().unwrap();
        let said = refusal(&format!("{line}\n"));
        assert!(said.contains(why), "{line}: {said}");
        if keyword != "DenyUsers" {
            assert!(
                said.contains(&format!(": line 4: {keyword}: ")),
                "{line}: {said}"
            );
        }
    }
}

#[test]
fn what_is_done_in_any_case_is_accepted() {
    for keyword in KEYWORDS {
        if let Fate::Always(values, _) = keyword.fate {
            for value in values {
                let sshd = good(&format!("{} {value}\n", keyword.name));
                assert!(sshd.warnings.is_empty(), "{} {value}", keyword.name);
            }
        }
    }
}

#[test]
fn manners_are_what_was_written() {
    let text = "ClientAliveInterval 15\nUnusedConnectionTimeout 5m\nChannelTimeout session:c*=0 session:*=1m *=1h global=2h\nRekeyLimit 1M 10m\n\
        Banner /dev/null\nForceCommand echo \"a  b\"\nPerSourceMaxStartups 3\nPerSourceNetBlockSize 24:56\n\
        PerSourcePenalties authfail:9s refuseconnection:7 max:20\nPerSourcePenaltyExemptList 10.0.0.0/8,::1\nPrintMotd yes\n\
        TrustedUserCAKeys /ca.pub\nRevokedKeys /krl\n";
    let config = good(text).config;
    let (manners, seconds) = (&config.manners, Duration::from_secs);
    assert_eq!(manners.timeouts.alive_interval, Some(seconds(15)));
    assert_eq!(manners.timeouts.alive_count, 3);
    assert_eq!(manners.timeouts.unused, Some(seconds(300)));
    assert_eq!(manners.timeouts.all_idle, Some(seconds(7200)));
    for (kind, limit) in [
        (ChannelKind::Command, None),
        (ChannelKind::Sftp, Some(seconds(60))),
        (ChannelKind::Agent, Some(seconds(3600))),
    ] {
        assert_eq!(manners.timeouts.of(kind), limit, "{kind:?}");
    }
    assert_eq!(
        (manners.rekey.bytes, manners.rekey.time),
        (1 << 20, seconds(600))
    );
    assert_eq!(manners.banner, Some("/dev/null".into()));
    assert_eq!(manners.motd, Some("/etc/motd".into()));
    let startups = &manners.startups;
    assert_eq!(
        (
            startups.per_source,
            startups.ipv4_prefix,
            startups.ipv6_prefix
        ),
        (3, 24, 56)
    );
    let penalties = manners.penalties.as_ref().unwrap();
    assert_eq!(
        (penalties.authfail, penalties.refused, penalties.max),
        (seconds(9), seconds(7), seconds(20))
    );
    assert_eq!(penalties.exempt.len(), 2);
    let login = config.logins.values().next().unwrap();
    assert_eq!(login.force_command.as_deref(), Some("echo \"a  b\""));
    assert_eq!(login.trusted_user_ca_keys, [PathBuf::from("/ca.pub")]);
    assert_eq!(login.revoked_keys, [PathBuf::from("/krl")]);
    assert!(
        good("PerSourcePenalties no\n")
            .config
            .manners
            .penalties
            .is_none()
    );
    assert_eq!(
        good("ClientAliveInterval 0\n")
            .config
            .manners
            .timeouts
            .alive_interval,
        None
    );
}

#[test]
fn forwarding_is_what_the_switches_leave() {
    let of = |text: &str| {
        good(text)
            .config
            .logins
            .values()
            .next()
            .unwrap()
            .forwarding
            .clone()
    };
    let ways = |text: &str| {
        let is = of(text);
        (is.local, is.remote, is.sockets, is.agent)
    };
    assert_eq!(of(""), crate::config::Forwarding::default());
    assert_eq!(ways("AllowTcpForwarding no\n"), (false, false, true, false));
    assert_eq!(
        ways("AllowTcpForwarding remote\n"),
        (false, true, true, false)
    );
    let all = "AllowTcpForwarding yes\nAllowStreamLocalForwarding all\nAllowAgentForwarding yes\n";
    assert_eq!(ways(all), (true, true, true, true));
    assert_eq!(
        ways(&format!("{all}DisableForwarding yes\n")),
        (false, false, false, false)
    );
    assert_eq!(
        ways("AllowStreamLocalForwarding no\n"),
        (true, false, false, false)
    );
    let open = of("PermitOpen localhost:80 *:443\nPermitListen none\n");
    assert!(open.permit_open.unwrap().allows("localhost", 80));
    assert!(!open.permit_listen.unwrap().allows("localhost", 80));
}

#[test]
fn ways_in_are_what_was_written() {
    let config = good(
        "AuthorizedKeysCommand /usr/bin/k %u \"%k x\"\nAuthorizedKeysCommandUser nobody\n\
         AuthenticationMethods publickey,keyboard-interactive publickey,publickey\nSandboxCodes /c/%u\n\
         KbdInteractiveAuthentication yes\nTrustedUserCAKeys /ca.pub\nAuthorizedPrincipalsFile /p/%u\n\
         HostCertificate /h-cert.pub\nHostKeyAlgorithms -rsa-*\n\
         PubkeyAcceptedAlgorithms ssh-ed25519,*-cert-v01@openssh.com\nSubsystem sftp /usr/lib/openssh/sftp-server\n",
    );
    assert!(config.host_key_algorithms.contains(&"ssh-ed25519"));
    assert!(
        !config
            .host_key_algorithms
            .iter()
            .any(|name| name.starts_with("rsa"))
    );
    let config = config.config;
    assert_eq!(config.host_certificates, [PathBuf::from("/h-cert.pub")]);
    let login = config.logins.values().next().unwrap();
    assert_eq!(config.authentication, login.authentication);
    assert_eq!(login.authentication.each().count(), 2);
    assert_eq!(login.totp_secrets, Some("/c/agent".into()));
    assert_eq!(login.authorized_principals_file, Some("/p/agent".into()));
    let command = login.authorized_keys_command.as_ref().unwrap();
    assert_eq!(command.program, PathBuf::from("/usr/bin/k"));
    assert_eq!((command.arguments.len(), &*command.user), (2, "nobody"));
    for (name, taken) in [
        ("ssh-ed25519", true),
        ("rsa-sha2-512", false),
        ("rsa-sha2-512-cert-v01@openssh.com", true),
    ] {
        assert_eq!(login.signatures.take(name), taken, "{name}");
    }
    let server = "/usr/lib/openssh/sftp-server".into();
    assert!(login.key_env.is_empty() && login.terminal);
    assert_eq!(login.sftp, crate::config::Sftp::Program(server));
    let directory = Directory::new("none");
    let error = directory
        .read("", &["AuthorizedKeysFile none"], &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("agent could not log in"), "{error}");
}

#[test]
fn what_is_not_followed_is_told() {
    let sshd = good("PrintLastLog yes\nCompression delayed\nPrintLastLog no\nBanner /no/such\n");
    let told: Vec<String> = sshd.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[2].contains("Banner: not followed: "), "{told:?}");
    assert_eq!(sshd.config.manners.banner, None);
    assert!(
        told[0].contains(": line 4: PrintLastLog: not followed: "),
        "{told:?}"
    );
}

#[test]
fn files_include_files_and_a_loop_ends() {
    let directory = Directory::new("include");
    directory.write("b.conf", "MaxAuthTries 2\n");
    directory.write("a.conf", "MaxAuthTries 1\n");
    directory.write(".c.conf", "Nonsense 1\n");
    let here = directory.0.display();
    let sshd = directory
        .read(&format!("Include {here}/*.conf /no/such/file\n"), &[], &[])
        .unwrap();
    assert_eq!(sshd.config.limits.auth_tries, 1);
    directory.write("b.conf", "Nonsense 1\n");
    let said = directory
        .read(&format!("Include {here}/?.conf\n"), &[], &[])
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("/b.conf: line 1: Bad configuration option: Nonsense"),
        "{said}"
    );
    let said = directory
        .read(&format!("Include {here}/sshd_config\n"), &[], &[])
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("too many files include one another"),
        "{said}"
    );
}

#[test]
fn defaults_are_sshds_or_stricter() {
    let config = good("").config;
    assert_eq!(config.limits.login_grace, Duration::from_secs(120));
    assert_eq!((config.limits.auth_tries, config.limits.channels), (6, 10));
    assert_eq!(config.listen[0].to_string(), "0.0.0.0:22");
    assert!(!config.logins.values().any(|login| login.forwarding.remote));
}

#[test]
fn keys_are_new_no_later_than_a_file_says() {
    let of = |text: &str| good(text).config.manners.rekey;
    let default = of("");
    assert_eq!(of("RekeyLimit 0 0\n"), default);
    assert_eq!(of("RekeyLimit 16\n").bytes, 16);
    assert_eq!(of("RekeyLimit 1k\n").time, default.time);
    let most = of("RekeyLimit 100G 1w\n");
    assert_eq!((most.bytes, most.time.as_secs()), (16 << 30, 24 * 3600));
}

#[test]
fn what_holds_is_printed_in_small_letters() {
    let text = good("RekeyLimit 1k 1H\nPort 2022\nAcceptEnv A B\nAcceptEnv C\n").effective(None);
    for line in [
        "port 2022\n",
        "acceptenv A B\nacceptenv C\n",
        "passwordauthentication no\n",
        "rekeylimit 1024 3600\n",
        "maxauthtries 6\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}
