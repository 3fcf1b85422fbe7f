//! A bad configuration or policy is one clear error, and the port never opens.

use std::fs;

use super::support::{Finished, Setup, World, run, sandgate};

/// Breaks a file of a good set-up, and asks `check` and `serve` for what they make of it.
fn broken(file: &str, from: &str, to: &str) -> (World, Vec<Finished>) {
    let world = World::new();
    let setup = Setup::default();
    setup.write(&world);
    let path = world.dir.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from:?} is in {file}: {text}");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
    let config = world.dir.join("sandgate.yaml");
    let verbs = ["check", "serve"];
    let answers = verbs.map(|verb| {
        let arguments = [verb, "--config", config.to_str().unwrap()];
        run(&mut sandgate(&world, &setup, &arguments), 20)
    });
    (world, answers.into())
}

/// The error names the file, the line and the key, and nothing was made or opened on the way.
#[track_caller]
fn is_refused(file: &str, from: &str, to: &str, named: &[&str]) {
    let (world, answers) = broken(file, from, to);
    for answer in answers {
        assert!(!matches!(answer.code(), 0 | 101 | 128..), "{answer}");
        let said = answer.err();
        for word in [file].iter().chain(named) {
            assert!(said.contains(word), "{word:?} is not named: {answer}");
        }
        assert!(!answer.out().contains("ssh -p"), "{answer}");
        let errors = said
            .lines()
            .filter(|line| line.starts_with("error"))
            .count();
        assert!(errors <= 1, "one error: {answer}");
    }
    assert!(
        !world.dir.join("host_ed25519").exists(),
        "a host key was made all the same"
    );
}

#[test]
fn a_good_configuration_passes_check() {
    let world = World::new();
    let setup = Setup::default();
    let config = setup.write(&world);
    let arguments = ["check", "--config", config.to_str().unwrap()];
    run(&mut sandgate(&world, &setup, &arguments), 20).expect_code(0);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_its_nearest_name() {
    is_refused(
        "sandgate.yaml",
        "audit:",
        "audti:",
        &["3", "audti", "audit"],
    );
    is_refused(
        "sandgate.yaml",
        "    policy:",
        "    polcy:",
        &["7", "polcy", "policy"],
    );
    is_refused(
        "policy.yaml",
        "read_only:",
        "read_olny:",
        &["4", "read_olny", "read_only"],
    );
}

#[test]
fn a_wrong_value_is_named_with_its_line_and_key() {
    is_refused(
        "sandgate.yaml",
        "127.0.0.1:2222",
        "127.0.0.1",
        &["1", "127.0.0.1"],
    );
    is_refused("sandgate.yaml", "pool: 1", "pool: many", &["pool"]);
    is_refused(
        "sandgate.yaml",
        "    policy: policy.yaml",
        "    sftp: sftp-server\n    policy: policy.yaml",
        &["7", "sftp", "absolute path"],
    );
    is_refused("policy.yaml", "version: 1", "version: 2", &["version", "2"]);
    is_refused(
        "policy.yaml",
        "port: 80}",
        "port: 70000}",
        &["port", "70000"],
    );
    is_refused("policy.yaml", "'*.wild.example'", "'*'", &["15", "host"]);
    is_refused(
        "policy.yaml",
        "[/sandbox, /tmp]",
        "[/sandbox, /]",
        &["read_write", "/"],
    );
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    is_refused("sandgate.yaml", "pool: 1", "pool: 1\npool: 2", &["pool"]);
    is_refused(
        "policy.yaml",
        "version: 1",
        "version: 1\nversion: 1",
        &["version"],
    );
}

#[test]
fn a_file_that_is_missing_is_named() {
    let (_, answers) = broken(
        "sandgate.yaml",
        "policy: policy.yaml",
        "policy: nowhere.yaml",
    );
    for answer in answers {
        assert!(!matches!(answer.code(), 0 | 101 | 128..), "{answer}");
        assert!(answer.err().contains("nowhere.yaml"), "{answer}");
        assert_eq!(
            answer.err().matches("No such file").count(),
            1,
            "said once: {answer}"
        );
    }
    let world = World::new();
    let arguments = ["serve", "--config", "/no/such/sandgate.yaml"];
    let answer = run(&mut sandgate(&world, &Setup::default(), &arguments), 20);
    assert_ne!(answer.code(), 0, "{answer}");
    assert!(answer.err().contains("/no/such/sandgate.yaml"), "{answer}");
}

/// A second daemon's configuration: no two have an id in common.
pub(crate) fn with_other_uids(world: &World, text: &str) -> String {
    let first = format!("first: {}", world.first_uid + 1);
    let gate = format!("gate: {}", world.first_uid);
    assert!(text.contains(&first) && text.contains(&gate), "{text}");
    // Of this process, and of no world of its.
    let other = world.first_uid + 8192;
    text.replace(&first, &format!("first: {}", other + 1))
        .replace(&gate, &format!("gate: {other}"))
}

#[test]
fn a_port_in_use_is_one_clear_error() {
    let world = World::new();
    let _first = super::support::Daemon::start(&world, &Setup::closed());
    let config = world.dir.join("sandgate.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, with_other_uids(&world, &text)).unwrap();
    let arguments = ["serve", "--config", config.to_str().unwrap()];
    let answer = run(&mut sandgate(&world, &Setup::closed(), &arguments), 20);
    assert!(!matches!(answer.code(), 0 | 101 | 128..), "{answer}");
    assert!(answer.err().contains("127.0.0.1:2222"), "{answer}");
}

#[test]
fn without_root_it_says_so() {
    let world = World::new();
    let setup = Setup::closed();
    let config = setup.write(&world);
    let mut command = std::process::Command::new("/usr/bin/setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    // The binary may stand where nobody else can reach it: hand it over as a copy.
    let copy = world.dir.join("sandgate");
    fs::copy(env!("CARGO_BIN_EXE_sandgate"), &copy).unwrap();
    command.arg(&copy).args(["serve", "--config"]).arg(&config);
    let answer = run(&mut command, 20);
    assert!(!matches!(answer.code(), 0 | 101 | 128..), "{answer}");
    assert!(answer.err().contains("root"), "{answer}");
}

#[test]
fn help_and_version_answer() {
    let world = World::new();
    let ask = |option| run(&mut sandgate(&world, &Setup::closed(), &[option]), 10).expect_code(0);
    assert!(ask("--help").out().contains("serve"));
    assert_eq!(
        ask("--version").out().trim(),
        concat!("sandgate ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn files_of_authorities_and_of_revoked_keys_are_read_before_the_port_opens() {
    for key in ["trusted_user_ca_keys", "revoked_keys"] {
        let to = format!("{key}: [missing]\nlimits:");
        let (_world, answers) = broken("sandgate.yaml", "limits:", &to);
        for answer in answers {
            assert_eq!(answer.code(), 1, "{answer}");
            assert!(answer.err().contains(key), "{answer}");
            assert!(answer.err().contains("/missing: "), "{answer}");
            assert!(!answer.out().contains("ssh -p"), "{answer}");
        }
    }
    // The policy is a file that is there, and no list of keys.
    let to = "revoked_keys: [policy.yaml]\nlimits:";
    let (_world, answers) = broken("sandgate.yaml", "limits:", to);
    for answer in answers {
        assert_eq!(answer.code(), 1, "{answer}");
        let said = answer.err();
        assert!(said.contains("line 1 holds no readable"), "{answer}");
    }
}
