//! Lists of cases, against what they expect.

use std::path::Path;

use sandgate::policy::Rules;
use sandgate::policy::cases::{self, Answer, Outcome, Status};

use super::at;

fn count(outcomes: &[Outcome], status: Status) -> usize {
    outcomes
        .iter()
        .filter(|outcome| outcome.status == status)
        .count()
}

#[test]
fn every_case_has_its_verdict() {
    let outcomes = cases::run(&at("tests/policy-cases/requests.json"), &Rules::default()).unwrap();
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|outcome| outcome.status == Status::Failed)
        .map(|o| {
            format!(
                "{}: expected {:?}, got {:?} by {:?}: {:?}",
                o.id, o.expected, o.verdict, o.policy, o.reason
            )
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let loads = outcomes
        .iter()
        .filter(|outcome| outcome.id.starts_with("load-"));
    let (accepted, refused): (Vec<_>, Vec<_>) =
        loads.partition(|outcome| outcome.verdict == Some(Answer::Allow));
    assert_eq!((accepted.len(), refused.len()), (17, 28));
    // 33 connects and 61 requests besides.
    assert_eq!(count(&outcomes, Status::Passed), 45 + 33 + 61);
}

#[test]
fn cases_with_an_address_of_the_host_have_their_verdicts() {
    let outcomes = cases::run(&at("tests/policy-cases/aliases.json"), &Rules::default()).unwrap();
    let failed: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.status == Status::Failed)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let allowed = outcomes
        .iter()
        .filter(|outcome| outcome.verdict == Some(Answer::Allow));
    assert_eq!((outcomes.len(), allowed.count()), (10, 4));
}

#[test]
fn a_wrong_expectation_fails_its_case() {
    let list = at("tests/policy-cases/requests.json");
    let mut all: Vec<serde_json::Value> =
        serde_json::from_str(&std::fs::read_to_string(&list).unwrap()).unwrap();
    for case in &mut all {
        case["expect"] = if case["expect"] == "allow" {
            "deny".into()
        } else {
            "allow".into()
        };
        case["policy_file"] = at("tests/policy-cases")
            .join(case["policy_file"].as_str().unwrap())
            .to_str()
            .into();
    }
    let turned = std::env::temp_dir().join(format!("sandgate-cases-{}.json", std::process::id()));
    std::fs::write(&turned, serde_json::to_vec(&all).unwrap()).unwrap();
    let outcomes = cases::run(&turned, &Rules::default());
    std::fs::remove_file(&turned).unwrap();
    assert_eq!(count(&outcomes.unwrap(), Status::Failed), 45 + 33 + 61);
}

#[test]
fn a_case_whose_policy_does_not_load_fails() {
    let list = std::env::temp_dir().join(format!("sandgate-broken-{}.json", std::process::id()));
    let case = r#"[{"id": "x", "policy_file": "no-such.yaml", "expect": "deny",
        "input": {"kind": "connect", "host": "a.example", "port": 443, "binary": "/x"}}]"#;
    std::fs::write(&list, case).unwrap();
    let outcomes = cases::run(&list, &Rules::default());
    std::fs::remove_file(&list).unwrap();
    assert_eq!(count(&outcomes.unwrap(), Status::Failed), 1);
    assert!(cases::run(Path::new("/nonexistent"), &Rules::default()).is_err());
}
