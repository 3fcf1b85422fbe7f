//! Faults: each system call that makes a sandbox or confines a session fails once, or its process is killed in its place,
//! and the session is refused, or as confined as ever.
//!
//! The calls are taken from what a session that starts really asks of the kernel: of the monitor, of the sandbox's
//! init and of the session's own process, up to its execve(2). One call of one process is struck, so that no fault
//! hides behind another. What a session is like is told by itself, by attacks, and by the host (`stage`, `view`);
//! the reference is a session without a fault. Nothing is left of one that was refused, and the daemon serves on, or
//! has ended as a whole.
//!
//! `SANDGATE_FAULTS=all` takes every occurrence of every call with every error, and in other setups than the plainest the
//! first of each with every error; otherwise it is the first, the last and one between, with one error each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and runs programs"
)]

#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part of the support"
)]
mod support;

mod errors;
mod lies;
mod session;
mod stage;
mod strike;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use stage::{Daemons, Kind, Outcome, Place, Stage};
use strike::{Call, Strike};

/// What is done about a setup.
struct Campaign<'w> {
    place: &'w Place,
    kind: Kind,
    stage: Stage<'w>,
    /// What a session without a fault is like.
    whole: String,
    /// How many were tried, and how many calls of them did not come to pass again.
    tries: u32,
    misses: u32,
    /// Every fault that did not do what it has to.
    wrong: Vec<String>,
    tally: BTreeMap<(String, &'static str), u32>,
}

fn everything() -> bool {
    std::env::var_os("SANDGATE_FAULTS").is_some_and(|value| value == "all")
}

impl<'w> Campaign<'w> {
    fn open(place: &'w Place, kind: Kind) -> Self {
        let mut stage = Stage::open(place, kind);
        let (Outcome::Began(whole), _) = stage.session(None) else {
            panic!("no session without a fault");
        };
        Self {
            place,
            kind,
            stage,
            whole,
            tries: 0,
            misses: 0,
            wrong: Vec::new(),
            tally: BTreeMap::new(),
        }
    }

    /// The calls of these roles that two sessions have in common: what only one of them made is chance.
    fn calls(&mut self, roles: &[&str]) -> Vec<Call> {
        let mut logs = [(), ()].map(|()| {
            let (outcome, log) = self.stage.session(None);
            let change = self.change(&outcome);
            assert_eq!(change, "", "two references");
            self.stage.rests().expect("nothing is left");
            log.calls()
        });
        let second: BTreeSet<Call> = logs[1].drain(..).collect();
        let mut calls = std::mem::take(&mut logs[0]);
        calls.retain(|call| {
            let of_role = roles.iter().any(|role| call.role.starts_with(role));
            of_role && !errors::is_harmless(&call.name) && second.contains(call)
        });
        calls
    }

