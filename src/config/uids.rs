//! `uids`: whether ids can be the daemon's own.

use serde_saphyr::Spanned;

use super::Uids;
use super::text::wrong;
use crate::yaml::Fault;

pub(super) fn check(uids: &Spanned<Uids>) -> Result<Uids, Fault> {
    sound(uids.value).or_else(|problem| wrong(uids.referenced, problem))
}

/// Ids that can be nobody else's and each other's.
pub(super) fn sound(uids: Uids) -> Result<Uids, String> {
    let Uids { gate, first, count } = uids;
    let end = first.checked_add(count).filter(|end| *end < u32::MAX);
    match end {
        Some(end) if (first..end).contains(&gate) => Err(format!(
            "gate {gate} lies among the sandboxes' own ids; give it one outside them"
        )),
        Some(_) if gate != 0 && first >= 1000 && count > 0 => Ok(uids),
        _ => Err(
            "ids start at 1000 or higher, are at least one, end below 2^32-1; the gate's is not 0"
                .to_owned(),
        ),
    }
}
