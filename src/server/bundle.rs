//! Bundles of policies: who gets them, who opens them, and which one a start takes.
//!
//! ```text
//! sg-bundle (root, no network: reads keys and token, keeps the last good one, offers to the monitor)
//!  ├─ sg-fetch   for one download: the gate's account, network, no file
//!  └─ sg-unpack  for one bundle: the gate's account, no network, no file, no call but for memory
//! ```

use std::time::{SystemTime, UNIX_EPOCH};

use super::check::CheckError;
use crate::config::{Bundle, Config, Signing};
use crate::model::Secret;
use crate::policy::bundle::{Bring, Contents, KeyError, Trust};
use crate::sandbox::protocol::admin::Failure;
use crate::sys::clone::SingleThreaded;

mod children;
mod courier;
mod store;

use children::Brought;
pub(super) use children::Who;
pub(super) use courier::{Courier, run};
pub(super) use store::StoreError;
use store::Stored;

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleTrouble {
    /// A key that is to sign can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The kept one can't be used.
    #[error("bundle.keep: {0}")]
    Store(#[from] StoreError),
    /// Neither the server nor the disk has one.
    #[error("there is no bundle to serve by: {url}: {fetched}; bundle.keep: {kept}")]
    None {
        /// The server's.
        url: String,
        /// Why the server gave none.
        fetched: String,
        /// Why none that was kept is good.
        kept: String,
    },
    /// The children that get one can't be made.
    #[error("bundle: {0}")]
    Process(#[from] std::io::Error),
}

/// A bundle that is good.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// As it was downloaded.
    pub(super) packed: Vec<u8>,
    /// What the server calls it.
    pub(super) etag: Option<String>,
    /// What is in it.
    pub(super) contents: Contents,
}

/// What a start goes by.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) held: Held,
    /// When the server had the same.
    pub(super) fetched: Option<u64>,
    /// Why it is not what the server has now.
    pub(super) shortfall: Option<Shortfall>,
}

/// Why what is held is not what the server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shortfall {
    /// It gives nothing.
    Unreachable(String),
    /// What it gives is bad.
    Bad(String),
}

impl Shortfall {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Unreachable(reason) | Self::Bad(reason) => reason,
        }
    }

    fn failure(&self) -> Failure {
        Failure {
            at: now(),
            reason: self.reason().to_owned(),
        }
    }
}

/// Where a bundle comes from, for messages.
fn url(bundle: &Bundle) -> String {
    let Bundle { server, target, .. } = bundle;
    // What stands behind `?` may be a secret.
    let path = target.split('?').next().unwrap_or_default();
    format!("https://{server}{path}")
}

fn bring(bundle: &Bundle) -> Bring {
    if bundle.rules {
        Bring::Rules
    } else {
        Bring::Policies
    }
}

/// What an operator should know of how he gets his policies.
pub(super) fn warning(config: &Config) -> Option<String> {
    let bundle = config.bundle.as_ref()?;
    let unsigned = bundle.signing == Signing::Unsigned;
    unsigned.then(|| {
        format!(
            "weaker by the operator's word: the bundle of {} is not verified (bundle.unsigned); whoever holds that server says what sandboxes may do",
            url(bundle)
        )
    })
}

