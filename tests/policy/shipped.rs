//! The policies in `policies/`, and the built-in one.

use std::path::PathBuf;

use sandgate::model::Generation;
use sandgate::policy::{Account, Compatibility, Rules, Snapshot, Verdict};

use super::{at, files, judge};

#[test]
fn every_shipped_policy_loads_without_a_warning() {
    let shipped = files("policies", |path| {
        path.extension().is_some_and(|ext| ext == "yaml")
    });
    assert_eq!(shipped.len(), 3);
    for path in shipped {
        let snapshot = Snapshot::load(&path, Generation(1)).unwrap();
        assert!(
            snapshot.warnings().is_empty(),
            "{}: {:?}",
            path.display(),
            snapshot.warnings()
        );
        assert_eq!(snapshot.landlock(), Compatibility::HardRequirement);
        assert_eq!(
            snapshot.run_as().user,
            Some(Account::Name("sandbox".to_owned()))
        );
        assert!(
            snapshot
                .filesystem()
                .read_write
                .contains(&PathBuf::from("/sandbox"))
        );
    }
}

#[test]
fn the_builtin_policy_lets_nothing_out_and_the_agents_something() {
    let builtin = Snapshot::builtin(Generation(5), &Rules::default()).unwrap();
    assert_eq!(builtin.generation(), Generation(5));
    let Verdict::Deny(denial) = judge(&builtin, "/usr/bin/git", "github.com:443") else {
        panic!("allowed")
    };
    assert_eq!(denial.reason, "network connections not allowed by policy");
    let agent = Snapshot::load(&at("policies/agent.yaml"), Generation(1)).unwrap();
    assert!(matches!(
        judge(&agent, "/usr/bin/git", "github.com:443"),
        Verdict::Allow(_)
    ));
    assert!(matches!(
        judge(&agent, "/usr/bin/curl", "github.com:443"),
        Verdict::Deny(_)
    ));
}
