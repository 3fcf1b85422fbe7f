//! What one login is given and another is not, and what it takes to be let in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::stand::Stand;
use super::support::{Ssh, make_key, run, run_with_input, wait_until};

fn keygen(stand: &Stand, arguments: &[&str]) {
    let mut command = Command::new("/usr/bin/ssh-keygen");
    command.current_dir(&stand.world.dir).args(arguments);
    run(&mut command, 30).expect_code(0);
}

fn write(stand: &Stand, name: &str, text: &str) -> PathBuf {
    let path = stand.path(name);
    fs::write(&path, text).unwrap();
    path
}

/// Adds lines to the configuration, whose values can be in the stand's own directory, `DIR`.
fn configure(stand: &Stand, lines: &str) {
    let lines = lines.replace("DIR", stand.world.dir.to_str().unwrap());
    let text = stand.text("sshd_config") + &lines;
    write(stand, "sshd_config", &text);
}

fn public(stand: &Stand, name: &str) -> String {
    stand.text(&format!("{name}.pub")).trim_end().to_owned()
}

/// A login is refused, and the last event says why.
#[track_caller]
fn refused(stand: &Stand, ssh: Ssh, why: &str) {
    let before = stand.text("audit.jsonl").lines().count();
    let answer = ssh.run("true").expect_code(255);
    assert!(answer.err().contains("Permission denied"), "{answer}");
    let mut audit = String::new();
    // The server may learn that its client has given up after the client's end.
    let told = wait_until(Duration::from_secs(5), || {
        audit = stand.text("audit.jsonl");
        let last = audit.lines().skip(before).last();
        last.is_some_and(|line| line.contains(why))
    });
    assert!(told, "no {why:?} at the end of {audit}");
}

#[test]
fn a_match_gives_its_logins_their_own() {
    let stand = Stand::new(
        "AllowUsers sandbox other\nSetEnv WHO=everybody MORE=\"a b\"\nMatch User oth*\n\
         ForceCommand echo forced for $WHO\nPermitTTY no\nSetEnv WHO=other\n",
    );
    let ssh = || stand.ssh_to_own_server("");
    let answer = ssh().run("echo $WHO, $MORE").expect_code(0);
    assert_eq!(answer.out(), "everybody, a b\n");
    let answer = ssh().user("other").run("echo mine").expect_code(0);
    assert_eq!(answer.out(), "forced for other\n");
    let terminal = |ssh: Ssh| ssh.option("-tt").run("tty");
    assert!(terminal(ssh()).out().contains("/dev/pts/"));
    let answer = terminal(ssh().user("other"));
    assert!(
        answer.err().contains("PTY allocation request failed"),
        "{answer}"
    );
    let holds = |options: &[&str]| stand.run(options).expect_code(0).out();
    let other = holds(&["-T", "-C", "user=other,addr=10.0.0.1"]);
    assert!(
        other.contains("forcecommand echo forced for $WHO\n"),
        "{other}"
    );
    for options in [&["-T"][..], &["-T", "-C", "user=sandbox"]] {
        assert!(holds(options).contains("forcecommand none\n"));
    }
}

#[test]
fn operators_variables_win_and_keys_have_none_unasked() {
    let stand = Stand::new("SetEnv LANG=operators\n");
    let line = format!(
        "environment=\"KEYS=1\",environment=\"LANG=keys\" {}",
        public(&stand, "client")
    );
    write(&stand, "authorized_keys", &line);
    let ssh = || stand.ssh_to_own_server("").option("-oSetEnv=LANG=clients");
    let said = || ssh().run("echo $LANG ${KEYS-none}").expect_code(0).out();
    assert_eq!(said(), "operators none\n");
    configure(&stand, "PermitUserEnvironment KEY*\n");
    assert_eq!(said(), "operators 1\n");
}

