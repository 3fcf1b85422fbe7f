//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Activation, Config, Gap, Invoker, RuleFiles};
use crate::policy::{LoadError, Rules};
use crate::server::{self, Launch};

mod doctor;
mod policy;
mod sandboxes;
mod sshd;
mod status;

/// An SSH server whose sessions run in sandboxes.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve SSH in the foreground, as root or as a user (docs/rootless.md).
    Serve(Service),
    /// Check the configuration, its policies and this host, without serving.
    Check(Service),
    /// Say what this host can enforce, and whether `serve` would start.
    Doctor(doctor::Question),
    /// Serve as sshd(8) would, by its command line and configuration (needs root).
    #[command(disable_help_flag = true)]
    Sshd(sshd::Arguments),
    /// Work with policies.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Say how a running daemon is, and what came of its last reload (its user's or root's).
    Status(status::Question),
    /// List the sandboxes of a running daemon (its user's or root's).
    Sandboxes(sandboxes::List),
    /// End sandboxes of a running daemon, with everything in them (its user's or root's).
    Kill(sandboxes::Kill),
}

/// Where the configuration comes from.
#[derive(Debug, clap::Args)]
struct Source {
    /// The configuration [default: login `sandbox` on 127.0.0.1:2222 under the built-in policy]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    rules: RuleArguments,
}

/// What is served.
#[derive(Debug, clap::Args)]
struct Service {
    #[command(flatten)]
    source: Source,
    /// What is done without where it can't be enforced, besides what `accept_weaker` names (docs/configuration.md)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    accept_weaker: Vec<Gap>,
}

/// What judges.
#[derive(Debug, Clone, clap::Args)]
struct RuleArguments {
    /// A module in Rego that decides in place of the built-in one (`package sandgate.rules`)
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// JSON that this module sees as `data.operator`
    #[arg(long, value_name = "FILE", requires = "rules")]
    rules_data: Option<PathBuf>,
}

impl RuleArguments {
    fn read(&self) -> Result<Rules, LoadError> {
        match &self.rules {
            Some(module) => Rules::read(module, self.rules_data.as_deref()),
            None => Ok(Rules::default()),
        }
    }

    fn files(&self) -> Option<RuleFiles> {
        Some(RuleFiles {
            module: self.rules.clone()?,
            data: self.rules_data.clone(),
            memory: RuleFiles::MEMORY,
            fixed: true,
        })
    }
}

impl Source {
    fn read(&self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config::builtin(&Invoker::from_environment())?,
        };
        config.rules = self.rules.files().or(config.rules);
        Ok(config)
    }
}

impl Service {
    fn read(&self) -> anyhow::Result<Config> {
        let mut config = self.source.read()?;
        config.accept_weaker = (config.accept_weaker).and_spoken(self.accept_weaker.clone());
        Ok(config)
    }
}

/// Runs what the command line asks for; errors are one message on standard error and status 1.
pub fn run() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(service) => serve(&service),
        Command::Check(service) => check(&service),
        Command::Doctor(question) => question.answer(),
        Command::Sshd(arguments) => return sshd::run(&arguments),
        Command::Policy(command) => command.run(),
        Command::Status(question) => question.answer(),
        Command::Sandboxes(list) => sandboxes::list(&list),
        Command::Kill(kill) => sandboxes::kill(&kill),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("sandgate: {}", server::explain(error.as_ref()));
        ExitCode::FAILURE
    })
}

fn serve(service: &Service) -> anyhow::Result<ExitCode> {
    server::log_to_stderr(server::LOG);
    let activation = Activation::from_environment();
    Ok(server::serve(
        service.read()?,
        &activation,
        &mut Launch::default(),
    )?)
}

fn check(service: &Service) -> anyhow::Result<ExitCode> {
    let config = service.read()?;
    let checked = server::check(config, &Activation::from_environment())?;
    for warning in checked.warnings() {
        println!("warning: {warning}");
    }
    println!(
        "{}: ok, {} login(s)",
        checked.source().display(),
        checked.logins()
    );
    Ok(ExitCode::SUCCESS)
}
