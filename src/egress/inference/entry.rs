//! One request in the audit trail: written when it is over, however it ends.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hyper::StatusCode;

use super::meter::Turn;
use super::refusal::Refusal;
use super::usage::Tokens;
use crate::audit::{self, Event};
use crate::egress::admission::{Case, event};
use crate::egress::proxy::Client;
use crate::policy::Flow;

/// Bytes of text that are taken for a token where nobody says how many there were.
const TOKEN_BYTES: u64 = 4;
/// The same in a stream, where each piece of text comes in a frame of some hundred bytes.
const FRAME_BYTES: u64 = 32;

/// A request, from its head to the last byte of its answer.
pub(super) struct Entry {
    client: Arc<Client>,
    flow: Flow,
    begun: Instant,
    /// The path, where it is one that is served.
    pub(super) operation: Option<&'static str>,
    pub(super) model: Option<String>,
    pub(super) route: Option<String>,
    pub(super) used: Option<String>,
    pub(super) addresses: Vec<IpAddr>,
    /// Its place among the sandbox's requests.
    pub(super) turn: Option<Turn>,
    /// What tokens it used, once it may have used any.
    pub(super) count: Option<Count>,
    status: Option<StatusCode>,
    ending: Ending,
}

/// What is known of a request's tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    pub(super) tokens: Tokens,
    /// The length of the body that was sent.
    pub(super) sent: u64,
    /// The length of the answer so far.
    pub(super) received: u64,
    pub(super) streams: bool,
}

enum Ending {
    /// The caller has left, unless something else is said.
    Open,
    Whole,
    Broken(String),
    Refused(String),
}

impl Entry {
    pub(super) fn new(client: Arc<Client>, flow: Flow) -> Self {
        Self {
            client,
            flow,
            begun: Instant::now(),
            operation: None,
            model: None,
            route: None,
            used: None,
            addresses: Vec::new(),
            turn: None,
            count: None,
            status: None,
            ending: Ending::Open,
        }
    }

    /// An answer of this status begins.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// The answer is through.
    pub(super) fn completed(&mut self) {
        if matches!(self.ending, Ending::Open) {
            self.ending = Ending::Whole;
        }
    }

    /// The answer breaks off.
    pub(super) fn broken(&mut self, why: &dyn std::error::Error) {
        self.ending = Ending::Broken(why.to_string());
    }

    /// No model answers.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        self.status = Some(refusal.status());
        self.ending = Ending::Refused(refusal.to_string());
    }

    /// What counts, and whether it is a guess. A guess errs to the high side for most texts: who leaves
    /// before the last word has not used less.
    fn settle(&self) -> Option<(u64, u64, bool)> {
        let count = self.count?;
        let Tokens { input, output } = count.tokens;
        let size = if count.streams {
            FRAME_BYTES
        } else {
            TOKEN_BYTES
        };
        Some((
            input.unwrap_or_else(|| count.sent.div_ceil(TOKEN_BYTES)),
            output.unwrap_or_else(|| count.received.div_ceil(size)),
            input.is_none() || output.is_none(),
        ))
    }

    fn write(&mut self) -> std::io::Result<()> {
        let tokens = self.settle();
        if let Some((input, output, _)) = tokens {
            self.client.meter.charge(input.saturating_add(output));
        }
        let (verdict, reason) = match std::mem::replace(&mut self.ending, Ending::Open) {
            Ending::Open => (
                audit::Verdict::Allow,
                Some("the caller left before its end".to_owned()),
            ),
            Ending::Whole => (audit::Verdict::Allow, None),
            Ending::Broken(why) => (audit::Verdict::Allow, Some(why)),
            Ending::Refused(why) => (audit::Verdict::Deny, Some(why)),
        };
        let case = Case {
            door: &self.client.door,
            subject: &self.client.subject,
            flow: &self.flow,
            asked: None,
        };
        let generation = self.client.policy.borrow().generation();
        let egress = audit::Egress {
            addresses: std::mem::take(&mut self.addresses),
            reason,
            ..event(&case, verdict, generation)
        };
        let asked = audit::Inference {
            egress,
            operation: self.operation,
            route: self.route.take(),
            model: self.model.take(),
            model_used: self.used.take(),
            status: self.status.map(|status| status.as_u16()),
            input_tokens: tokens.map(|(input, ..)| input),
            output_tokens: tokens.map(|(_, output, _)| output),
            estimated: tokens.is_some_and(|(.., estimated)| estimated),
            duration_ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        self.client.door.trail.record(&Event::Inference(asked))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let written = self.write();
        if let Err(error) = &written {
            tracing::error!(%error, "cannot write the audit trail; models are refused until it can be");
        }
        let unrecorded = &self.client.door.inference.unrecorded;
        unrecorded.store(written.is_err(), Ordering::Relaxed);
    }
}
