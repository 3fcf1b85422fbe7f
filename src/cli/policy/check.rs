//! `sandgate policy check`: errors and warnings, with a picture of the place.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use crate::policy::{LoadError, review};
use crate::yaml::Invalid;

/// Columns of a picture.
const WIDTH: usize = 100;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Policy files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where the programs that policies name are looked for.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// A warning is an error.
    #[arg(long)]
    strict: bool,
    /// Print one JSON object for each error and warning.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Severity {
    Error,
    Warning,
}

/// A line of `--json`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    severity: Severity,
    #[serde(flatten)]
    place: Option<&'a Invalid>,
    message: String,
}

impl Arguments {
    /// Status 0 if all files load, and with `--strict` without a warning.
    pub(super) fn check(&self) -> anyhow::Result<ExitCode> {
        let (mut errors, mut warnings) = (0, 0);
        for file in &self.files {
            match review(file, &self.root) {
                Ok(review) => {
                    warnings += review.warnings.len();
                    for warning in &review.warnings {
                        self.tell(Severity::Warning, Some(warning), warning.to_string())?;
                    }
                    if !self.json {
                        println!(
                            "{}: ok, {} network policies, {} endpoints, {} warnings",
                            file.display(),
                            review.policies,
                            review.endpoints,
                            review.warnings.len()
                        );
                    }
                }
                Err(error) => {
                    errors += 1;
                    let place = match &error {
                        LoadError::Invalid(invalid) => Some(invalid),
                        _ => None,
                    };
                    self.tell(Severity::Error, place, error.to_string())?;
                }
            }
        }
        Ok(if errors == 0 && (warnings == 0 || !self.strict) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn tell(
        &self,
        severity: Severity,
        place: Option<&Invalid>,
        message: String,
    ) -> anyhow::Result<()> {
        if self.json {
            let line = Line {
                severity,
                place,
                message,
            };
            println!("{}", serde_json::to_string(&line)?);
            return Ok(());
        }
        let word = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        println!("{word}: {message}");
        if let Some(picture) = place.and_then(|place| place.picture(WIDTH)) {
            println!("{picture}\n");
        }
        Ok(())
    }
}
