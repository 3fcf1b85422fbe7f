//! What the process that gets bundles tells.

use std::io;

use super::{Monitor, MonitorError, Occasion, Reloaded};
use crate::sandbox::protocol::bundle::{Judgement, News};

impl Monitor {
    /// Does what is told and tries what is offered; `false` when nobody tells any more.
    pub(super) fn hear_bundle(
        &mut self,
        reload: &mut impl FnMut(Occasion) -> Reloaded,
    ) -> Result<bool, MonitorError> {
        let Some(line) = &self.bundle else {
            return Ok(true);
        };
        let (tidings, offer) = match line.hear() {
            Ok(told) => told,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => {
                tracing::error!(%error, "what gets bundles is gone");
                return Ok(false);
            }
        };
        self.standing.bundle = Some(tidings.standing);
        let reloaded = match (tidings.news, offer) {
            (News::Offer, Some(offer)) => {
                let reloaded = reload(Occasion::Offer(offer));
                let judgement = match &reloaded {
                    Reloaded::Good(_) => Judgement::Taken,
                    Reloaded::Nothing => Judgement::Refused("nothing can be reloaded".to_owned()),
                    Reloaded::Bad(reason) => Judgement::Refused(reason.clone()),
                };
                if let Err(error) = line.answer(&judgement) {
                    tracing::warn!(%error, "what came of an offered bundle was not heard");
                }
                reloaded
            }
            (News::Bad(reason), _) => reload(Occasion::Spoilt(reason)),
            (News::None | News::Offer, _) => return Ok(true),
        };
        self.renew(reloaded)?;
        Ok(true)
    }
}
