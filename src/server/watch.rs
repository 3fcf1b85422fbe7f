//! Tells when a file changes that a reload would read: inotify(7) on the directories, so that a file which
//! takes another's place counts, and a look now and then, since not every file system tells.

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::inotify;

use crate::config::{self, Config, PolicySource};

/// How long everything must be still: who changes several files, or writes one slowly, is not yet done.
const SETTLED: Duration = Duration::from_millis(200);

/// Who is never done waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks that nobody asked for.
const LOOK: Duration = Duration::from_secs(10);

/// What counts as a change of a directory. Writing alone does not: an audit trail may lie beside the files.
const CHANGES: inotify::WatchFlags = inotify::WatchFlags::CLOSE_WRITE
    .union(inotify::WatchFlags::CREATE)
    .union(inotify::WatchFlags::DELETE)
    .union(inotify::WatchFlags::MOVE)
    .union(inotify::WatchFlags::ONLYDIR);

/// The files of a configuration, as they were when it was last read.
#[derive(Debug)]
pub(super) struct Watch {
    notes: OwnedFd,
    source: PathBuf,
    files: Vec<(PathBuf, Option<Stamp>)>,
    /// When something was told of since the last look, at first and at last.
    told: Option<(Instant, Instant)>,
    next_look: Instant,
}

/// What a file's content cannot change without: device, inode, size, and both times in nanoseconds.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

impl Watch {
    /// Watches what `config` was read from.
    pub(super) fn open(config: &Config) -> io::Result<Self> {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let mut watch = Self {
            notes: inotify::init(flags)?,
            source: config.source.clone(),
            files: Vec::new(),
            told: None,
            next_look: Instant::now(),
        };
        watch.follow(config);
        Ok(watch)
    }

    /// What becomes readable when there is something to hear.
    pub(super) fn notes(&self) -> BorrowedFd<'_> {
        self.notes.as_fd()
    }

    /// When to look, unless something is heard before.
    pub(super) fn due(&self) -> Instant {
        match self.told {
            Some((first, last)) => (last + SETTLED).min(first + PATIENCE),
            None => self.next_look,
        }
    }

    /// Hears that something changed; what it was shows by itself.
    pub(super) fn hear(&mut self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut notes = inotify::Reader::new(&self.notes, &mut buffer);
        let now = Instant::now();
        loop {
            match notes.next() {
                Ok(_) => self.told = Some((self.told.map_or(now, |(first, _)| first), now)),
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether it is time to look, and a file is not what it was. Told once for each change.
    pub(super) fn changed(&mut self) -> bool {
        if Instant::now() < self.due() {
            return false;
        }
        let changed = self.files.iter().any(|(path, was)| stamp(path) != *was);
        self.look_later();
        if changed {
            self.renew();
        }
        changed
    }

    /// Takes everything as it is now: it is about to be read. A configuration that cannot be read leaves
    /// the files that were named before.
    pub(super) fn renew(&mut self) {
        let text = std::fs::read_to_string(&self.source);
        if let Ok(Ok(config)) = text.map(|text| config::parse(&self.source, &text)) {
            self.follow(&config);
        } else {
            let paths = self.files.drain(..).map(|(path, _)| path).collect();
            self.stamp_all(paths);
        }
    }

    fn follow(&mut self, config: &Config) {
        self.stamp_all(files(config));
    }

    /// Directories first: what changes in between is told of.
    fn stamp_all(&mut self, paths: BTreeSet<PathBuf>) {
        let directories: BTreeSet<PathBuf> = paths
            .iter()
            .flat_map(|path| [Some(path.clone()), std::fs::canonicalize(path).ok()])
            .flatten()
            .map(|path| super::parent(&path).to_owned())
            .collect();
        for directory in directories {
            if let Err(error) = inotify::add_watch(&self.notes, &directory, CHANGES) {
                let directory = directory.display();
                tracing::warn!(%directory, %error, "changes here are seen only every {} s", LOOK.as_secs());
            }
        }
        let stamped = |path: PathBuf| {
            let stamp = stamp(&path);
            (path, stamp)
        };
        self.files = paths.into_iter().map(stamped).collect();
        self.look_later();
    }

    fn look_later(&mut self) {
        self.told = None;
        self.next_look = Instant::now() + LOOK;
    }
}

/// What a reload reads. Files of keys and secrets are read at each login.
fn files(config: &Config) -> BTreeSet<PathBuf> {
    let kinds = config.kinds();
    let policies = kinds.values().filter_map(|login| match &login.policy {
        Some(PolicySource::File(path)) => Some(path.clone()),
        Some(PolicySource::Bundle(_)) | None => None,
    });
    let rules = config.rules.iter();
    let rules = rules.flat_map(|rules| [Some(rules.module.clone()), rules.data.clone()]);
    let texts = [config.manners.banner.clone(), config.manners.motd.clone()];
    let others = rules.chain(texts).flatten();
    policies
        .chain(others)
        .chain([config.source.clone()])
        .collect()
}

/// `None` where nothing is.
fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some((
        found.dev(),
        found.ino(),
        found.size(),
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec(),
    ))
}
