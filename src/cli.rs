//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::config::{Activation, Config, Invoker};
use crate::model::{Destination, Generation, Identity, LoginName, Peer};
use crate::policy::cases::{self, Status};
use crate::policy::{FORWARD, Flow, Snapshot, Verdict};
use crate::server;

mod sandboxes;

/// An SSH server whose sessions run in sandboxes.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve SSH in the foreground (needs root).
    Serve(Source),
    /// Check the configuration, its policies and this host, without serving.
    Check(Source),
    /// Work with policies.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// List the sandboxes of a running daemon (needs root).
    Sandboxes(sandboxes::List),
    /// End sandboxes of a running daemon, with everything in them (needs root).
    Kill(sandboxes::Kill),
}

/// Where the configuration comes from.
#[derive(Debug, clap::Args)]
struct Source {
    /// The configuration [default: login `sandbox` on 127.0.0.1:2222 under the built-in policy]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Run lists of cases (JSON) against the policies that they name.
    Test {
        /// Lists of cases.
        #[arg(required = true, value_name = "FILE")]
        lists: Vec<PathBuf>,
        /// Print one JSON object a case.
        #[arg(long)]
        json: bool,
    },
    /// Judge one connection as the proxy would, and say why.
    Explain(Question),
}

/// A connection to judge; a denial's JSON body and the audit name these.
#[derive(Debug, clap::Args)]
struct Question {
    #[command(flatten)]
    source: Source,
    /// Whose policy.
    #[arg(long, value_name = "NAME")]
    login: String,
    /// Where to.
    #[arg(long, value_name = "HOST:PORT")]
    to: String,
    /// The program that connects (`ssh-forward`: a client's forward); without it, nobody knows who does.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// The programs that started it, nearest first.
    #[arg(long = "ancestor", value_name = "PATH", requires = "binary")]
    ancestors: Vec<PathBuf>,
}

impl Source {
    fn read(&self) -> anyhow::Result<Config> {
        match &self.config {
            Some(path) => Ok(Config::load(path)?),
            None => Ok(Config::builtin(&Invoker::from_environment())?),
        }
    }
}

/// Runs what the command line asks for; errors are one message on standard error and status 1.
pub fn run() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(source) => serve(&source),
        Command::Check(source) => check(&source),
        Command::Policy(PolicyCommand::Test { lists, json }) => policy_test(&lists, json),
        Command::Policy(PolicyCommand::Explain(question)) => explain(&question),
        Command::Sandboxes(list) => sandboxes::list(&list),
        Command::Kill(kill) => sandboxes::kill(&kill),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("sandgate: {}", server::explain(error.as_ref()));
        ExitCode::FAILURE
    })
}

fn serve(source: &Source) -> anyhow::Result<ExitCode> {
    server::log_to_stderr();
    Ok(server::serve(
        source.read()?,
        &Activation::from_environment(),
    )?)
}

fn check(source: &Source) -> anyhow::Result<ExitCode> {
    let config = source.read()?;
    let checked = server::check(config)?;
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

fn policy_test(lists: &[PathBuf], json: bool) -> anyhow::Result<ExitCode> {
    let (mut passed, mut failed, mut unsupported) = (0, 0, 0);
    for list in lists {
        for outcome in cases::run(list)? {
            match outcome.status {
                Status::Passed => passed += 1,
                Status::Failed => failed += 1,
                Status::Unsupported => unsupported += 1,
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
    if unsupported > 0 {
        eprintln!(
            "sandgate: {unsupported} case(s) inspect requests, which this version does not do; they count as failed"
        );
        failed += unsupported;
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

/// Status 0 for an allowed connection, 1 for a denied one.
fn explain(question: &Question) -> anyhow::Result<ExitCode> {
    let config = question.source.read()?;
    let login = LoginName::try_from(question.login.clone())?;
    let known = config.logins.get(&login);
    let login = known
        .with_context(|| format!("{}: no login {}", config.source.display(), question.login))?;
    let snapshot = match &login.policy {
        Some(path) => Snapshot::load(path, Generation(1))?,
        None => Snapshot::builtin(Generation(1))?,
    };
    let peer = match &question.binary {
        Some(binary) if binary == Path::new(FORWARD) => Peer::Client,
        Some(binary) => Peer::Known(Identity {
            session: None,
            pid: 0,
            binary: binary.clone(),
            ancestors: question.ancestors.clone(),
        }),
        None => Peer::Unknown("no --binary is given".into()),
    };
    let destination = Destination::parse(&question.to)?;
    Ok(match snapshot.judge(&Flow { peer, destination }) {
        Verdict::Allow(permit) => {
            println!(
                "allow: policy `{}` allows {}",
                permit.policy(),
                permit.destination()
            );
            println!(
                "The addresses that its name resolves to are judged as well, when it is dialled."
            );
            ExitCode::SUCCESS
        }
        Verdict::Deny(denial) => {
            println!("deny: {}", denial.reason);
            ExitCode::FAILURE
        }
    })
}
