//! What is well-formed is what sshd takes for well-formed.

use std::fs;
use std::process::Command;

use super::stand::Stand;
use super::support::run;

/// Lines, and whether sshd can read them. Whether they are followed here is another matter.
const CORPUS: &[(&str, bool)] = &[
    ("", true),
    ("# comment\n\n \t\nPort 22 # comment", true),
    ("  pORT = 22\n\tport=23", true),
    ("\"Port\" \"22\"", true),
    ("Port 22 23", false),
    ("Port", false),
    ("Port =", false),
    ("Port x", false),
    ("Port 65536", false),
    ("Foo bar", false),
    ("Banner \"a b", false),
    ("Banner '/dev/null'", true),
    ("Banner a b", false),
    ("LoginGraceTime 1h30m", true),
    ("LoginGraceTime 1x", false),
    ("LoginGraceTime 90s # a comment", true),
    ("ClientAliveInterval 1m\nClientAliveInterval 2x", false),
    ("PermitRootLogin maybe", false),
    ("PermitRootLogin YES", true),
    ("PubkeyAuthentication no", true),
    (
        "PasswordAuthentication yes\nPasswordAuthentication maybe",
        false,
    ),
    ("AcceptEnv A B*\nAcceptEnv C", true),
    ("AcceptEnv A=B", false),
    ("AllowUsers a b c@d", true),
    ("Ciphers aes256-gcm@openssh.com,aes128-ctr", true),
    ("Ciphers +foo", false),
    ("Ciphers -aes*", true),
    ("Ciphers foo", false),
    ("MACs ^hmac-sha1", true),
    ("MACs hmac-sha2-256,", true),
    ("KexAlgorithms curve25519-sha256", true),
    ("KexAlgorithms curve25519", false),
    ("HostKeyAlgorithms ssh-ed25519,rsa-*", true),
    ("PubkeyAcceptedAlgorithms +ssh-rsa", true),
    ("PubkeyAcceptedKeyTypes rsa-sha2-512", true),
    ("Subsystem sftp", false),
    ("Subsystem sftp internal-sftp", true),
    ("Subsystem sftp a\nSubsystem sftp b", false),
    ("MaxStartups 10:30", false),
    ("MaxStartups 10:30:60", true),
    ("MaxStartups 10:30:5", false),
    ("MaxStartups 10:101:60", false),
    ("MaxStartups 7", true),
    ("MaxStartups x", false),
    ("MaxAuthTries 3 4", false),
    ("MaxAuthTries -1", false),
    (
        "ListenAddress ::1\nListenAddress [::1]:33\nListenAddress 127.0.0.1:22",
        true,
    ),
    ("ListenAddress 300.1.1.1", false),
    ("ListenAddress [::1", false),
    ("AddressFamily inet5", false),
    ("AddressFamily inet", true),
    ("Include /no/such/*.conf", true),
    ("Include", false),
    ("Match User x\nX11Forwarding no\nMatch all", true),
    ("Match User x\nFoo bar", false),
    ("Match all\nForceCommand x\nMatch User a,!b User c", true),
    ("Match User x Address 10.0.0.0/8\nBanner none", true),
    ("Match User", false),
    ("Match all User x", false),
    ("Match Weather fine", false),
    ("Match User x\nPort 23", false),
    ("Match User x\nPubkeyAcceptedAlgorithms +ssh-rsa", true),
    ("AuthenticationMethods any", true),
    ("AuthenticationMethods any publickey", false),
    (
        "AuthenticationMethods publickey,hostbased\nHostbasedAuthentication yes",
        true,
    ),
    ("AuthenticationMethods telepathy", false),
    (
        "AuthenticationMethods publickey,keyboard-interactive\nKbdInteractiveAuthentication no",
        false,
    ),
    ("AuthorizedKeysCommand /bin/true", false),
    (
        "AuthorizedKeysCommand /bin/true %u\nAuthorizedKeysCommandUser nobody",
        true,
    ),
    ("AuthorizedPrincipalsFile /etc/ssh/p/%u", true),
    ("SetEnv A=1 B=\"a b\"", true),
    ("SetEnv A", false),
    ("RekeyLimit 16 1w\nRekeyLimit 1G none", true),
    ("RekeyLimit default", true),
    ("RekeyLimit 15", false),
    ("RekeyLimit 1G 1x", false),
    ("HostKeyAlgorithms -rsa-*", true),
    ("PubkeyAcceptedAlgorithms ssh-foo", false),
    (
        "UsePAM yes\nX11Forwarding yes\nChallengeResponseAuthentication no",
        true,
    ),
    ("KerberosAuthentication yes\nGSSAPIAuthentication no", true),
    ("LogLevel LOUD", false),
    ("LogLevel verbose", true),
    ("Compression delayed", true),
    ("AllowTcpForwarding local", true),
    ("AllowTcpForwarding perhaps", false),
    ("GatewayPorts clientspecified", true),
    ("Protocol 2", true),
    ("PermitTTY on", false),
];

