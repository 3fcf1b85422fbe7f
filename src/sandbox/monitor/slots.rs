//! Which id of the pool a new sandbox has.

use std::collections::BTreeSet;

/// Places in the range of ids. The one that has been free for longest is given next, so that what an earlier sandbox may
/// have left under its id (files in a tree that several write to, keys, shared limits) is not at once another login's.
#[derive(Debug)]
pub(super) struct Slots {
    count: u32,
    /// Where the search begins.
    next: u32,
    taken: BTreeSet<u32>,
}

impl Slots {
    /// So many, all of them free.
    pub(super) fn new(count: u32) -> Self {
        Self {
            count,
            next: 0,
            taken: BTreeSet::new(),
        }
    }

    /// A free one; `None` when there is none.
    pub(super) fn take(&mut self) -> Option<u32> {
        let mut all = (self.next..self.count).chain(0..self.next);
        let slot = all.find(|slot| !self.taken.contains(slot))?;
        self.taken.insert(slot);
        self.next = slot + 1;
        Some(slot)
    }

    /// Frees one that nobody has had.
    pub(super) fn give_back(&mut self, slot: u32) {
        self.taken.remove(&slot);
    }

    /// Frees all but those that are in use.
    pub(super) fn keep(&mut self, used: BTreeSet<u32>) {
        self.taken = used;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_given_last() {
        let mut slots = Slots::new(4);
        assert_eq!((slots.take(), slots.take()), (Some(0), Some(1)));
        slots.keep(BTreeSet::from([1]));
        assert_eq!((slots.take(), slots.take()), (Some(2), Some(3)));
        assert_eq!((slots.take(), slots.take()), (Some(0), None));
        slots.give_back(2);
        assert_eq!((slots.take(), slots.take()), (Some(2), None));
    }

    #[test]
    fn none_are_given_where_there_are_none() {
        assert_eq!(Slots::new(0).take(), None);
    }
}
