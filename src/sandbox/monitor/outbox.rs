//! What waits to be read by the gate.

use std::collections::VecDeque;
use std::io::{self, ErrorKind::BrokenPipe, ErrorKind::ConnectionReset};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::MonitorError;
use crate::sandbox::channel::{self, Channel};
use crate::sandbox::protocol::{Answer, Message, encode};

/// More unread messages than a working gate could leave.
const MOST_UNREAD: usize = 4096;

/// The kernel has no room for a message just now, or the user has too many descriptors on their way (unix(7)). What
/// runs in sandboxes has a part in all three, so that none may end anything.
const SHORTAGES: [i32; 3] = [libc::ENOBUFS, libc::ENOMEM, libc::ETOOMANYREFS];

#[derive(Debug)]
pub(super) struct Outbox {
    channel: Channel,
    waiting: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    /// Why the first of them could not be sent, once that was said.
    shortage: Option<i32>,
}

impl Outbox {
    pub(super) fn new(channel: Channel) -> Self {
        Self {
            channel,
            waiting: VecDeque::new(),
            shortage: None,
        }
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Answers a request; a refusal's reason goes to the gate's log.
    pub(super) fn answer(
        &mut self,
        number: u64,
        answer: Result<(Answer, Vec<OwnedFd>), String>,
    ) -> Result<(), MonitorError> {
        let (answer, descriptors) = match answer {
            Ok((answer, descriptors)) => (Ok(answer), descriptors),
            Err(reason) => (Err(reason), vec![]),
        };
        self.send(&Message::Answer { number, answer }, descriptors)
    }

    pub(super) fn send(
        &mut self,
        message: &Message,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), MonitorError> {
        if self.waiting.len() >= MOST_UNREAD {
            return Err(io::Error::other("the gate reads nothing any more").into());
        }
        self.waiting.push_back((encode(message)?, descriptors));
        self.flush()
    }

    /// Sends what the socket takes now; the rest keeps its order.
    pub(super) fn flush(&mut self) -> Result<(), MonitorError> {
        while let Some((bytes, descriptors)) = self.waiting.front() {
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            match channel::send(self.channel.as_fd(), bytes, &borrowed) {
                Ok(()) => {
                    self.shortage = None;
                    drop(self.waiting.pop_front());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // Its end is gone, in the second case with messages unread (unix(7) has no word of it; the
                // kernel's unix_release_sock does it). Reading says so too, and ends the monitor in order.
                Err(e) if matches!(e.kind(), BrokenPipe | ConnectionReset) => self.waiting.clear(),
                Err(error) => match error.raw_os_error().filter(|e| SHORTAGES.contains(e)) {
                    Some(shortage) => {
                        if self.shortage.replace(shortage) != Some(shortage) {
                            tracing::warn!(%error, "the gate is told later");
                        }
                        break;
                    }
                    None => return Err(error.into()),
                },
            }
        }
        Ok(())
    }

    /// When to try again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| Instant::now() + Duration::from_millis(2))
    }
}
