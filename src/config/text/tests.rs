//! Configuration texts, good and bad.

use super::*;

const GOOD: &str = "host_keys: [k]\nlogins:\n  sandbox: {authorized_keys: [a], policy: p.yaml}\n";

fn refusal(text: &str) -> String {
    parse(Path::new("/etc/sandgate/sandgate.yaml"), text)
        .unwrap_err()
        .to_string()
}

#[test]
fn relative_paths_count_from_the_file() {
    let config = parse(Path::new("/etc/sandgate/sandgate.yaml"), GOOD).unwrap();
    assert_eq!(config.host_keys, [PathBuf::from("/etc/sandgate/k")]);
    assert_eq!(config.listen, default_listen());
}

#[test]
fn unknown_key_names_file_line_and_the_nearest_key() {
    let said = refusal(&GOOD.replace("policy: p.yaml", "polcy: p.yaml"));
    assert!(said.starts_with("/etc/sandgate/sandgate.yaml:3:"), "{said}");
    assert!(
        said.contains("polcy") && said.contains("did you mean `policy`?"),
        "{said}"
    );
}

#[test]
fn values_out_of_range_name_their_key() {
    for (addition, key) in [
        ("limits: {channels: 0}", "limits.channels"),
        ("limits: {login_grace: 0}", "limits.login_grace"),
        ("pool: 64", "pool"),
        ("blanks: 65", "blanks"),
        ("listen: [127.0.0.1]", "listen[0]"),
        ("uids: {first: 10}", "uids"),
        ("uids: {gate: 1900000005}", "uids"),
        ("listen: []", "listen"),
        ("revoked_keys: []", "revoked_keys"),
        ("authentication_methods: []", "authentication_methods"),
        (
            "authentication_methods: [password]",
            "authentication_methods[0]",
        ),
        (
            "authentication_methods: [keyboard-interactive]",
            "authentication_methods[0]",
        ),
        (
            "authentication_methods: ['publickey,keyboard-interactive']",
            "authentication_methods",
        ),
        ("trusted_user_ca_keys: []", "trusted_user_ca_keys"),
    ] {
        let said = refusal(&format!("{GOOD}{addition}\n"));
        assert!(said.contains(&format!(": {key}: ")), "{addition}: {said}");
    }
}

#[test]
fn what_is_wrong_with_a_login_names_its_key() {
    for (addition, key) in [
        ("set_env: {1A: x}", "set_env.1A"),
        ("set_env: {SSH_CLIENT: x}", "set_env.SSH_CLIENT"),
        ("key_env: ['A?']", "key_env[0]"),
        ("force_command: internal-sftp -R", "force_command"),
        (
            "authorized_principals: [a], authorized_principals_file: f",
            "authorized_principals_file",
        ),
    ] {
        let said = refusal(&GOOD.replace("policy: p.yaml", &format!("policy: p, {addition}")));
        let key = format!(": logins.sandbox.{key}: ");
        assert!(said.contains(&key), "{addition}: {said}");
    }
}

#[test]
fn duplicate_keys_and_bad_logins_are_refused() {
    refusal(&format!("{GOOD}pool: 1\npool: 2\n"));
    refusal(&GOOD.replace("sandbox:", "Root!:"));
}
