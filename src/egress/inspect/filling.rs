//! Secrets put into a request that rules allow, before it is written down as allowed.

use std::sync::Arc;

use hyper::Uri;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderName};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;

use super::exchange::{Conversation, Turned};
use super::gather::gather;
use super::lines::{LineError, authority};
use super::watch::{Held, Inquiry};
use crate::egress::credentials::{
    self, BODY_BYTES, Claim, Digested, Fault, Form, Former, Purse, Signable,
};
use crate::policy::{Allowed, Permit, RequestDenial, RequestVerdict};

/// The longest body that is read for a signature, in bytes.
const SIGNED_BYTES: u64 = 8 << 20;

/// What became of a request.
#[derive(Default)]
pub(super) struct Filled {
    /// The body as it is sent, where it is not as it came.
    pub(super) body: Option<Bytes>,
    /// Whose secrets are in it.
    pub(super) used: Vec<String>,
    /// The right of messages that follow to more of them.
    pub(super) claim: Option<Claim>,
}

impl Conversation {
    /// Resolves what the request names, puts in what providers say, and signs it, as policy and bindings
    /// allow. The target is from here on what is sent.
    pub(super) async fn fill(
        &self,
        head: &mut Parts,
        body: &mut Option<Incoming>,
        inquiry: &mut Inquiry,
        verdict: &RequestVerdict,
    ) -> Result<Filled, Turned> {
        let allowed = match verdict {
            RequestVerdict::Allow(allowed) => allowed,
            RequestVerdict::Tunnel(permit) => return self.unfillable(head, permit, inquiry),
            RequestVerdict::Deny(_) | RequestVerdict::NeedsBody { .. } => {
                return Ok(Filled::default());
            }
        };
        let wanted = &allowed.credentials;
        let mut query = head.uri.query().map(str::to_owned);
        let mut former = Former::default();
        let mut hashed = false;
        if let Some(signing) = &wanted.signing {
            former = credentials::forget(&mut head.headers, query.as_deref());
            query.clone_from(&former.query);
            hashed = credentials::needs_body(&head.headers, signing);
        }
        let form = match inquiry.held {
            Held::Unread | Held::Body(_) if wanted.body => Form::of(inquiry.head.content_type()),
            _ => None,
        };
        let most = if form.is_some() {
            BODY_BYTES
        } else {
            SIGNED_BYTES
        };
        if (form.is_some() || hashed)
            && matches!(inquiry.held, Held::Unread)
            && let Some(unread) = body.take()
        {
            inquiry.held = Held::Body(self.read(unread, most).await?);
        }
        let claim = Claim {
            secrets: Arc::clone(&self.client().door.secrets),
            kind: self.client().subject.kind.clone(),
            destination: inquiry.flow.destination.clone(),
            path: allowed.path.clone(),
            provider: wanted.provider.clone(),
        };
        let put = Put {
            claim: &claim,
            allowed,
            query,
            form,
            former,
            content: content(&inquiry.held, most, form.is_some() || hashed),
            authority: authority(&inquiry.flow.destination, self.scheme()),
        };
        let (target, filled) = put.into(head).map_err(|fault| {
            let denial = RequestDenial {
                policy: Some(allowed.permit.policy().to_owned()),
                rule: allowed.rule.clone(),
                reason: fault.to_string(),
                protocol: allowed.protocol,
                path: Some(allowed.path.clone()),
                generation: allowed.permit.generation(),
            };
            self.unfilled(fault, denial, inquiry)
        })?;
        let target = PathAndQuery::try_from(target.as_str())
            .map_err(|error| Turned::Upstream(LineError::Target(error.into())))?;
        head.uri = Uri::from(target);
        Ok(Filled {
            claim: wanted.messages.then_some(claim),
            ..filled
        })
    }

    /// A request that no endpoint looks into may name nothing.
    fn unfillable(
        &self,
        head: &Parts,
        permit: &Permit,
        inquiry: &Inquiry,
    ) -> Result<Filled, Turned> {
        let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        if credentials::target_names_none(target, &head.headers) {
            return Ok(Filled::default());
        }
        let denial = RequestDenial {
            policy: Some(permit.policy().to_owned()),
            rule: None,
            reason: "no endpoint looks into this request, which names a secret".to_owned(),
            protocol: None,
            path: None,
            generation: permit.generation(),
        };
        let fault = Fault::Mismatch(denial.reason.clone());
        Err(self.unfilled(fault, denial, inquiry))
    }

