//! How many connections one key has logged in with: no holder of one takes all that there may be.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::Fingerprint;

/// The counts; they outlive a configuration.
#[derive(Debug, Default)]
pub(super) struct Shares(Mutex<HashMap<Fingerprint, usize>>);

/// A connection's part of what its key may have, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    key: Fingerprint,
}

impl Shares {
    /// One more for this key, unless it has `most`.
    pub(super) fn take(self: &Arc<Self>, key: &Fingerprint, most: usize) -> Option<Share> {
        let mut counts = self.lock();
        let count = counts.get(key).copied().unwrap_or(0);
        if count >= most {
            return None;
        }
        counts.insert(key.clone(), count + 1);
        Some(Share {
            shares: Arc::clone(self),
            key: key.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Fingerprint, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.shares.lock().entry(self.key.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_and_what_is_given_back_is_there_again() {
        let shares = Arc::<Shares>::default();
        let (one, two) = (Fingerprint("1".into()), Fingerprint("2".into()));
        let held = (shares.take(&one, 2), shares.take(&one, 2));
        assert!(held.0.is_some() && held.1.is_some());
        assert!(shares.take(&one, 2).is_none());
        assert!(shares.take(&two, 2).is_some());
        drop(held);
        assert!(shares.lock().is_empty(), "nothing is remembered");
        assert!(shares.take(&one, 2).is_some());
    }
}
