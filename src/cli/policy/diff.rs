//! `sandgate policy diff`: what becomes allowed, and what denied.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::policy::{Change, Effect, Snapshot, compare};

/// Status 0 if everything that either file names is judged alike, 1 if not, 2 on trouble: diff(1).
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The policy that is in force.
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// The one that takes its place.
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    /// Print one JSON object for each change.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn compare(&self) -> ExitCode {
        match self.print() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("sandgate: {error}");
                ExitCode::from(2)
            }
        }
    }

    /// Whether nothing changes.
    fn print(&self) -> anyhow::Result<bool> {
        let (before, after) = (Snapshot::read(&self.before)?, Snapshot::read(&self.after)?);
        let named = |path: &PathBuf| path.display().to_string();
        let changes = compare(
            (&named(&self.before), &before),
            (&named(&self.after), &after),
        )?;
        for change in &changes {
            if self.json {
                println!("{}", serde_json::to_string(change)?);
            } else {
                println!("{}", line(change));
            }
        }
        Ok(changes.is_empty())
    }
}

/// `+ api.example.com:443 POST /v1/*: denied, now allowed (for /usr/bin/curl)`.
pub(super) fn line(change: &Change) -> String {
    let sign = match change.effect {
        Effect::Allowed => '+',
        Effect::Denied => '-',
        Effect::Treated => '~',
    };
    let Change {
        what,
        before,
        after,
        programs,
        ..
    } = change;
    let programs = if programs.is_empty() {
        String::new()
    } else {
        format!(" (for {})", programs.join(", "))
    };
    format!("{sign} {what}: {before}, now {after}{programs}")
}
