//! What the attack suite is said to try: that every attack is in it, and that docs/attacks.md lists it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::attempt::{Attempt, Control, Proof};
use super::inventory::AREAS;
use super::suite::{attempts, innermost};
use super::support::{attacker, run};

#[test]
fn every_attack_is_one_of_the_suite_and_every_test_that_it_names_is_there() {
    let listed: BTreeSet<&str> = attempts()
        .flat_map(|attempt| [attempt.attack, innermost(attempt.attack)])
        .map(|attack| attack.split(':').next().unwrap_or_default())
        .collect();
    let verbs = run(Command::new(attacker()).arg("--verbs"), 10)
        .expect_code(0)
        .out();
    let distinct: BTreeSet<&str> = verbs.lines().collect();
    assert_eq!(distinct.len(), verbs.lines().count(), "a name for two");
    let without: Vec<_> = verbs
        .lines()
        .filter(|verb| !listed.contains(verb))
        .collect();
    assert!(
        without.is_empty(),
        "attacks without a place in the suite: {without:?}"
    );
    for attempt in attempts() {
        if let Control::Shown(file, test, _) | Control::Held(file, test) = attempt.control {
            let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
            let source = source.unwrap_or_else(|e| panic!("{file}: {e}"));
            let there = source.contains(&format!("#[test]\nfn {test}()"));
            assert!(there, "{file} has no test {test}");
        }
    }
    assert!(count(Proof::Succeeds) >= 120, "{}", summary());
}

fn count(proof: Proof) -> usize {
    attempts().filter(|each| each.proof() == proof).count()
}

/// How many attempts rest on what.
pub(crate) fn summary() -> String {
    format!(
        "{} attempts are stopped and have a place where the same attempt succeeds. Apart from these are counted: {} whose \
         control depends on the kernel, {} that a test shows to be stopped with no place where they succeed, and {} that \
         succeed, for comparison or because nothing stops them.",
        count(Proof::Succeeds),
        count(Proof::Answers),
        count(Proof::Alone),
        count(Proof::Allowed),
    )
}

/// The table that docs/attacks.md shows.
fn table() -> String {
    let mut text = format!("{}\n\n", summary());
    let mut line = |line: String| text = format!("{text}{line}\n");
    for area in AREAS {
        line(format!("## {}\n", area.name));
        line("| attempt | what it would give | stopped by | succeeds |".into());
        line("|---|---|---|---|".into());
        for Attempt {
            attack,
            tries,
            by,
            control,
            ..
        } in area.attempts
        {
            let place = match control {
                Control::Nobody => "outside, as an ordinary user".to_owned(),
                Control::Root => "as root in fresh namespaces".to_owned(),
                Control::Host => "as root of the host".to_owned(),
                Control::Gate => "in the gate's network".to_owned(),
                Control::Ablated(layers) => format!("in a sandbox without {layers}"),
                Control::Differs(answers) => {
                    format!("depends on the kernel; {} outside", answers.join(", "))
                }
                Control::Shown(file, name, place) => {
                    format!("{place} (`{file}`: {})", name.replace('_', " "))
                }
                Control::Held(file, name) => {
                    format!("nowhere (`{file}`: {})", name.replace('_', " "))
                }
            };
            let attack = if attack.contains(['`', ' ']) {
                (*attack).to_owned()
            } else {
                format!("`{attack}`")
            };
            line(format!("| {attack} | {tries} | {by} | {place} |"));
        }
        line(String::new());
    }
    text
}

#[test]
fn the_document_lists_what_the_suite_tries() {
    const BEGIN: &str = "<!-- from tests/confinement/inventory.rs -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/attacks.md");
    let document = fs::read_to_string(&path).unwrap();
    let (head, listed) = document
        .split_once(BEGIN)
        .expect("the mark above the tables");
    let current = format!("\n{}", table().trim_end()) + "\n";
    if std::env::var_os("SANDGATE_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{head}{BEGIN}{current}")).unwrap();
        return;
    }
    assert!(
        listed == current,
        "docs/attacks.md is not what the suite tries: SANDGATE_WRITE_DOCS=1 cargo test --test confinement document"
    );
}
