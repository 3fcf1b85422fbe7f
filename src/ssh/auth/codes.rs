//! Codes: whom to ask for one, and what becomes of the answer (RFC 4256).

use super::{Doorkeeper, Ground, Outcome, plain};
use crate::config::Method;
use crate::policy::{Moment, Obstacle, RightCode, Secrets};
use crate::sandbox::KeyFiles;

impl Doorkeeper {
    /// Whether to ask for a code.
    pub(in crate::ssh) fn ask(&mut self) -> bool {
        self.settle(None);
        let method = Method::KeyboardInteractive;
        let asked = self.progress.asks_for(method);
        if !asked {
            self.refuse(&self.claim(method), &Obstacle::Method(method).into());
        }
        asked
    }

    /// Takes a right code for a step on the way in.
    pub(in crate::ssh) async fn answer(&mut self, login: &str, typed: &str) -> Outcome {
        let claim = self.claim(Method::KeyboardInteractive);
        match self.judge(login, typed).await {
            Ok(right) => {
                let step = self.progress.code(right);
                self.advance(&claim, step)
            }
            Err(ground) => {
                self.refuse(&claim, &ground);
                Outcome::Refused
            }
        }
    }

    /// For an unknown login another's secrets are read, for the time that it takes. What no chain asks for by
    /// now is not looked at: without the key nobody uses up a login's tries.
    async fn judge(&self, login: &str, typed: &str) -> Result<RightCode, Ground> {
        let name = self.known(plain(login)).map(|(name, _)| name);
        let monitor = &self.host.monitor;
        let text = monitor.key_files(name.as_ref(), KeyFiles::Secrets).await?;
        let secrets = Secrets::parse(&text.concat());
        let name = name.ok_or(Ground::Login)?;
        let method = Method::KeyboardInteractive;
        if !self.progress.asks_for(method) {
            return Err(Obstacle::Method(method).into());
        }
        Ok(self
            .host
            .codes
            .judge(&name, &secrets?, typed, Moment::now())?)
    }
}
