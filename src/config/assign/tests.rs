//! Which rule decides, what each definition is made of, and what is refused where it stands.

use std::path::Path;

use super::*;
use crate::config::PolicySource;

const KEY: &str = "SHA256:abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ";

const TEXT: &str = "host_keys: [k]
sandboxes:
  ide: {scope: login}
  ci: {policy: ci.yaml}
  locked: {policy: locked.yaml}
groups:
  contractors: {principals: [contractor], keys: ['SHA256:abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ']}
assign:
  - {groups: [contractors], sandbox: locked}
  - {logins: [ci], principals: [release, nightly], sandbox: ci}
logins:
  dev: {authorized_keys: [a], policy: dev.yaml, sandbox: ide}
  ci: {authorized_keys: [a], policy: dev.yaml}
";

fn parsed(text: &str) -> Result<Config, String> {
    crate::config::parse(Path::new("/etc/sandgate.yaml"), text).map_err(|e| e.to_string())
}

#[test]
fn the_first_rule_that_fits_decides() {
    let config = parsed(TEXT).unwrap();
    let kind = |login: &str, key: &str, principals: &[&str]| {
        let login = LoginName::try_from(login.to_owned()).unwrap();
        let principals: Vec<String> = principals.iter().map(|&name| name.to_owned()).collect();
        let key = Fingerprint(key.to_owned());
        let shown = Shown {
            key: &key,
            comment: None,
            principals: &principals,
        };
        config.sandboxes_for(&login, shown).0.to_string()
    };
    assert_eq!(kind("dev", "SHA256:x", &[]), "dev (ide)");
    assert_eq!(kind("dev", "SHA256:x", &["release"]), "dev (ide)");
    assert_eq!(kind("dev", KEY, &[]), "dev (locked)");
    assert_eq!(
        kind("dev", "SHA256:x", &["a", "contractor"]),
        "dev (locked)"
    );
    assert_eq!(kind("ci", "SHA256:x", &[]), "ci");
    assert_eq!(kind("ci", "SHA256:x", &["nightly"]), "ci (ci)");
    assert_eq!(
        kind("ci", "SHA256:x", &["nightly", "contractor"]),
        "ci (locked)"
    );
}

#[test]
fn a_comment_fits_whole_or_by_a_pattern() {
    let text = TEXT.replace(
        "  - {groups: [contractors]",
        "  - {logins: [dev], comments: ['*@contractor.example', bob], sandbox: ci}\n  - {groups: [contractors]",
    );
    let config = parsed(&text).unwrap();
    let kind = |login: &str, comment| {
        let login = LoginName::try_from(login.to_owned()).unwrap();
        let key = Fingerprint("SHA256:x".to_owned());
        let shown = Shown {
            key: &key,
            comment,
            principals: &[],
        };
        config.sandboxes_for(&login, shown).0.to_string()
    };
    for fits in ["ann@contractor.example", "bob"] {
        assert_eq!(kind("dev", Some(fits)), "dev (ci)", "{fits}");
    }
    for fits_not in [None, Some("bobby"), Some("ann@contractor.example.org")] {
        assert_eq!(kind("dev", fits_not), "dev (ide)", "{fits_not:?}");
    }
    assert_eq!(kind("ci", Some("bob")), "ci");
    for wrong in ["' bob'", "''"] {
        let error = parsed(&text.replace("bob]", &format!("{wrong}]"))).unwrap_err();
        assert!(error.contains("without blanks around it"), "{error}");
    }
}

#[test]
fn each_kind_has_its_own_policy() {
    let config = parsed(TEXT).unwrap();
    let kinds = config.kinds().into_iter().map(|(kind, login)| {
        let Some(PolicySource::File(policy)) = login.policy else {
            panic!("{kind}: no file");
        };
        format!("{kind}: {}", policy.file_name().unwrap().to_str().unwrap())
    });
    let expected = [
        "ci: dev.yaml",
        "ci (ci): ci.yaml",
        "ci (locked): locked.yaml",
        "dev (ide): dev.yaml",
        "dev (locked): locked.yaml",
    ];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_not_there_is_refused_where_it_stands() {
    for (from, to, said) in [
        (
            "sandbox: locked",
            "sandbox: lokced",
            "9:38: assign[0].sandbox: no sandbox is called \"lokced\"; there is ci, ide, locked",
        ),
        (
            "groups: [contractors]",
            "groups: [staff]",
            "9:15: assign[0].groups[0]: no group is called \"staff\"; there is contractors",
        ),
        (
            "logins: [ci]",
            "logins: [cl]",
            "10:15: assign[1].logins[0]: no login is called \"cl\"; there is ci, dev",
        ),
        ("groups: [contractors], ", "", "is for nobody"),
        ("groups: [contractors]", "groups: []", "name at least one"),
        ("abcdefgh", "abc", "groups.contractors.keys[0]: "),
        (
            "{policy: ci.yaml}",
            "{polcy: ci.yaml}",
            "did you mean `policy`?",
        ),
        ("[release, nightly]", "['']", "empty principal"),
        (
            "host_keys: [k]",
            "host_keys: [k]\nlimits: {sandboxes: 8}",
            "with a pool of 2",
        ),
        (
            "locked: {policy",
            "Locked: {policy",
            "\"Locked\" is no name",
        ),
    ] {
        let text = TEXT.replacen(from, to, 1);
        assert_ne!(text, TEXT);
        let error = parsed(&text).unwrap_err();
        assert!(error.contains(said), "{to}: {error}");
    }
    let text = TEXT.replace("policy: dev.yaml, sandbox: ide", "sandbox: ci");
    let text = text.replace("locked: {policy: locked.yaml}", "locked: {}");
    let error = parsed(&text).unwrap_err();
    assert!(
        error.contains("9:38: assign[0].sandbox: neither sandbox locked nor login dev names"),
        "{error}"
    );
}
