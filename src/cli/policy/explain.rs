//! `sandgate policy explain`: a verdict, and what it came from.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};

use crate::cli::Source;
use crate::model::{DefinitionName, Destination, Generation, Identity, Kind, LoginName, Peer};
use crate::policy::{
    Content, FORWARD, Flow, Operator, Request, RequestVerdict, Snapshot, Tls, Verdict, hidden,
};
use crate::server::{self, Beside};

/// A connection, or with a URL a request on one; a denial's JSON body and the audit name these.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Question {
    #[command(flatten)]
    source: Source,
    /// Whose policy.
    #[arg(long, value_name = "NAME")]
    login: String,
    /// The definition of its sandboxes [default: the login's own]
    #[arg(long, value_name = "NAME")]
    sandbox: Option<String>,
    /// Where to.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "url")]
    to: Option<String>,
    /// The program that connects (`ssh-forward`: a client's forward); without it, nobody knows who does.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// The programs that started it, nearest first.
    #[arg(long = "ancestor", value_name = "PATH", requires = "binary")]
    ancestors: Vec<PathBuf>,
    /// The method of a request.
    #[arg(long, default_value = "GET", requires = "url")]
    method: String,
    /// The JSON body of a request, or a text message after the upgrade of a `ws:` or `wss:` URL.
    #[arg(long, value_name = "TEXT", requires = "url")]
    body: Option<String>,
    /// The request's http, https, ws or wss URL.
    #[arg(conflicts_with = "to", value_name = "URL")]
    url: Option<String>,
}

/// A URL's parts as a proxy gets them.
struct Url<'a> {
    destination: Destination,
    path: &'a str,
    query: Option<&'a str>,
    tls: bool,
    websocket: bool,
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> anyhow::Result<Self> {
        let (scheme, rest) = text
            .split_once("://")
            .with_context(|| format!("{text:?} is no URL such as https://host/path"))?;
        let (port, tls, websocket) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (80, false, false),
            "https" => (443, true, false),
            "ws" => (80, false, true),
            "wss" => (443, true, true),
            _ => bail!("{scheme:?} is none of http, https, ws and wss"),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let bracketed = authority
            .rsplit_once(']')
            .map_or(authority, |(_, after)| after);
        let destination = if bracketed.contains(':') {
            Destination::parse(authority)?
        } else {
            Destination::parse(&format!("{authority}:{port}"))?
        };
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Ok(Self {
            destination,
            path,
            query,
            tls,
            websocket,
        })
    }
}

impl Question {
    /// Status 0 for what is allowed, 1 for what is denied.
    pub(in crate::cli) fn answer(&self) -> anyhow::Result<ExitCode> {
        let (snapshot, _beside) = self.snapshot()?;
        let peer = match &self.binary {
            Some(binary) if binary == Path::new(FORWARD) => Peer::Client,
            Some(binary) => Peer::Known(Identity {
                session: None,
                pid: 0,
                binary: binary.clone(),
                ancestors: self.ancestors.clone(),
            }),
            None => Peer::Unknown("no --binary is given".into()),
        };
        match (&self.url, &self.to) {
            (Some(url), _) => {
                let url = Url::parse(url)?;
                let destination = url.destination.clone();
                Ok(self.request(&snapshot, &Flow { peer, destination }, &url))
            }
            (None, Some(to)) => {
                let destination = Destination::parse(to)?;
                connection(&snapshot, &Flow { peer, destination })
            }
            (None, None) => bail!("names neither --to nor a URL"),
        }
    }

