//! sg-bundle: asks the server now and then, offers what is new to the monitor, and keeps what that takes.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Pid;

use super::{Held, Shortfall, Started, Who, now, store, url};
use crate::config::{Bundle, Signing};
use crate::policy::bundle::Trust;
use crate::sandbox::protocol::bundle::{BundleStanding, Judgement, News, Tidings};
use crate::sandbox::{self, BundleTeller, CapabilityError, PrivilegeError};
use crate::server::supervisor;
use crate::server::texts;
use crate::sys::clone::SingleThreaded;

/// The first pause after a failure; each further one is twice as long, up to the longest delay.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest that the monitor may take to check what it is offered.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why sg-bundle stopped.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum CourierError {
    #[error(transparent)]
    Capabilities(#[from] CapabilityError),
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What sg-bundle goes by.
pub(in crate::server) struct Courier<'a> {
    settings: &'a Bundle,
    who: Who,
    line: BundleTeller,
    held: Held,
    fetched: Option<u64>,
    shortfall: Option<Shortfall>,
    /// Since when, for who asks.
    failure: Option<sandbox::protocol::admin::Failure>,
    /// What was refused last; it is not offered again before something else changes.
    refused: Option<Vec<u8>>,
    /// Whether what is held is on disk.
    kept: bool,
    /// Failures one after the other.
    failures: u32,
}

/// Why waiting ended.
enum Woken {
    Time,
    Hangup,
    Gone,
}

/// Serves until the monitor is gone. A SIGHUP, which the caller has blocked, asks the server at once.
pub(in crate::server) fn run(
    mut courier: Courier<'_>,
    supervisor: Pid,
) -> Result<(), CourierError> {
    sandbox::keep_bundlers()?;
    sandbox::forbid_core_dumps()?;
    sandbox::hide_memory()?;
    supervisor::die_with(supervisor)?;
    let proof = SingleThreaded::prove()?;
    let hangup: SigSet = [Signal::SIGHUP].into_iter().collect();
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&hangup, flags).map_err(io::Error::from)?;
    let mut told = courier.introduce();
    loop {
        if let Err(error) = told {
            tracing::debug!(%error, "the monitor is gone");
            return Ok(());
        }
        match courier.wait(&signals, courier.pause()?)? {
            Woken::Gone => return Ok(()),
            Woken::Hangup => courier.refused = None,
            Woken::Time => {}
        }
        told = match courier.ask(&proof)? {
            Some(tidings) => tidings,
            None => courier.tell(News::None),
        };
    }
}

impl<'a> Courier<'a> {
    pub(in crate::server) fn new(
        settings: &'a Bundle,
        who: Who,
        line: BundleTeller,
        started: Started,
    ) -> Self {
        let Started {
            held,
            fetched,
            shortfall,
        } = started;
        Self {
            failure: shortfall.as_ref().map(Shortfall::failure),
            failures: u32::from(shortfall.is_some()),
            settings,
            who,
            line,
            held,
            fetched,
            shortfall,
            refused: None,
            kept: true,
        }
    }

    /// What the monitor is told first: a start that had to go by an old one is no better than a bad reload.
    fn introduce(&self) -> io::Result<()> {
        match &self.shortfall {
            Some(Shortfall::Bad(reason)) => self.tell(News::Bad(reason.clone())),
            Some(Shortfall::Unreachable(_)) | None => self.tell(News::None),
        }
    }

    fn tell(&self, news: News) -> io::Result<()> {
        let tidings = Tidings {
            standing: self.standing(),
            news,
        };
        self.line.tell(&tidings, None)
    }

    fn standing(&self) -> BundleStanding {
        BundleStanding {
            url: url(self.settings),
            signed: self.settings.signing != Signing::Unsigned,
            revision: self.held.contents.revision.clone(),
            etag: self.held.etag.clone(),
            fetched: self.fetched,
            failure: self.failure.clone(),
        }
    }

    /// How long until the server is asked again.
    fn pause(&self) -> io::Result<Duration> {
        let (least, most) = self.settings.delays;
        let (least, most) = match self.failures {
            0 => (least, most),
            failures => {
                let factor = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
                let longest = FIRST_PAUSE.saturating_mul(factor).min(most);
                (longest / 2, longest)
            }
        };
        let mut random = [0; 4];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let part = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
        Ok(least + most.saturating_sub(least).mul_f64(part))
    }

