//! A model's answer on its way to the caller: counted while it passes, and not held up.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use super::entry::Entry;
use super::screen::Screen;
use super::usage::Reader;

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub(in crate::egress) enum Cut {
    /// The upstream's doing.
    #[error("the upstream's answer broke off")]
    Upstream(#[from] hyper::Error),
    /// It stood still.
    #[error("the upstream's answer stood still for {0:?}")]
    Idle(Duration),
    /// A configuration came that has the route no more.
    #[error("the operator has taken the models away")]
    Revoked,
}

/// The body of an answer.
pub(in crate::egress) struct Metered {
    pub(super) body: Incoming,
    pub(super) revoked: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    pub(super) reader: Reader,
    /// What the caller has not asked for.
    pub(super) screen: Option<Screen>,
    pub(super) idle: Duration,
    /// Runs while the upstream is waited for; a caller that reads slowly is not its fault.
    pub(super) timer: Option<Pin<Box<Sleep>>>,
    pub(super) entry: Entry,
}

impl Metered {
    fn cut(&mut self, cut: Cut) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.entry.broken(&cut);
        Poll::Ready(Some(Err(cut)))
    }

    /// Counts what came; gives what goes on.
    fn take(&mut self, data: Bytes) -> Bytes {
        self.reader.feed(&data);
        if let Some(count) = &mut self.entry.count {
            count.tokens = self.reader.tokens();
            count.received = count.received.saturating_add(data.len() as u64);
        }
        match &mut self.screen {
            Some(screen) => screen.pass(&data),
            None => data,
        }
    }
}

impl Body for Metered {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.revoked.as_mut().poll(cx).is_ready() {
            return self.cut(Cut::Revoked);
        }
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                let idle = self.idle;
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(idle)));
                ready!(timer.as_mut().poll(cx));
                return self.cut(Cut::Idle(idle));
            };
            self.timer = None;
            match frame {
                Some(Ok(frame)) => {
                    // Trailers are the upstream's own business.
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    let passed = self.take(data);
                    if self.screen.is_none() && self.body.is_end_stream() {
                        self.entry.completed();
                    }
                    if !passed.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(passed))));
                    }
                }
                Some(Err(error)) => return self.cut(error.into()),
                None => {
                    self.entry.completed();
                    let rest = self.screen.as_mut().map(Screen::rest);
                    let rest = rest.filter(|rest| !rest.is_empty());
                    return Poll::Ready(rest.map(|rest| Ok(Frame::data(rest))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.screen.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.screen {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}