    /// What is other than in a session without a fault.
    fn change(&self, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Began(report) => difference(&self.whole, report),
            other => format!("{other:?}"),
        }
    }

    /// Strikes once and judges what came of it.
    fn strike(&mut self, call: &Call, strike: Strike) {
        let name = format!("{call}, {strike}");
        // The last one, where a client never ends.
        println!("{name}");
        let mut struck = false;
        let mut outcome = Outcome::Cut;
        // A call may not come to pass once more, by chance.
        for _ in 0..3 {
            let (this, log) = self.stage.session(Some((call, strike)));
            (outcome, struck) = (this, log.has_struck());
            if struck {
                break;
            }
        }
        let rests = self.stage.rests();
        if !struck && !self.kind.may_go_without(call) {
            self.wrong.push(format!("{name}: never came to pass"));
        }
        self.tries += 1;
        self.misses += u32::from(!struck);
        let ended = rests == Ok(Daemons::Ended);
        let verdict = match &outcome {
            Outcome::Refused(_) => {
                if ended {
                    "ended with the daemon"
                } else {
                    "refused"
                }
            }
            Outcome::Cut if ended => "ended with the daemon",
            Outcome::Cut => {
                self.wrong
                    .push(format!("{name}: a session began, and was ended"));
                "cut"
            }
            Outcome::Began(report) if struck => self.compare(&name, report, (call, strike)),
            Outcome::Began(report) => {
                let change = difference(&self.whole, report);
                if !change.is_empty() {
                    (self.wrong).push(format!("{name}: without a fault another:\n{change}"));
                }
                "no fault"
            }
        };
        *self.tally.entry((call.role.clone(), verdict)).or_default() += 1;
        if let Err(left) = &rests {
            self.wrong.push(format!("{name}: {left}"));
        }
        if ended || rests.is_err() {
            self.again();
        } else if call.role == "monitor" {
            let (next, _) = self.stage.session(None);
            let change = self.change(&next);
            if !change.is_empty() {
                self.wrong
                    .push(format!("{name}: the next session is another:\n{change}"));
            }
        }
    }

    /// A session that began though something failed has to be as ever; or, where the failure says that something is not
    /// there, without that.
    fn compare(
        &mut self,
        name: &str,
        report: &str,
        (call, strike): (&Call, Strike),
    ) -> &'static str {
        let change = difference(&self.whole, report);
        let forgiven = matches!(strike, Strike::Error(error) if errors::is_forgiven(call, error));
        // A path that is listed and not there has no rule, whoever looks for it.
        let is_absence = matches!(strike, Strike::Error("ENOENT" | "ENOTDIR" | "ELOOP"));
        let may_lack = call.role != "monitor" || call.name == "openat2" && is_absence;
        let less = may_lack && change.lines().all(is_less);
        match (change.is_empty(), forgiven) {
            (true, true) => "as ever",
            (false, true) if less => "with less",
            (true, false) => {
                (self.wrong).push(format!("{name}: no matter, and not listed as that"));
                "as ever"
            }
            _ => {
                (self.wrong).push(format!("{name}: a session that is another:\n{change}"));
                "another"
            }
        }
    }

    /// Another daemon.
    fn again(&mut self) {
        self.stage.close();
        self.stage = Stage::open(self.place, self.kind);
    }

    #[track_caller]
    fn end(mut self) {
        let (last, _) = self.stage.session(None);
        assert_eq!(self.change(&last), "", "after all of them");
        println!("{} faults: {:?}", self.tries, self.tally);
        // Some calls are one more or less (`Kind::may_go_without`).
        assert!(
            self.misses * 10 <= self.tries,
            "{} were no faults",
            self.misses
        );
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}

/// The lines that only one of two reports has.
fn difference(before: &str, after: &str) -> String {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (before, after) = (lines(before), lines(after));
    let gone = before.difference(&after).map(|line| format!("- {line}"));
    let new = after.difference(&before).map(|line| format!("+ {line}"));
    gone.chain(new).collect::<Vec<_>>().join("\n")
}

/// Whether a session is without a line, or an attack fails by another answer: an errno's name, or what sftp(1) says of what
/// is not there.
fn is_less(change: &str) -> bool {
    let Some(new) = change.strip_prefix("+ ") else {
        return change.starts_with("- ");
    };
    let errno = new.split_once(": E").map(|(_, rest)| rest);
    errno.is_some_and(|rest| rest.chars().all(|letter| letter.is_ascii_uppercase()))
        || new.ends_with(": No such file or directory")
        || new.starts_with("Can't ls: ") && new.ends_with(" not found")
}

/// The faults that are tried in the plainest of sandboxes.
fn faults(calls: &[Call]) -> Vec<(Call, Strike)> {
    if everything() {
        calls.iter().flat_map(every_error).collect()
    } else {
        each_with_an_error(chosen(calls))
    }
}

/// Those in others, where most calls are the same.
fn faults_beside(calls: &[Call]) -> Vec<(Call, Strike)> {
    if !everything() {
        return each_with_an_error(spaced(calls, 24));
    }
    let first = calls.iter().filter(|call| call.nth == 1);
    let others = each_with_an_error(chosen(calls));
    first.flat_map(every_error).chain(others).collect()
}

fn every_error(call: &Call) -> Vec<(Call, Strike)> {
    let errors = errors::plausible(&call.name).iter();
    let with = |error: &&'static str| (call.clone(), Strike::Error(error));
    errors.map(with).collect()
}

fn each_with_an_error(calls: Vec<Call>) -> Vec<(Call, Strike)> {
    let numbered = calls.into_iter().enumerate().map(|(number, call)| {
        let errors = errors::plausible(&call.name);
        (call, Strike::Error(errors[number % errors.len()]))
    });
    numbered.collect()
}

/// So many of them, from all over.
fn spaced(calls: &[Call], number: usize) -> Vec<Call> {
    let step = calls.len().div_ceil(number).max(1);
    calls.iter().step_by(step).cloned().collect()
}