    /// Until the monitor is gone, a signal comes, or the time is over.
    fn wait(&self, signals: &SignalFd, time: Duration) -> io::Result<Woken> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Woken::Time);
            }
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut ready = [
                PollFd::new(signals, PollFlags::IN),
                // It says nothing unasked: that it has closed its end is always told.
                PollFd::new(&self.line, PollFlags::empty()),
            ];
            match rustix::event::poll(&mut ready, Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if ready.get(1).is_some_and(|line| !line.revents().is_empty()) {
                return Ok(Woken::Gone);
            }
            if signals.read_signal().map_err(io::Error::from)?.is_some() {
                return Ok(Woken::Hangup);
            }
        }
    }

    /// Asks the server once. What is given back is how telling of it went, where it was told already.
    fn ask(&mut self, proof: &SingleThreaded) -> io::Result<Option<io::Result<()>>> {
        let trust = match Trust::read(&self.settings.signing) {
            Ok(trust) => trust,
            Err(error) => {
                self.unreachable(crate::server::explain(&error));
                return Ok(None);
            }
        };
        let etag = self.held.etag.clone();
        let fetched = super::fetched(proof, &self.who, self.settings, (&trust, etag.as_deref()))?;
        match fetched {
            Err(Shortfall::Unreachable(reason)) => {
                self.unreachable(reason);
                Ok(None)
            }
            Err(Shortfall::Bad(reason)) => Ok(self.spoilt(reason)),
            Ok(None) => {
                self.reached();
                // It went back to what is in force.
                if self.is_bad() {
                    return Ok(Some(self.offer(self.held.clone())));
                }
                self.well();
                self.keep();
                Ok(None)
            }
            Ok(Some(new)) => {
                self.reached();
                if self.refused.as_ref() == Some(&new.packed) {
                    return Ok(None);
                }
                if new.contents == self.held.contents && !self.is_bad() {
                    self.well();
                    self.take(new);
                    return Ok(None);
                }
                Ok(Some(self.offer(new)))
            }
        }
    }

    fn is_bad(&self) -> bool {
        matches!(self.shortfall, Some(Shortfall::Bad(_)))
    }

    fn reached(&mut self) {
        self.failures = 0;
    }

    /// What is in force is what the server has.
    fn well(&mut self) {
        if self.failure.take().is_some() {
            tracing::info!(
                revision = self.held.contents.revision,
                "the server's bundle is the one in force again"
            );
        }
        self.shortfall = None;
        self.fetched = Some(now());
    }

    fn unreachable(&mut self, reason: String) {
        self.failures = self.failures.saturating_add(1);
        // Who serves something bad and then nothing has still served something bad.
        if self.is_bad() {
            tracing::warn!(reason, "the bundle cannot be fetched");
            return;
        }
        let shortfall = Shortfall::Unreachable(reason);
        if self.shortfall.as_ref() != Some(&shortfall) {
            let (reason, revision) = (shortfall.reason(), &self.held.contents.revision);
            tracing::warn!(
                reason,
                revision,
                "the bundle cannot be fetched; the last good one serves"
            );
            self.failure = Some(shortfall.failure());
            self.shortfall = Some(shortfall);
        }
    }

    /// Said once to the monitor, which says it to the gate.
    fn spoilt(&mut self, reason: String) -> Option<io::Result<()>> {
        self.reached();
        let shortfall = Shortfall::Bad(reason);
        if self.shortfall.as_ref() == Some(&shortfall) {
            return None;
        }
        let reason = shortfall.reason().to_owned();
        let revision = &self.held.contents.revision;
        tracing::error!(
            reason,
            revision,
            "the bundle is bad; the last good one serves"
        );
        self.failure = Some(shortfall.failure());
        self.shortfall = Some(shortfall);
        Some(self.tell(News::Bad(reason)))
    }

    /// Has the monitor try it with all that is configured, and keeps it if it is in force.
    fn offer(&mut self, new: Held) -> io::Result<()> {
        let memory = texts::to_memory(c"sandgate.bundle", &new.contents)?;
        let tidings = Tidings {
            standing: self.standing(),
            news: News::Offer,
        };
        self.line
            .tell(&tidings, Some(std::os::fd::AsFd::as_fd(&memory)))?;
        match self.answer()? {
            Judgement::Taken => {
                let revision = &new.contents.revision;
                tracing::info!(revision, etag = new.etag, "a bundle is in force");
                self.refused = None;
                self.well();
                self.take(new);
            }
            Judgement::Refused(reason) => {
                let (refused, revision) = (&new.contents.revision, &self.held.contents.revision);
                tracing::error!(
                    refused,
                    reason,
                    revision,
                    "the bundle is bad; the last good one serves"
                );
                self.refused = Some(new.packed);
                let shortfall = Shortfall::Bad(reason);
                self.failure = Some(shortfall.failure());
                self.shortfall = Some(shortfall);
            }
        }
        self.tell(News::None)
    }

    /// From here on this one is held, and kept on disk.
    fn take(&mut self, new: Held) {
        let same = new.packed == self.held.packed && new.etag == self.held.etag;
        self.held = new;
        self.kept &= same;
        self.keep();
    }

    /// Writes down what is held, unless that is done.
    fn keep(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = store::write(&self.settings.keep, &url(self.settings), &self.held) {
            let error = crate::server::explain(&error);
            tracing::error!(
                error,
                "the bundle in force is not kept: a start without the server would go by an older one"
            );
            self.failure = Some(Shortfall::Bad(format!("bundle.keep: {error}")).failure());
        } else {
            self.kept = true;
        }
    }

    fn answer(&self) -> io::Result<Judgement> {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut ready = [PollFd::new(&self.line, PollFlags::IN)];
            match rustix::event::poll(&mut ready, Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            match self.line.hear() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                heard => return heard,
            }
        }
    }
}