    async fn read(&self, body: Incoming, most: u64) -> Result<Bytes, Turned> {
        // It is never closed.
        let _turn = self.bodies().acquire().await;
        gather(body, most).await.map_err(Turned::Body)
    }

    fn unfilled(&self, fault: Fault, denial: RequestDenial, inquiry: &Inquiry) -> Turned {
        match self.deny(denial, inquiry) {
            Turned::Denied(..) => Turned::Unfilled(fault),
            other => other,
        }
    }
}

/// The body, if it was read; how much of it would have been, where it is longer.
fn content(held: &Held, most: u64, wanted: bool) -> Result<Option<Bytes>, u64> {
    match held {
        Held::Body(bytes) if wanted && bytes.len() as u64 > most => Err(most),
        Held::Body(bytes) => Ok(Some(bytes.clone())),
        Held::None => Ok(Some(Bytes::new())),
        Held::Unread | Held::Text(_) | Held::Binary => Ok(None),
    }
}

/// What is put where.
struct Put<'a> {
    claim: &'a Claim,
    allowed: &'a Allowed,
    query: Option<String>,
    form: Option<Form>,
    former: Former,
    /// As `content` gives it.
    content: Result<Option<Bytes>, u64>,
    authority: String,
}

impl Put<'_> {
    /// Gives the target, and what else became of the request.
    fn into(self, head: &mut Parts) -> Result<(String, Filled), Fault> {
        let mut purse = self.claim.open()?;
        let injected = purse.inject()?;
        for (name, _) in &injected {
            head.headers.remove(name);
        }
        credentials::headers(&mut head.headers, &mut purse)?;
        for (name, value) in injected {
            let name = HeaderName::from_bytes(name.as_bytes());
            let name = name.map_err(|error| Fault::Unavailable(error.to_string()))?;
            let value = credentials::secret_value(&value)?;
            head.headers.insert(name, value);
        }
        let path = &self.allowed.path;
        let mut path = credentials::path(path, &mut purse)?.unwrap_or_else(|| path.clone());
        let query = match &self.query {
            Some(query) => {
                let filled = credentials::query(query, &mut purse)?;
                Some(filled.unwrap_or_else(|| query.clone()))
            }
            None => None,
        };
        let content = self.content.as_ref().map_err(|most| {
            Fault::TooLong(format!(
                "the body is longer than the {most} bytes that are read of it"
            ))
        })?;
        let content = content.as_ref();
        let body = self.body(head, content, &mut purse)?;
        if let Some(signing) = &self.allowed.credentials.signing {
            path = credentials::spell(&path);
            let request = Signable {
                method: head.method.as_str(),
                authority: &self.authority,
                path: &path,
                query: query.as_deref(),
                body: match (&body, content) {
                    (Some(body), _) | (None, Some(body)) => Digested::Whole(body),
                    (None, None) => Digested::Unread,
                },
            };
            credentials::sign(
                &request,
                &mut head.headers,
                signing,
                &self.former,
                &mut purse,
            )?;
        }
        let target = match query {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        let filled = Filled {
            body,
            used: purse.used(),
            claim: None,
        };
        Ok((target, filled))
    }

    /// The body with its placeholders resolved; `None` where it stays as it came.
    fn body(
        &self,
        head: &mut Parts,
        content: Option<&Bytes>,
        purse: &mut Purse,
    ) -> Result<Option<Bytes>, Fault> {
        let (Some(form), Some(content)) = (self.form, content) else {
            return Ok(None);
        };
        let plain = |coding: &hyper::header::HeaderValue| {
            coding.as_bytes().eq_ignore_ascii_case(b"identity")
        };
        if !head.headers.get_all(CONTENT_ENCODING).iter().all(plain) {
            let problem = "the body is compressed, and can't be read for placeholders";
            return Err(Fault::Unavailable(problem.to_owned()));
        }
        let Some(mut filled) = form.fill(content, purse)? else {
            return Ok(None);
        };
        // hyper writes the new length.
        head.headers.remove(CONTENT_LENGTH);
        Ok(Some(Bytes::from(std::mem::take(&mut *filled))))
    }
}