    fn snapshot(&self) -> anyhow::Result<(Snapshot, Beside)> {
        let config = self.source.read()?;
        let login = LoginName::try_from(self.login.clone())?;
        let known = config.logins.get(&login);
        let own = known
            .with_context(|| format!("{}: no login {}", config.source.display(), self.login))?;
        let definition = self.sandbox.clone().map(DefinitionName::try_from);
        let definition = definition.transpose()?.or_else(|| own.sandbox.name.clone());
        let kind = Kind { login, definition };
        let kinds = config.kinds();
        let found = kinds.get(&kind).with_context(|| {
            let known: Vec<_> = kinds.keys().map(ToString::to_string).collect();
            format!("nobody gets {kind}; there is {}", known.join(", "))
        })?;
        let (rules, named) = server::policy(&config, found.policy.as_ref())?;
        let (rules, beside) = server::beside(rules, server::rules_memory(&config))?;
        let snapshot = match named {
            Some((name, text)) => Snapshot::under(&name, &text, Generation(1), &rules)?,
            None => Snapshot::builtin(Generation(1), &rules)?,
        };
        let operator = Arc::new(Operator::from(&config.egress));
        Ok((snapshot.below(&operator), beside))
    }

    fn request(&self, snapshot: &Snapshot, flow: &Flow, url: &Url<'_>) -> ExitCode {
        if url.tls && matches!(snapshot.judge(flow), Verdict::Inspect(_, Tls::Skip)) {
            println!("deny: {}", hidden(&flow.destination));
            return ExitCode::FAILURE;
        }
        let content = match (&self.body, url.websocket) {
            (None, _) => Content::None,
            (Some(text), true) => Content::Text(text),
            (Some(body), false) => Content::Body(body.as_bytes()),
        };
        let request = Request {
            method: &self.method,
            path: url.path,
            query: url.query,
            content_type: self.body.as_ref().map(|_| "application/json"),
            content_encoding: None,
            accept: Some("application/json, text/event-stream"),
            upgrade: url.websocket.then_some("websocket"),
            content,
        };
        let code = match snapshot.judge_request(flow, &request) {
            RequestVerdict::Tunnel(permit) => {
                let policy = permit.policy();
                println!(
                    "allow: policy `{policy}` allows {} without a look into it",
                    flow.destination
                );
                ExitCode::SUCCESS
            }
            RequestVerdict::Allow(allowed) => {
                let policy = allowed.permit.policy();
                let why = match (&allowed.would_deny, &allowed.rule) {
                    (Some(denial), _) => {
                        format!("by `enforcement: audit` alone: {}", denial.reason)
                    }
                    (None, Some(rule)) => format!("{rule} of policy `{policy}`"),
                    (None, None) => format!("policy `{policy}`"),
                };
                println!("allow: {why}");
                println!("The path that is judged and sent: {}", allowed.path);
                ExitCode::SUCCESS
            }
            RequestVerdict::NeedsBody { limit } => {
                println!("The body decides: give --body (at most {limit} bytes).");
                ExitCode::FAILURE
            }
            RequestVerdict::Deny(denial) => {
                println!("deny: {}", denial.reason);
                ExitCode::FAILURE
            }
        };
        for rule in snapshot.considered(flow, &request) {
            let held = match rule.differs {
                None => "matches".to_owned(),
                Some(key) => format!("{key} differs"),
            };
            println!(
                "  policy `{}`, {}{}: {held}",
                rule.policy, rule.rule, rule.about
            );
        }
        code
    }
}

/// The verdict, then each endpoint that has the host; the others are counted.
fn connection(snapshot: &Snapshot, flow: &Flow) -> anyhow::Result<ExitCode> {
    let code = match snapshot.judge(flow) {
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
        Verdict::Inspect(permit, _) => {
            println!(
                "allow: policy `{}` lets {} begin, and judges each request: ask with --method",
                permit.policy(),
                permit.destination()
            );
            ExitCode::SUCCESS
        }
        Verdict::Deny(denial) => {
            println!("deny: {}", denial.reason);
            ExitCode::FAILURE
        }
    };
    let (elsewhere, considered): (Vec<_>, Vec<_>) = snapshot
        .reached(flow)?
        .into_iter()
        .partition(|endpoint| endpoint.differs == Some("host"));
    for endpoint in considered {
        let held = match endpoint.differs {
            None => "matches".to_owned(),
            Some(key) => format!("{key} differs"),
        };
        println!(
            "  policy `{}`, endpoint at line {}: {held}",
            endpoint.policy, endpoint.line
        );
    }
    if !elsewhere.is_empty() {
        println!("  {} endpoints: host differs", elsewhere.len());
    }
    Ok(code)
}
