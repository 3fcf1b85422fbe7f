//! `uids`: whether ids can be the daemon's own.

use serde_saphyr::Spanned;

use super::Uids;
use super::text::wrong;
use crate::yaml::Fault;

pub(super) fn check(uids: &Spanned<Uids>) -> Result<Uids, Fault> {
    sound(uids.value).or_else(|problem| wrong(uids.referenced, problem))
}

/// Ids of a daemon that serves one connection, those of its gate and its judge among them.
const PART: u32 = 16;

impl Uids {
    /// So many for sandboxes, with the judge's and the gate's before them; `None` where these can't be ids.
    pub fn block(judge: u32, count: u32) -> Option<Self> {
        let first = judge.checked_add(2)?;
        let gate = judge + 1;
        sound(Self { gate, first, count }).ok()
    }

    /// What daemons of one connection share the sandboxes' ids out in. None where there are too few.
    pub fn parts(self) -> impl Iterator<Item = Self> {
        let Self { first, count, .. } = self;
        let starts = (0..count / PART).map(move |index| first + index * PART);
        starts.filter_map(|judge| Self::block(judge, PART - 2))
    }

    /// The uid and gid of what evaluates an operator's rules: the one below the gate's, or above it where the
    /// sandboxes' lie below.
    pub fn judge(self) -> u32 {
        let Self { gate, first, count } = self;
        let taken = |id: u32| id == 0 || (first..first.saturating_add(count)).contains(&id);
        let below = gate.saturating_sub(1);
        if taken(below) {
            gate.saturating_add(1)
        } else {
            below
        }
    }
}

/// Ids that can be nobody else's and each other's.
pub(super) fn sound(uids: Uids) -> Result<Uids, String> {
    let Uids { gate, first, count } = uids;
    let end = first.checked_add(count).filter(|end| *end < u32::MAX);
    match end {
        Some(end) if (first..end).contains(&gate) => Err(format!(
            "gate {gate} lies among the sandboxes' own ids; give it one outside them"
        )),
        Some(_) if gate != 0 && gate < u32::MAX - 1 && first >= 1000 && count > 0 => Ok(uids),
        _ => Err(
            "ids start at 1000 or higher, are at least one, end below 2^32-1; the gate's is not 0, nor one of the last two"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_evaluates_has_an_id_of_its_own_beside_the_gates() {
        for (gate, first, judge) in [(5000, 6000, 4999), (6010, 6000, 6011), (1, 1000, 2)] {
            let uids = Uids {
                gate,
                first,
                count: 10,
            };
            assert_eq!(sound(uids).unwrap().judge(), judge);
        }
        let last = Uids {
            gate: u32::MAX - 1,
            first: 6000,
            count: 10,
        };
        sound(last).unwrap_err();
    }
}
