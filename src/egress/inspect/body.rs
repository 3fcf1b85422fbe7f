//! An upstream's answer on its way, for as long as policy allows the request that it answers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use super::grpc;

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

/// How a reader learns that an answer broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::egress) enum Cut {
    /// By an error, and so no end that looks whole.
    Error,
    /// By gRPC's status in trailers, without which no answer of it is whole.
    Status,
}

/// The body of an answer.
pub(in crate::egress) struct Relayed {
    body: Incoming,
    revoked: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    cut: Cut,
    /// It was cut, and its reader has been told.
    over: bool,
}

impl Relayed {
    /// Passes `body` on until `revoked` ends.
    pub(in crate::egress) fn new(
        body: Incoming,
        revoked: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
        cut: Cut,
    ) -> Self {
        Self {
            body,
            revoked,
            cut,
            over: false,
        }
    }
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let broken = if self.revoked.as_mut().poll(cx).is_ready() {
            Broken::Revoked
        } else {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Err(error)) => Broken::from(error),
                Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
                None => return Poll::Ready(None),
            }
        };
        self.over = true;
        Poll::Ready(Some(match self.cut {
            Cut::Error => Err(broken),
            Cut::Status => Ok(Frame::trailers(grpc::end(&broken))),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