#[test]
fn certificates_name_whom_the_file_lists() {
    let stand = Stand::new("");
    let lines = "TrustedUserCAKeys DIR/ca.pub\nAuthorizedPrincipalsFile DIR/principals_%u\nMatch all\nAuthorizedKeysFile none\n";
    configure(&stand, lines);
    make_key(&stand.path("ca"));
    keygen(
        &stand,
        &[
            "-q",
            "-s",
            "ca",
            "-I",
            "somebody",
            "-n",
            "sandbox,ops",
            "client.pub",
        ],
    );
    let ssh = || stand.ssh_to_own_server("");
    let list = |text: &str| write(&stand, "principals_sandbox", text);
    // As in sshd: while the file is not there, it names nobody, and the login's name is no longer enough.
    let nobody = "signed by nobody whom the login trusts";
    refused(&stand, ssh(), nobody);
    list("# nobody\ndev\n");
    refused(&stand, ssh(), "names no principal");
    list("dev\nops\n");
    ssh().run("true").expect_code(0);
    list("frobnicate ops\n");
    refused(&stand, ssh(), nobody);
    list("command=\"echo as ops\",no-pty ops\nsandbox\n");
    let answer = ssh().run("echo free").expect_code(0);
    assert_eq!(answer.out(), "as ops\n", "the first line that fits counts");
    fs::set_permissions(
        stand.path("principals_sandbox"),
        fs::Permissions::from_mode(0o666),
    )
    .unwrap();
    let answer = stand.run(&["-t"]).expect_code(255);
    assert!(
        answer.err().contains("writable by group or others"),
        "{answer}"
    );
}

#[test]
fn signatures_are_withheld_by_name() {
    let stand = Stand::new("");
    let ssh = || stand.ssh_to_own_server("");
    let plain = stand.text("sshd_config");
    for (list, taken) in [
        ("-ssh-ed25519", false),
        ("ecdsa-sha2-nistp256,*-cert-v01@openssh.com", false),
        ("ssh-ed25519", true),
        ("+ssh-rsa", true),
    ] {
        write(
            &stand,
            "sshd_config",
            &format!("{plain}PubkeyAcceptedAlgorithms {list}\n"),
        );
        if taken {
            ssh().run("true").expect_code(0);
        } else {
            refused(
                &stand,
                ssh(),
                "signatures of type ssh-ed25519 are not accepted",
            );
        }
    }
}

#[test]
fn a_style_is_no_part_of_the_name() {
    let stand = Stand::new("");
    let ssh = |user: &str| stand.ssh_to_own_server("").user(user);
    let answer = ssh("sandbox:style").run("echo $USER").expect_code(0);
    assert_eq!(answer.out(), "sandbox\n");
    refused(&stand, ssh("sandboxes:style"), "unknown login");
}

#[test]
fn keys_change_as_often_as_a_file_says() {
    let changes = |limit: &str| {
        let stand = Stand::new(&format!("RekeyLimit {limit}\n"));
        let ssh = stand.ssh_to_own_server("").option("-oLogLevel=DEBUG1");
        let answer = ssh.input(vec![b'x'; 300_000]).run("cat").expect_code(0);
        assert!(answer.stdout == vec![b'x'; 300_000]);
        answer.err().matches("SSH2_MSG_NEWKEYS sent").count()
    };
    assert_eq!(changes("1G"), 1);
    assert!(changes("16K") > 3);
    assert!(changes("16") > 3);
}

#[test]
fn two_keys_are_asked_for() {
    let stand = Stand::new("AuthenticationMethods publickey,publickey\n");
    make_key(&stand.path("second"));
    let both = format!(
        "{}\n{}\n",
        public(&stand, "client"),
        public(&stand, "second")
    );
    write(&stand, "authorized_keys", &both);
    let ssh = || stand.ssh_to_own_server("");
    refused(&stand, ssh(), "no more was proved than publickey");
    let second = format!("-oIdentityFile={}", stand.path("second").display());
    ssh().option(second).run("true").expect_code(0);
}

/// A program's directory, which nobody but root can write.
struct Programs(PathBuf);

