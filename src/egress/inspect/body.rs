//! An upstream's answer on its way, for as long as policy allows the request that it answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub(in crate::egress) enum Broken {
    /// The upstream's doing.
    #[error("the upstream's answer broke off")]
    Upstream(#[from] hyper::Error),
    /// A policy came that does not allow the request.
    #[error("policy no longer allows the request")]
    Revoked,
}

/// The body of an answer. Its reader sees an error where it is cut, and so no end that looks whole.
pub(in crate::egress) struct Relayed {
    body: Incoming,
    revoked: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl Relayed {
    /// Passes `body` on until `revoked` ends.
    pub(in crate::egress) fn new(
        body: Incoming,
        revoked: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    ) -> Self {
        Self { body, revoked }
    }
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.revoked.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Broken::Revoked)));
        }
        Pin::new(&mut self.body)
            .poll_frame(cx)
            .map(|frame| frame.map(|frame| frame.map_err(Broken::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
