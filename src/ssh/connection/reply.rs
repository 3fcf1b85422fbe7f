//! What a client is told of its requests.

use std::fmt;

use russh::ChannelId;
use russh::server::Session;

use super::{Connection, Stage};
use crate::ssh::channels::{Answer, Channels};

impl Connection {
    /// Lets the channels decide on a request and passes their answer on. Before the login there are none.
    pub(super) fn answer(
        &mut self,
        id: ChannelId,
        session: &mut Session,
        decide: impl FnOnce(&mut Channels) -> Answer,
    ) -> Result<(), russh::Error> {
        let answer = match &mut self.stage {
            Stage::Inside { channels, .. } => decide(channels),
            Stage::Outside { .. } => Answer::Failure,
        };
        match answer {
            Answer::Success => session.channel_success(id),
            Answer::Failure => session.channel_failure(id),
            Answer::Later => Ok(()),
        }
    }

    /// Refuses what has no room for a reason in its answer: the log has it, and the client gets it beside
    /// the answer, as a debug message (RFC 4253 §11.3) that `ssh -v` shows.
    pub(super) fn refuse(
        &self,
        what: impl fmt::Display,
        reason: &(dyn std::error::Error + 'static),
        session: &mut Session,
    ) -> Result<bool, russh::Error> {
        tracing::info!(source = %self.source, %what, reason, "refused");
        session.debug(true, &format!("{what} refused: {reason}"), "")?;
        Ok(false)
    }

    /// Tells the channels something that has no answer.
    pub(super) fn tell(&mut self, tell: impl FnOnce(&mut Channels)) {
        if let Stage::Inside { channels, .. } = &mut self.stage {
            tell(channels);
        }
    }
}
