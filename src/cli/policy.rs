//! `sandgate policy`: what a policy says, before and after it is in force.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::RuleArguments;
use crate::config::RuleFiles;
use crate::policy::Rules;
use crate::policy::cases::{self, Status};
use crate::server;

mod check;
mod diff;
mod explain;
mod suggest;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check policy files: errors and warnings with the place and the mend.
    Check(check::Arguments),
    /// Say what one policy allows and denies that another did not.
    Diff(diff::Arguments),
    /// Run lists of cases (JSON) against the policies that they name.
    Test {
        /// Lists of cases.
        #[arg(required = true, value_name = "FILE")]
        lists: Vec<PathBuf>,
        /// Print one JSON object a case.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        rules: RuleArguments,
    },
    /// Judge one connection or request as the proxy would, and say why.
    Explain(explain::Question),
    /// Suggest what to add to a policy, from what an audit trail says it denied.
    Suggest(suggest::Arguments),
}

impl Command {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(arguments) => arguments.check(),
            Self::Diff(arguments) => Ok(arguments.compare()),
            Self::Test { lists, json, rules } => {
                let (rules, _beside) = server::beside(rules.read()?, RuleFiles::MEMORY)?;
                test(lists, *json, &rules)
            }
            Self::Explain(question) => question.answer(),
            Self::Suggest(arguments) => arguments.suggest(),
        }
    }
}

fn test(lists: &[PathBuf], json: bool, rules: &Rules) -> anyhow::Result<ExitCode> {
    let (mut passed, mut failed) = (0, 0);
    for list in lists {
        for outcome in cases::run(list, rules)? {
            match outcome.status {
                Status::Passed => passed += 1,
                Status::Failed => failed += 1,
            }
            if json {
                println!("{}", serde_json::to_string(&outcome)?);
            } else if outcome.status == Status::Failed {
                let reason = outcome.reason.as_deref().unwrap_or("no reason");
                println!(
                    "{}: expected {:?}, got {:?}: {reason}",
                    outcome.id, outcome.expected, outcome.verdict
                );
            }
        }
    }
    if !json {
        println!("{passed} passed, {failed} failed");
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
