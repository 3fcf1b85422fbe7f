//! The parts of a policy that are fixed when a sandbox is made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{Change, Effect};
use crate::policy::check::Account;
use crate::policy::schema::Compatibility;
use crate::policy::snapshot::Snapshot;

const ABSENT: &str = "not there";

pub(super) fn changes(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let (was, is) = (access(old), access(new));
    let paths: BTreeSet<_> = was.keys().chain(is.keys()).collect();
    let word =
        |side: &BTreeMap<PathBuf, &'static str>, path| side.get(path).copied().unwrap_or(ABSENT);
    let files = paths.into_iter().map(|path| {
        let (before, after) = (word(&was, path), word(&is, path));
        let effect = match (before, after) {
            (ABSENT, _) | ("read_only", "read_write") => Effect::Allowed,
            _ => Effect::Denied,
        };
        change(effect, path.display().to_string(), before, after)
    });
    let settings = settings(old).into_iter().zip(settings(new));
    let settings = settings
        .map(|((key, before), (_, after))| change(Effect::Treated, key.to_owned(), before, after));
    let all = files.chain(settings);
    all.filter(|change| change.before != change.after).collect()
}

fn change(
    effect: Effect,
    what: String,
    before: impl Into<String>,
    after: impl Into<String>,
) -> Change {
    Change {
        effect,
        what,
        programs: Vec::new(),
        before: before.into(),
        after: after.into(),
    }
}

fn access(snapshot: &Snapshot) -> BTreeMap<PathBuf, &'static str> {
    let files = snapshot.filesystem();
    let of = |word| move |path: &PathBuf| (path.clone(), word);
    let readable = files.read_only.iter().map(of("read_only"));
    readable
        .chain(files.read_write.iter().map(of("read_write")))
        .collect()
}

fn settings(snapshot: &Snapshot) -> [(&'static str, String); 4] {
    let account = |account: &Option<Account>| match account {
        None => "the sandbox's own".to_owned(),
        Some(Account::Name(name)) => name.clone(),
        Some(Account::Id(id)) => id.to_string(),
    };
    let run_as = snapshot.run_as();
    let landlock = match snapshot.landlock() {
        Compatibility::BestEffort => "best_effort",
        Compatibility::HardRequirement => "hard_requirement",
    };
    [
        (
            "filesystem_policy.include_workdir",
            snapshot.filesystem().include_workdir.to_string(),
        ),
        ("process.run_as_user", account(&run_as.user)),
        ("process.run_as_group", account(&run_as.group)),
        ("landlock.compatibility", landlock.to_owned()),
    ]
}