#[test]
fn it_reads_what_sshd_reads_and_nothing_else() {
    let stand = Stand::new("");
    let base = stand.text("sshd_config");
    let sshd = fs::exists("/usr/sbin/sshd").unwrap();
    if !sshd {
        assert!(
            std::env::var_os("CI").is_none(),
            "/usr/sbin/sshd is missing: apt-get install openssh-server"
        );
        eprintln!("NOT COMPARED with sshd: /usr/sbin/sshd is missing (Debian: openssh-server)");
    }
    fs::create_dir_all("/run/sshd").unwrap();
    let mut wrong = Vec::new();
    for (lines, well_formed) in CORPUS {
        fs::write(stand.path("sshd_config"), format!("{base}{lines}\n")).unwrap();
        let answer = stand.run(&["-t"]);
        // A line that is read and not followed is `refused`; other faults are of form.
        let said = answer.err();
        let ours = answer.code() == 0
            || said.lines().all(|line| {
                line.contains(": refused: ")
                    || line.contains(": terminating, ")
                    || line.contains(": not followed: ")
            });
        if ours != *well_formed {
            wrong.push(format!("sandgate: {lines:?}: {said}"));
        }
        if sshd {
            let plain = base.lines().filter(|line| !line.starts_with("Sandbox"));
            let plain = plain.collect::<Vec<_>>().join("\n");
            fs::write(stand.path("plain"), format!("{plain}\n{lines}\n")).unwrap();
            let mut command = Command::new("/usr/sbin/sshd");
            let answer = run(command.arg("-t").arg("-f").arg(stand.path("plain")), 20);
            if (answer.code() == 0) != *well_formed {
                wrong.push(format!("sshd: {lines:?}: {}", answer.err()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// No keyword of the distribution's sshd is unknown here.
#[test]
fn every_keyword_of_sshd_is_known() {
    if !fs::exists("/usr/sbin/sshd").unwrap() {
        assert!(
            std::env::var_os("CI").is_none(),
            "/usr/sbin/sshd is missing: apt-get install openssh-server"
        );
        eprintln!("NOT COMPARED with sshd: /usr/sbin/sshd is missing (Debian: openssh-server)");
        return;
    }
    // Where nothing has started sshd yet; it wants this even for a look at its configuration.
    fs::create_dir_all("/run/sshd").unwrap();
    let stand = Stand::new("");
    let mut command = Command::new("/usr/sbin/sshd");
    let holds = run(
        command
            .args(["-T", "-f", "/dev/null", "-h"])
            .arg(stand.path("host")),
        20,
    )
    .expect_code(0);
    fs::write(stand.path("sshd_config"), holds.out()).unwrap();
    let answer = stand.run(&["-t"]);
    assert!(
        !answer.err().contains("Bad configuration option"),
        "{answer}"
    );
    assert!(holds.out().lines().count() > 50, "{holds}");
}

/// What becomes of each keyword is documented.
#[test]
fn the_docs_name_every_keyword() {
    let docs = include_str!("../../docs/sshd.md");
    let table = include_str!("../../src/config/sshd/keywords.rs");
    let rows = table
        .split("row(")
        .skip(2)
        .filter_map(|row| row.split('"').nth(1));
    let names: Vec<&str> = rows.collect();
    assert!(names.len() > 100 && names.contains(&"Port"), "{names:?}");
    let missing: Vec<&&str> = names.iter().filter(|name| !docs.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
