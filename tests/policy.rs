//! Policies against the cases of their schema, the shipped policies, and the decoder's seeds.

use std::path::Path;

use sandgate::model::Generation;
use sandgate::policy::Snapshot;
use sandgate::policy::cases::{self, Outcome, Status};

fn at(relative: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn count(outcomes: &[Outcome], status: Status) -> usize {
    outcomes
        .iter()
        .filter(|outcome| outcome.status == status)
        .count()
}

#[test]
fn every_load_and_connect_case_has_its_verdict() {
    let outcomes = cases::run(&at("tests/policy-cases/requests.json")).unwrap();
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
    // 28 + 17 loads and 33 connects; the 61 requests wait for inspection.
    assert_eq!(
        (
            count(&outcomes, Status::Passed),
            count(&outcomes, Status::Unsupported)
        ),
        (45 + 33, 61)
    );
}

#[test]
fn errs() {
    let o = cases::run(&at("tests/policy-cases/requests.json")).unwrap();
    for o in o {
        if let Some(r) = o.reason {
            println!("{:30} {r}", o.id);
        }
    }
}