/// The first, the last and one between of each role's calls of one name.
fn chosen(calls: &[Call]) -> Vec<Call> {
    let mut by_name: BTreeMap<(&str, &str), Vec<&Call>> = BTreeMap::new();
    for call in calls {
        by_name
            .entry((&call.role, &call.name))
            .or_default()
            .push(call);
    }
    let few = by_name.into_values().flat_map(|same| {
        let places = BTreeSet::from([0, same.len() / 2, same.len() - 1]);
        places
            .into_iter()
            .map(|place| same[place].clone())
            .collect::<Vec<_>>()
    });
    few.collect()
}

fn every_fault_refuses(kind: Kind, roles: &[&str], faults: fn(&[Call]) -> Vec<(Call, Strike)>) {
    let place = Place::new();
    let mut campaign = Campaign::open(&place, kind);
    let calls = campaign.calls(roles);
    for (call, strike) in faults(&calls) {
        campaign.strike(&call, strike);
    }
    campaign.end();
}

#[test]
fn no_failed_step_of_an_init_leaves_a_weaker_session() {
    every_fault_refuses(Kind::PLAIN, &["init"], faults);
}

#[test]
fn no_failed_step_of_a_session_leaves_a_weaker_one() {
    every_fault_refuses(Kind::PLAIN, &["session"], faults);
}

#[test]
fn no_failed_step_of_the_monitor_leaves_a_weaker_session() {
    every_fault_refuses(Kind::PLAIN, &["monitor"], faults);
}

/// By these it finds what its rules are for: first what each sandbox has, then what policy lists.
fn absences(calls: &[Call]) -> Vec<(Call, Strike)> {
    let of_rules = |call: &&Call| call.name == "openat2" && call.nth <= 16;
    let found = calls.iter().filter(of_rules);
    found
        .map(|call| (call.clone(), Strike::Error("ENOENT")))
        .collect()
}

#[test]
fn no_session_is_another_for_what_the_monitor_does_not_find() {
    every_fault_refuses(Kind::PLAIN, &["monitor"], absences);
}

const ALL: &[&str] = &["monitor", "init", "session"];

#[test]
fn no_failed_step_of_a_copied_root_leaves_a_weaker_session() {
    every_fault_refuses(Kind::MOULDED, &["init", "monitor"], faults_beside);
}

#[test]
fn no_failed_step_leaves_a_weaker_terminal() {
    every_fault_refuses(Kind::TERMINAL, ALL, faults_beside);
}

#[test]
fn no_failed_step_leaves_a_weaker_server_of_files() {
    every_fault_refuses(Kind::SFTP, ALL, faults_beside);
}

#[test]
fn no_failed_step_of_a_carved_root_leaves_a_weaker_session() {
    every_fault_refuses(Kind::CARVED, &["init"], faults_beside);
}

#[test]
fn no_failed_step_of_a_kept_volume_leaves_a_weaker_session() {
    every_fault_refuses(Kind::KEPT, &["init"], faults_beside);
}

#[test]
fn no_failed_step_over_an_operators_root_leaves_a_weaker_session() {
    every_fault_refuses(Kind::ROOT, &["init"], faults_beside);
}

#[test]
fn no_failed_step_leaves_a_weaker_session_that_may_nest() {
    every_fault_refuses(Kind::NESTING, ALL, faults_beside);
}

#[test]
fn no_failed_step_leaves_a_weaker_session_in_a_shared_sandbox() {
    every_fault_refuses(Kind::SHARED, ALL, faults_beside);
}

/// Kills at each step, or at some of them.
fn every_kill_is_told(kind: Kind, few: usize) {
    let place = Place::new();
    let mut campaign = Campaign::open(&place, kind);
    let calls = campaign.calls(&["init", "session"]);
    let number = if everything() { calls.len() } else { few };
    for call in spaced(&calls, number) {
        campaign.strike(&call, Strike::Kill);
    }
    campaign.end();
}

#[test]
fn whoever_is_killed_on_the_way_to_a_session_leaves_nothing() {
    every_kill_is_told(Kind::PLAIN, 40);
}

#[test]
fn whoever_is_killed_while_a_volume_is_made_leaves_no_device() {
    every_kill_is_told(Kind::KEPT, 20);
}