/// Checks by the bundle that the server has now, or by the kept one where the server gives none that is good.
/// Without a bundle in the configuration, by none.
pub(super) fn settle<T>(
    config: &Config,
    who: &Who,
    mut check: impl FnMut(Option<&Contents>) -> Result<T, CheckError>,
) -> Result<(T, Option<Started>), CheckError> {
    let Some(bundle) = &config.bundle else {
        return Ok((check(None)?, None));
    };
    let trust = Trust::read(&bundle.signing).map_err(BundleTrouble::from)?;
    let proof = SingleThreaded::prove().map_err(BundleTrouble::from)?;
    let kept = kept(&proof, who, bundle, &trust).map_err(BundleTrouble::from)?;
    let etag = kept.as_ref().ok().and_then(|kept| kept.etag.as_deref());
    let fetched = fetched(&proof, who, bundle, (&trust, etag)).map_err(BundleTrouble::from)?;
    let shortfall = match fetched {
        Ok(Some(held)) => match (check(Some(&held.contents)), &kept) {
            (Ok(checked), _) => {
                let fetched = Some(now());
                let started = Started {
                    held,
                    fetched,
                    shortfall: None,
                };
                return Ok((checked, Some(started)));
            }
            (Err(error), Err(_)) => return Err(error),
            (Err(error), Ok(_)) => Some(Shortfall::Bad(super::explain(&error))),
        },
        Ok(None) => None,
        Err(shortfall) => Some(shortfall),
    };
    let held = kept.map_err(|kept| BundleTrouble::None {
        url: url(bundle),
        fetched: shortfall.as_ref().map_or("", Shortfall::reason).to_owned(),
        kept,
    })?;
    if let Some(shortfall) = &shortfall {
        let (revision, reason) = (&held.contents.revision, shortfall.reason());
        tracing::error!(
            revision,
            reason,
            "the server has no good bundle; the kept one serves"
        );
    }
    let checked = check(Some(&held.contents))?;
    let fetched = shortfall.is_none().then(now);
    let started = Started {
        held,
        fetched,
        shortfall,
    };
    Ok((checked, Some(started)))
}

/// Writes down what a start was given.
pub(super) fn keep(config: &Config, started: &Started) -> Result<(), CheckError> {
    let Some(bundle) = &config.bundle else {
        return Ok(());
    };
    Ok(store::write(&bundle.keep, &url(bundle), &started.held).map_err(BundleTrouble::from)?)
}

/// The kept bundle, verified anew; otherwise why there is none, which is said loudly if one is there.
fn kept(
    proof: &SingleThreaded,
    who: &Who,
    bundle: &Bundle,
    trust: &Trust,
) -> std::io::Result<Result<Held, String>> {
    let stored = match store::read(&bundle.keep, &url(bundle)) {
        Ok(Some(stored)) => stored,
        Ok(None) => return Ok(Err("none is kept there".to_owned())),
        Err(error) => return Ok(Err(super::explain(&error))),
    };
    let Stored { packed, etag } = stored;
    Ok(
        match children::unpack(proof, who, &packed, (trust, bring(bundle)))? {
            Ok(contents) => Ok(Held {
                packed,
                etag,
                contents,
            }),
            Err(reason) => {
                let path = bundle.keep.display();
                tracing::error!(%path, reason, "the bundle that was kept is not used");
                Err(format!("the kept one is refused: {reason}"))
            }
        },
    )
}

/// What the server has, opened; `None` where that is the state called `etag`.
fn fetched(
    proof: &SingleThreaded,
    who: &Who,
    bundle: &Bundle,
    (trust, etag): (&Trust, Option<&str>),
) -> std::io::Result<Result<Option<Held>, Shortfall>> {
    let (packed, etag) = match children::fetch(proof, who, bundle, etag)? {
        Ok(Brought::Unchanged) => return Ok(Ok(None)),
        Ok(Brought::Whole { packed, etag }) => (packed, etag),
        Err(reason) => return Ok(Err(Shortfall::Unreachable(reason))),
    };
    let opened = children::unpack(proof, who, &packed, (trust, bring(bundle)))?;
    Ok(match opened {
        Ok(contents) => Ok(Some(Held {
            packed,
            etag,
            contents,
        })),
        Err(reason) => Err(Shortfall::Bad(reason)),
    })
}

/// The bearer token, as its file has it now.
fn token(bundle: &Bundle) -> Result<Option<Secret>, String> {
    let read = bundle.token_file.as_deref().map(super::keeper::file);
    let wrong = |problem| format!("bundle.token_file: {problem}");
    read.transpose().map_err(wrong)
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
