//! `sandgate doctor`: what this host can enforce, and what keeps `serve` from starting here.

use std::process::ExitCode;

use super::Service;
use crate::config::Activation;
use crate::server::doctor::{self, Report};

/// What to look at, and how to say it.
#[derive(Debug, clap::Args)]
pub(super) struct Question {
    #[command(flatten)]
    service: Service,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Question {
    /// Status 1 if `serve` would be refused.
    pub(super) fn answer(&self) -> anyhow::Result<ExitCode> {
        let report = doctor::examine(
            self.service.read().map_err(Unreadable),
            &Activation::from_environment(),
        );
        if self.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            print(&report);
        }
        Ok(if report.is_refused() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

/// Why there is no configuration to look at.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Unreadable(anyhow::Error);

fn print(report: &Report) {
    println!("kernel");
    for feature in &report.kernel {
        println!("  {:<34}  {}", feature.name, feature.state);
    }
    println!("bounds of a sandbox, of a session");
    for bound in &report.bounds {
        let by = |holder: &Option<String>| holder.clone().unwrap_or_else(|| "not held".to_owned());
        let (sandbox, session) = (by(&bound.sandbox), by(&bound.session));
        println!("  {:<34}  {sandbox:<22}  {session}", bound.keys);
    }
    println!("capabilities");
    for capability in &report.capabilities {
        let there = if capability.there { "there" } else { "missing" };
        println!(
            "  {:<34}  {there:<22}  {}",
            capability.name, capability.purpose
        );
    }
    println!("gaps{}", if report.gaps.is_empty() { ": none" } else { "" });
    for gap in &report.gaps {
        let kind = if gap.refused { "refused: " } else { "" };
        println!("  {kind}{}", gap.text);
    }
    println!(
        "`sandgate serve` {}",
        if report.is_refused() {
            "would be refused"
        } else {
            "would start"
        }
    );
}
