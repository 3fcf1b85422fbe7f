//! `sandgate status`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::sandboxes::{Daemon, span};
use crate::audit::rfc3339;
use crate::sandbox::protocol::admin::Status;
use crate::sandbox::protocol::bundle::BundleStanding;

#[derive(Debug, clap::Args)]
pub(super) struct Question {
    #[command(flatten)]
    daemon: Daemon,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Print metrics in the text format of Prometheus, for a collector of text files.
    #[arg(long, conflicts_with = "json")]
    metrics: bool,
}

impl Question {
    /// Status 1 while what was read last is bad, or no bundle comes: the daemon serves, but not what its operator
    /// wrote.
    pub(super) fn answer(&self) -> anyhow::Result<ExitCode> {
        let status = self.daemon.line()?.status()?;
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", as_json(&status))?;
        } else if self.metrics {
            out.write_all(as_metrics(&status).as_bytes())?;
        } else {
            out.write_all(as_text(&status).as_bytes())?;
        }
        let bundle = status.bundle.and_then(|bundle| bundle.failure);
        Ok(match status.failure.or(bundle) {
            None => ExitCode::SUCCESS,
            Some(_) => ExitCode::FAILURE,
        })
    }
}

fn time(seconds: u64) -> String {
    rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn as_text(status: &Status) -> String {
    let Status {
        version,
        pid,
        since,
        generation,
        loaded,
        failure,
        sandboxes: [making, ready, used, ending],
        sessions,
        kinds,
        bundle,
    } = status;
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let age = span(age.map_or(0, |now| now.as_secs().saturating_sub(*since)));
    let reload = match failure {
        None => "the configuration is the one that was read last".to_owned(),
        Some(failure) => format!("BAD since {}: {}", time(failure.at), failure.reason),
    };
    format!(
        "sandgate {version}, pid {pid}, up {age}\n\
         generation {generation}, taken {}\n\
         reload: {reload}\n\
         sandboxes: {used} used, {ready} ready, {making} being made, {ending} ending, of {kinds} kinds\n\
         sessions: {sessions}\n{}",
        time(*loaded),
        bundle.as_ref().map(bundle_as_text).unwrap_or_default()
    )
}

fn bundle_as_text(bundle: &BundleStanding) -> String {
    let BundleStanding {
        url,
        signed,
        revision,
        etag,
        fetched,
        failure,
    } = bundle;
    let signed = if *signed { "" } else { ", UNSIGNED" };
    let etag = etag.as_deref().unwrap_or("none");
    let fetched = match fetched {
        Some(at) => format!("the server's at {}", time(*at)),
        None => "kept from before the start".to_owned(),
    };
    let failure = match failure {
        None => String::new(),
        Some(failure) => format!(
            "bundle: FAILS since {}: {}\n",
            time(failure.at),
            failure.reason
        ),
    };
    format!("bundle: revision {revision:?}, ETag {etag}, {fetched}, of {url}{signed}\n{failure}")
}

/// Prometheus' exposition format, version 0.0.4. Times are seconds since 1970.
fn as_metrics(status: &Status) -> String {
    let gauge = |name: &str, help: &str, value: u64| {
        format!(
            "# HELP sandgate_{name} {help}\n# TYPE sandgate_{name} gauge\nsandgate_{name} {value}\n"
        )
    };
    let bundle = status.bundle.as_ref().map(|bundle| {
        let failed = u64::from(bundle.failure.is_some());
        gauge("bundle_failed", "1 while no good bundle comes.", failed)
    });
    let failed = u64::from(status.failure.is_some());
    [
        gauge(
            "reload_failed",
            "1 while what was read last is bad.",
            failed,
        ),
        gauge("generation", "What is in force.", status.generation),
        gauge(
            "generation_taken_seconds",
            "When it was taken.",
            status.loaded,
        ),
        bundle.unwrap_or_default(),
    ]
    .concat()
}

fn as_json(status: &Status) -> serde_json::Value {
    let [making, ready, used, ending] = status.sandboxes;
    let failure = status.failure.as_ref();
    json!({
        "version": status.version,
        "pid": status.pid,
        "since": time(status.since),
        "generation": status.generation,
        "loaded": time(status.loaded),
        "failure": failure.map(|failure| json!({"at": time(failure.at), "reason": failure.reason})),
        "sandboxes": {"making": making, "ready": ready, "used": used, "ending": ending},
        "sessions": status.sessions,
        "kinds": status.kinds,
        "bundle": status.bundle.as_ref().map(|bundle| json!({
            "url": bundle.url,
            "signed": bundle.signed,
            "revision": bundle.revision,
            "etag": bundle.etag,
            "fetched": bundle.fetched.map(time),
            "failure": bundle.failure.as_ref().map(|failure| json!({"at": time(failure.at), "reason": failure.reason})),
        })),
    })
}
