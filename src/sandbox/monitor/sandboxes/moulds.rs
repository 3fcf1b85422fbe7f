//! The moulds that there are, a kind each, and what makes all of them useless.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use landlock::RulesetCreated;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, getrlimit};

use crate::model::Kind;
use crate::sandbox::blueprint::Blueprint;
use crate::sandbox::landlock::{CarvedRules, LandlockError};
use crate::sandbox::monitor::Charter;
use crate::sandbox::mould::Mould;

/// Each holds as many mounts as a sandbox has.
const MOST: usize = 64;

#[derive(Debug)]
pub(super) struct Moulds {
    /// /proc/self/mountinfo, by which poll(2) tells of changes (proc_pid_mountinfo(5)).
    mounts: OwnedFd,
    /// The same for epoll, which says each change once. Moulds hold what is unmounted on the host.
    told: OwnedFd,
    /// Of the mounts that moulds are made from, and of what they are made by.
    generation: Generation,
    uses: u64,
    kept: BTreeMap<Kind, Kept>,
    /// So many descriptors all of them may hold: the others are for sandboxes and sessions.
    most_held: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation(u64);

#[derive(Debug)]
struct Kept {
    last_use: u64,
    model: Rc<Model>,
    blueprint: Arc<Blueprint>,
    /// Rules for copies that nobody has asked for yet.
    begun: Vec<RulesetCreated>,
}

/// What a new sandbox of a kind may be copied from.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) model: Option<Rc<Model>>,
    /// The rules for a copy of that, where they are begun.
    pub(super) begun: Option<RulesetCreated>,
    /// When it was found.
    pub(super) generation: Generation,
}

/// A mould, and what is the same for all that is copied from it.
#[derive(Debug)]
pub(in crate::sandbox::monitor) struct Model {
    pub(super) mould: Mould,
    /// `Left::mounts`.
    pub(super) mounts: OwnedFd,
    pub(in crate::sandbox::monitor) rules: CarvedRules,
}

impl Model {
    /// How many descriptors it is, the mould's own three among them.
    fn held(&self) -> u64 {
        3 + self.rules.held() as u64
    }
}

impl Moulds {
    pub(super) fn new() -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let open = || rustix::fs::open("/proc/self/mountinfo", flags, Mode::empty());
        Ok(Self {
            mounts: open()?,
            told: open()?,
            generation: Generation(0),
            uses: 0,
            kept: BTreeMap::new(),
            most_held: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 4,
        })
    }

    /// What tells, by epoll's edge, when to `look`.
    pub(super) fn told(&self) -> &OwnedFd {
        &self.told
    }

    pub(super) fn find(&mut self, kind: &Kind) -> io::Result<Found> {
        self.look()?;
        if let Some(kept) = self.kept.get(kind)
            && has_changed(&kept.model.mounts)?
        {
            self.kept.remove(kind);
        }
        self.uses += 1;
        let found = self.kept.get_mut(kind).map(|kept| {
            kept.last_use = self.uses;
            (Rc::clone(&kept.model), kept.begun.pop())
        });
        let (model, begun) = found.unzip();
        Ok(Found {
            model,
            begun: begun.flatten(),
            generation: self.generation,
        })
    }

    /// Whether rules for copies of what was last used are missing.
    pub(super) fn lacks_rules(&self, charter: &Charter) -> bool {
        let last = self.kept.values().max_by_key(|kept| kept.last_use);
        last.is_some_and(|kept| kept.begun.len() < charter.blanks)
    }

    /// Begins them for one more. Those of other kinds go: each is a descriptor that every child copies.
    pub(super) fn begin_rules(&mut self, charter: &Charter) -> Result<(), LandlockError> {
        let uses = self.kept.values().map(|kept| kept.last_use).max();
        for kept in self.kept.values_mut() {
            if Some(kept.last_use) != uses {
                kept.begun.clear();
                continue;
            }
            let begun = charter.kernel.begin(&kept.blueprint, &kept.model.rules)?;
            kept.begun.push(begun);
        }
        Ok(())
    }

    /// Keeps a mould that was begun in `generation`, if nothing has changed since.
    pub(super) fn keep(
        &mut self,
        kind: &Kind,
        blueprint: &Arc<Blueprint>,
        model: Rc<Model>,
        generation: Generation,
    ) -> io::Result<()> {
        self.look()?;
        if generation != self.generation {
            return Ok(());
        }
        self.kept.remove(kind);
        if model.held() > self.most_held {
            return Ok(());
        }
        while self.kept.len() >= MOST || self.held() + model.held() > self.most_held {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.last_use);
            let Some(oldest) = oldest.map(|(kind, _)| kind.clone()) else {
                break;
            };
            self.kept.remove(&oldest);
        }
        let last_use = self.uses;
        let kept = Kept {
            last_use,
            model,
            blueprint: Arc::clone(blueprint),
            begun: Vec::new(),
        };
        self.kept.insert(kind.clone(), kept);
        Ok(())
    }

    fn held(&self) -> u64 {
        self.kept.values().map(|kept| kept.model.held()).sum()
    }

    /// None of them is what would be made now.
    pub(super) fn forget(&mut self) {
        self.generation.0 += 1;
        self.kept.clear();
    }

    /// Forgets them where something was mounted or unmounted in the monitor's mount namespace.
    pub(super) fn look(&mut self) -> io::Result<()> {
        if has_changed(&self.mounts)? {
            self.forget();
        }
        Ok(())
    }
}

/// Whether something was mounted or unmounted in the namespace of this mountinfo since it was asked last.
fn has_changed(mounts: &OwnedFd) -> io::Result<bool> {
    let mut watched = [PollFd::new(mounts, PollFlags::PRI)];
    rustix::event::poll(&mut watched, Some(&Timespec::default()))?;
    let [mounts] = watched;
    Ok(mounts.revents().intersects(PollFlags::PRI | PollFlags::ERR))
}
