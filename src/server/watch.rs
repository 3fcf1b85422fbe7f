//! Tells when a file changes that a reload would read: inotify(7) on the directories, so that a file which
//! takes another's place counts, and a look now and then, since not every file system tells.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::inotify;

use crate::config::{self, Config, FileVersion, PolicySource};

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

/// Files as they were before they were read.
#[derive(Debug, PartialEq)]
pub(super) struct Versions(BTreeMap<PathBuf, Option<FileVersion>>);

impl Versions {
    /// Of what a reload reads: `config` was read, and nothing that it names.
    pub(super) fn before_reading(config: &Config) -> Self {
        let mut versions = Self::now(files(config));
        // A user who serves has less rights than who read it: what a reload can't see shows no change.
        if let Some(Some(source)) = versions.0.get_mut(&config.source)
            && let Some(read) = config.source_version
        {
            *source = read;
        }
        versions
    }

    fn now(paths: BTreeSet<PathBuf>) -> Self {
        let version = |path: PathBuf| {
            let version = FileVersion::of(&path);
            (path, version)
        };
        Self(paths.into_iter().map(version).collect())
    }
}

/// The files of a configuration, as they were when it was last read.
#[derive(Debug)]
pub(super) struct Watch {
    notes: OwnedFd,
    source: PathBuf,
    files: Versions,
    /// When something was told of since the last look, at first and at last.
    told: Option<(Instant, Instant)>,
    next_look: Instant,
}

impl Watch {
    /// Watches what `config` was read from; what has changed since `files` shows soon.
    pub(super) fn open(config: &Config, files: Versions) -> io::Result<Self> {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let watch = Self {
            notes: inotify::init(flags)?,
            source: config.source.clone(),
            files,
            told: None,
            next_look: Instant::now() + SETTLED,
        };
        watch.watch_directories(watch.files.0.keys());
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
        let mut files = self.files.0.iter();
        let changed = files.any(|(path, was)| FileVersion::of(path) != *was);
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
        let paths = match text.map(|text| config::parse(&self.source, &text)) {
            Ok(Ok(config)) => files(&config),
            _ => std::mem::take(&mut self.files.0).into_keys().collect(),
        };
        // Directories first: what changes in between is told of.
        self.watch_directories(&paths);
        self.files = Versions::now(paths);
        self.look_later();
    }

    fn watch_directories<'a>(&self, paths: impl IntoIterator<Item = &'a PathBuf>) {
        let directories: BTreeSet<PathBuf> = paths
            .into_iter()
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_configuration_that_changed_since_it_was_read_shows() {
        let directory = std::env::temp_dir().join(format!("sgt-watch-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let file = directory.join("sandgate.yaml");
        let text = "host_keys: [key]\nlogins: {one: {authorized_keys: [keys], policy: p.yaml}}\n";
        fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        let now = || Versions::now(files(&config));
        assert_eq!(Versions::before_reading(&config), now());
        fs::write(&file, format!("{text}# later\n")).unwrap();
        assert_ne!(Versions::before_reading(&config), now());
        // Nothing to read again is nothing that changed.
        fs::remove_file(&file).unwrap();
        assert_eq!(Versions::before_reading(&config), now());
        fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn what_is_read_once_has_no_version() {
        assert_eq!(FileVersion::of(Path::new("/dev/null")), None);
        assert_ne!(FileVersion::of(Path::new("/proc/self/exe")), None);
    }
}
