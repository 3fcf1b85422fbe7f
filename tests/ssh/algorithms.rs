//! What is offered on the wire.

use serde_json::Value;

use super::support::{Daemon, Setup, World, run, venv};

#[test]
fn ssh_audit_finds_no_failure_and_no_avoidable_warning() {
    let complaints = audited(&Setup::closed());
    assert!(
        complaints
            .iter()
            .all(|complaint| complaint.contains(UNAVOIDABLE)),
        "{complaints:#?}"
    );
    // One for each of its names; without it the next test would show nothing.
    assert_eq!(complaints.len(), 2, "{complaints:#?}");
}

#[test]
fn ssh_audit_is_silent_where_the_exchange_has_to_be_post_quantum() {
    let setup = Setup {
        top: "algorithms: {kex: [mlkem768x25519-sha256]}\n".to_owned(),
        ..Setup::closed()
    };
    assert_eq!(audited(&setup), [""; 0]);
}

/// Debian 12's client knows no post-quantum exchange that russh has, so that one without stays.
const UNAVOIDABLE: &str = "does not provide protection against post-quantum attacks";

/// What ssh-audit has against a server, its CVEs included.
fn audited(setup: &Setup) -> Vec<String> {
    let world = World::new();
    let _daemon = Daemon::start(&world, setup);
    let mut command = world.on_host(venv().join("bin/ssh-audit").to_str().unwrap());
    command.args(["--json", "--skip-rate-test", "--port", "2222", "127.0.0.1"]);
    let finished = run(&mut command, 60);
    let report: Value = serde_json::from_slice(&finished.stdout).expect("a JSON report");
    let mut complaints = Vec::new();
    for kind in ["kex", "key", "enc", "mac"] {
        let offered = report[kind]
            .as_array()
            .unwrap_or_else(|| panic!("{kind}: {finished}"));
        assert!(!offered.is_empty(), "{kind}: {finished}");
        for algorithm in offered {
            for level in ["fail", "warn"] {
                for note in algorithm["notes"][level].as_array().into_iter().flatten() {
                    complaints.push(format!("{kind} {}: {note}", algorithm["algorithm"]));
                }
            }
        }
    }
    complaints.extend(
        report["cves"]
            .as_array()
            .into_iter()
            .flatten()
            .map(Value::to_string),
    );
    complaints
}

#[test]
fn nmap_sees_what_the_documentation_says() {
    let world = World::new();
    let _daemon = Daemon::start(&world, &Setup::closed());
    let mut nmap = world.on_host("/usr/bin/nmap");
    // The plus: the script runs though the port is not 22.
    nmap.args([
        "-Pn",
        "-n",
        "-sT",
        "-p",
        "2222",
        "--script",
        "+ssh2-enum-algos",
    ]);
    let report = run(nmap.args(["-oX", "-", "127.0.0.1"]), 60).expect_code(0);
    let documented = include_str!("../../docs/ssh.md");
    let mut compared = 0;
    for table in report.out().split("<table key=\"").skip(1) {
        let (kind, rest) = table.split_once('"').expect("a key");
        let elements = rest.split_once("</table>").expect("its end").0;
        let names: Vec<&str> = (elements.split("<elem>").skip(1))
            .filter_map(|element| element.split_once("</elem>").map(|(name, _)| name))
            .collect();
        let line = format!("    {kind}: {}\n", names.join(" "));
        assert!(documented.contains(&line), "docs/ssh.md lacks {line}");
        compared += 1;
    }
    assert_eq!(compared, 5, "{report}");
}

#[test]
fn modern_algorithms_are_taken_and_old_ones_are_not() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    for (option, taken) in [
        ("-oKexAlgorithms=curve25519-sha256", true),
        ("-oKexAlgorithms=diffie-hellman-group14-sha1", false),
        ("-oKexAlgorithms=diffie-hellman-group1-sha1", false),
        ("-oKexAlgorithms=ecdh-sha2-nistp256", false),
        ("-oCiphers=chacha20-poly1305@openssh.com", true),
        ("-oCiphers=aes256-gcm@openssh.com", true),
        ("-oCiphers=aes128-gcm@openssh.com", true),
        ("-oCiphers=aes128-cbc", false),
        ("-oCiphers=3des-cbc", false),
        ("-oHostKeyAlgorithms=ssh-ed25519", true),
        ("-oHostKeyAlgorithms=ssh-rsa", false),
    ] {
        let session = daemon
            .ssh()
            .option(option)
            .option("-oLogLevel=INFO")
            .run("true");
        assert_eq!(session.code() == 0, taken, "{option}: {session}");
        assert!(
            taken || session.err().contains("no matching"),
            "{option}: {session}"
        );
    }
}

#[test]
fn compression_waits_for_the_login() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let ssh = daemon
        .ssh()
        .option("-vv")
        .option("-oLogLevel=DEBUG2")
        .option("-C");
    let session = ssh.run("true").expect_code(0).err();
    let offered = session
        .split("peer server KEXINIT proposal")
        .nth(1)
        .expect("a proposal");
    let mut lines = offered.lines().filter(|line| line.contains("compression "));
    let line = lines.next().expect("a list of compressions");
    assert!(
        !line.trim_end().ends_with("zlib") && !line.contains("zlib,"),
        "{line}"
    );
}
