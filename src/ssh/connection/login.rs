//! The way in: codes, what becomes of each method, and the login at their end.

use std::borrow::Cow;
use std::mem;
use std::sync::Arc;

use russh::server::{Auth, Response};

use super::{Connection, Stage};
use crate::policy::Principal;
use crate::ssh::auth::Outcome;
use crate::ssh::channels::Channels;
use crate::ssh::forward::Forwards;
use crate::ssh::guest::Guest;
use crate::ssh::shares::Share;

/// The question for a code, whose answer is not shown (RFC 4256 §3.2).
const PROMPT: Auth = Auth::Partial {
    name: Cow::Borrowed(""),
    instructions: Cow::Borrowed(""),
    prompts: Cow::Borrowed(&[(Cow::Borrowed("Verification code: "), false)]),
};

impl Connection {
    /// Asks for a code, or takes the answer.
    pub(super) async fn code(&mut self, login: &str, typed: Option<Response<'_>>) -> Auth {
        let Stage::Outside { doorkeeper, .. } = &mut self.stage else {
            return Auth::reject();
        };
        match typed {
            None if doorkeeper.ask() => PROMPT,
            None => Auth::reject(),
            Some(mut typed) => {
                let typed = typed.next().unwrap_or_default();
                let typed = String::from_utf8_lossy(&typed);
                let outcome = doorkeeper.answer(login, &typed).await;
                self.conclude(outcome)
            }
        }
    }

    /// Lets in who has done all that is asked for, and tells the others what is left (RFC 4252 §5.1).
    pub(super) fn conclude(&mut self, outcome: Outcome) -> Auth {
        match outcome {
            Outcome::Admitted(principal, share) => {
                self.let_in(*principal, share);
                Auth::Accept
            }
            Outcome::Further(methods) => Auth::Reject {
                proceed_with_methods: Some(methods),
                partial_success: true,
            },
            Outcome::Refused => Auth::reject(),
        }
    }

    fn let_in(&mut self, principal: Principal, share: Share) {
        let Stage::Outside { wait, .. } = &self.stage else {
            return;
        };
        let presence = wait.presence.clone();
        tracing::info!(source = %self.source, login = %principal.login(), key = %principal.key(), "logged in");
        let guest = Arc::new(Guest::new(
            self.host.clone(),
            principal,
            self.route,
            presence,
        ));
        let (limit, spill) = (self.host.config.limits.channels, &self.host.spill);
        let inside = Stage::Inside {
            channels: Channels::new(guest.clone(), spill.clone(), limit, self.tasks.clone()),
            forwards: Forwards::new(guest, spill.clone(), limit, self.tasks.clone()),
            _share: share,
        };
        if let Stage::Outside { wait, .. } = mem::replace(&mut self.stage, inside) {
            drop(wait.place);
            if wait.over.send(()).is_err() {
                tracing::debug!(source = %self.source, "the login came as its time was over");
            }
        }
    }
}
