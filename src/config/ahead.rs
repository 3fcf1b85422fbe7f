//! `pool` and `blanks`: what is made ahead of need.

use serde_saphyr::{Location, Spanned};

use super::text::wrong;
use crate::yaml::Fault;

/// `pool`, unless it is written.
pub(super) const POOL: usize = 2;

/// `blanks`, unless it is written.
pub(super) const BLANKS: usize = 8;

/// `sandboxes` is limits.sandboxes, as it was written and what it is.
pub(super) fn check_pool(
    pool: Option<Spanned<usize>>,
    kinds: usize,
    (written, sandboxes): (Option<&Spanned<usize>>, usize),
) -> Result<usize, Fault> {
    let place = pool.as_ref().or(written).map(|value| value.referenced);
    let size = pool.map_or(POOL, |pool| pool.value);
    let pooled = size.saturating_mul(kinds);
    if pooled >= sandboxes {
        let problem = format!(
            "with a pool of {size} each, all pools together ({pooled} sandboxes) leave none of limits.sandboxes ({sandboxes}) to be in use"
        );
        return wrong(place.unwrap_or(Location::UNKNOWN), problem);
    }
    Ok(size)
}

pub(super) fn check_blanks(blanks: Option<Spanned<usize>>) -> Result<usize, Fault> {
    const MOST: usize = 64;
    match blanks {
        None => Ok(BLANKS),
        Some(blanks) if blanks.value > MOST => wrong(
            blanks.referenced,
            format!("{} is out of range: 0 to {MOST}", blanks.value),
        ),
        Some(blanks) => Ok(blanks.value),
    }
}
