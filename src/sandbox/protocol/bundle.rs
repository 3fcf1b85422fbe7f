//! What is said between the process that gets bundles and the monitor.

use serde::{Deserialize, Serialize};

use super::admin::Failure;
use super::{Malformed, decode};

/// What sg-bundle tells the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tidings {
    /// How it stands, for who asks.
    pub standing: BundleStanding,
    /// What is to be done.
    pub news: News,
}

/// What the monitor has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// Nothing.
    None,
    /// To try a bundle, whose contents are in the descriptor beside the message, and to answer.
    Offer,
    /// To hold what is new for bad, and why.
    Bad(String),
}

/// The answer to an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Judgement {
    /// It is in force.
    Taken,
    /// It is not, and why.
    Refused(String),
}

/// How it stands with the bundle. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleStanding {
    /// Where it comes from.
    pub url: String,
    /// Whether a signature was asked for.
    pub signed: bool,
    /// What its manifest calls the state that is in force; may be empty.
    pub revision: String,
    /// What the server calls it.
    pub etag: Option<String>,
    /// When the server last answered with what is in force; `None` while it has not since the start.
    pub fetched: Option<u64>,
    /// Why what came after that is not in force, or nothing came.
    pub failure: Option<Failure>,
}

impl TryFrom<&[u8]> for Tidings {
    type Error = Malformed;

    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        decode(bytes)
    }
}

impl TryFrom<&[u8]> for Judgement {
    type Error = Malformed;

    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        decode(bytes)
    }
}