impl Drop for Programs {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn a_program_knows_keys() {
    let stand = Stand::new("");
    let programs = Programs(PathBuf::from(format!("/run/sshd-{}", stand.world.id)));
    fs::create_dir(&programs.0).unwrap();
    let program = programs.0.join("keys-of");
    let key = public(&stand, "client");
    fs::write(
        &program,
        format!("#!/bin/sh\ntest \"$1\" = sandbox && echo '{key}'\n"),
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    write(&stand, "authorized_keys", "");
    let ssh = || stand.ssh_to_own_server("");
    refused(&stand, ssh(), "not in the login's authorized_keys");
    let lines = "AuthorizedKeysCommand PROGRAM %u\nAuthorizedKeysCommandUser nobody\n";
    configure(&stand, &lines.replace("PROGRAM", program.to_str().unwrap()));
    ssh().run("true").expect_code(0);
    let as_root = stand.run(&["-t", "-o", "AuthorizedKeysCommandUser=root"]);
    assert!(as_root.expect_code(255).err().contains("never run as root"));
}

#[test]
fn host_keys_and_certificates_are_offered_as_the_list_says() {
    let stand = Stand::new("");
    make_key(&stand.path("ca"));
    fs::copy(stand.path("client.pub"), stand.path("host.pub")).unwrap();
    keygen(
        &stand,
        &[
            "-q",
            "-s",
            "ca",
            "-h",
            "-I",
            "host",
            "-n",
            "127.0.0.1",
            "host.pub",
        ],
    );
    keygen(&stand, &["-q", "-t", "ecdsa", "-N", "", "-f", "host_ecdsa"]);
    configure(&stand, "HostKey DIR/host_ecdsa\n");
    let with = |algorithm: &str, code: i32| {
        let option = format!("-oHostKeyAlgorithms={algorithm}");
        let ssh = stand.ssh_to_own_server("").option(option);
        ssh.run("true").expect_code(code);
    };
    let certificate = "ssh-ed25519-cert-v01@openssh.com";
    with("ecdsa-sha2-nistp256", 0);
    with(certificate, 255);
    configure(&stand, "HostCertificate DIR/host-cert.pub\n");
    let known = format!("@cert-authority * {}\n", public(&stand, "ca"));
    write(&stand, "known_hosts", &known);
    let strict = || {
        stand
            .ssh_to_own_server("")
            .option("-oStrictHostKeyChecking=yes")
    };
    strict().run("true").expect_code(0);
    write(&stand, "known_hosts", "");
    strict().run("true").expect_code(255);
    configure(&stand, "HostKeyAlgorithms ssh-ed25519\n");
    with("ecdsa-sha2-nistp256", 255);
    with(certificate, 255);
    with("ssh-ed25519", 0);
    let answer = stand.run(&["-t"]).expect_code(0);
    for left_out in ["host key", "host certificate"] {
        let line =
            |line: &str| line.starts_with(left_out) && line.contains("HostKeyAlgorithms has no");
        assert!(answer.err().lines().any(line), "{answer}");
    }
    let answer = stand.run(&["-t", "-o", "HostKeyAlgorithms=rsa-sha2-512,rsa-sha2-256"]);
    assert!(
        answer
            .expect_code(255)
            .err()
            .contains("no hostkeys available")
    );
}

#[test]
fn sftp_is_the_server_that_is_named() {
    let lists = |stand: &Stand| {
        let mut sftp = stand.ssh_to_own_server("").client("/usr/bin/sftp");
        sftp.args(["-b", "-", "127.0.0.1"]);
        run_with_input(&mut sftp, b"ls /usr\n".to_vec(), 20)
            .out()
            .contains("/usr/lib")
    };
    for (server, there) in [
        ("internal-sftp", true),
        ("/usr/lib/openssh/sftp-server", true),
        ("/usr/lib/no-such/sftp-server", false),
    ] {
        let stand = Stand::new(&format!("Subsystem sftp {server}\n"));
        assert_eq!(lists(&stand), there, "{server}");
    }
}
