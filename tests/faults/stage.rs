//! A daemon whose sessions are struck, and what such a session is like: by itself, by attacks, and from the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use super::session::Session;
use super::strike::{Call, Follower, Log, Strike};
use super::support::{Daemon, Setup, World, attacker, cgroups_below, children, wait_until};
use super::view;

/// How a session is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Command,
    Terminal,
    Sftp,
}

/// Sandboxes of one kind.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) client: Client,
    /// The login's `sandbox`, in flow style, with words in capitals for what the stage makes.
    pub(crate) sandbox: &'static str,
    /// What policy lists beside its own, read-only.
    pub(crate) policy: Policy,
    /// A file below the world that is removed before each session.
    pub(crate) anew: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// With something in /tmp, which is mounted in each sandbox's own: none is copied from a mould.
    Host,
    /// Without.
    Moulded,
    /// Of the root filesystem at ROOT.
    Busybox,
}

impl Kind {
    /// Bounds of every sort, so that each has to be written.
    pub(crate) const PLAIN: Self = Self {
        client: Client::Command,
        sandbox: "bounds: {processes: 64, memory: 256MiB, cpu: 150%, \
                  session: {processes: 32, memory: 128MiB, cpu_weight: 50}}",
        policy: Policy::Host,
        anew: None,
    };
    /// Copied from a mould.
    pub(crate) const MOULDED: Self = Self {
        policy: Policy::Moulded,
        ..Self::PLAIN
    };
    pub(crate) const TERMINAL: Self = Self {
        client: Client::Terminal,
        ..Self::PLAIN
    };
    pub(crate) const SFTP: Self = Self {
        client: Client::Sftp,
        ..Self::PLAIN
    };
    /// A denied path, a kept home with a skeleton, and a device that only root may use on the host.
    pub(crate) const CARVED: Self = Self {
        sandbox: "files: {deny: [TOOLS/denied], home: {keep: HOMES, size: unlimited, skeleton: TOOLS}, \
                  devices: [/dev/fuse]}",
        ..Self::PLAIN
    };
    /// A home in a volume, which each session makes.
    pub(crate) const KEPT: Self = Self {
        sandbox: "files: {home: {keep: HOMES, size: 16MiB}}",
        anew: Some("homes/sandbox.ext4"),
        ..Self::PLAIN
    };
    /// An operator's root filesystem, under an overlay.
    pub(crate) const ROOT: Self = Self {
        sandbox: "files: {root: {directory: ROOT}}",
        policy: Policy::Busybox,
        ..Self::PLAIN
    };
    /// With nothing to read in what may be written, /tmp included: it could be renamed there.
    pub(crate) const NESTING: Self = Self {
        sandbox: "allow: {user_namespaces: true}",
        ..Self::MOULDED
    };
    /// The sandbox is there before.
    pub(crate) const SHARED: Self = Self {
        sandbox: "scope: login, linger: 600",
        ..Self::PLAIN
    };
}

/// What an init calls to look at each loop device of the host (`device::find`), and to ask for another where somebody was
/// faster.
const OF_DEVICES: [&str; 7] = [
    "openat",
    "statx",
    "ioctl",
    "read",
    "readlink",
    "readlinkat",
    "getdents64",
];

impl Kind {
    /// Whether a session may do without this call, so that it is no fault if it does not come to pass once more.
    pub(crate) fn may_go_without(&self, call: &Call) -> bool {
        let name = call.name.as_str();
        match call.role.as_str() {
            // What it does beside a session comes at its own time.
            "monitor" => true,
            // An init that comes before its order waits, and asks once more.
            "init" if matches!(name, "ppoll" | "recvmsg") => true,
            // Others' devices come and go.
            "init" if self.sandbox == Self::KEPT.sandbox => OF_DEVICES.contains(&name),
            // Whoever mounts anything on this host takes the moulds away, and what was copied is made.
            "init" => self.policy == Policy::Moulded,
            _ => false,
        }
    }
}

/// Directories and processes beside it.
pub(crate) struct Place {
    pub(crate) world: World,
    tools: PathBuf,
    victim: Child,
}

impl Place {
    pub(crate) fn new() -> Self {
        let world = World::new();
        let tools = PathBuf::from(format!("/srv/{}-tools", world.id));
        fs::create_dir_all(tools.join("denied")).unwrap();
        fs::copy(attacker(), tools.join("attack")).unwrap();
        fs::create_dir(world.dir.join("homes")).unwrap();
        fs::write(world.dir.join("hidden"), "secret").unwrap();
        let root = world.dir.join("root");
        for directory in ["bin", "etc", "data", "usr", "dev", "proc", "srv/tools"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::set_permissions(root.join("data"), fs::Permissions::from_mode(0o777)).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("apt-get install busybox-static");
        for name in [
            "sh", "cat", "ls", "sed", "env", "uname", "sort", "grep", "sleep",
        ] {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        fs::copy(attacker(), root.join("srv/tools/attack")).unwrap();
        let victim = Command::new("/usr/bin/sleep").arg("6000").spawn().unwrap();
        Self {
            world,
            tools,
            victim,
        }
    }

    /// Words in capitals, filled in.
    pub(crate) fn fill(&self, text: &str, policy: Policy) -> String {
        let own = self.world.dir.to_str().unwrap();
        let tools = match policy {
            Policy::Host | Policy::Moulded => self.tools.to_str().unwrap(),
            Policy::Busybox => "/srv/tools",
        };
        text.replace("TOOLS", tools)
            .replace("HOMES", &format!("{own}/homes"))
            .replace("HIDDEN", &format!("{own}/hidden"))
            .replace("ROOT", &format!("{own}/root"))
            .replace("VICTIM", &self.victim.id().to_string())
            .replace("ABSTRACT", &self.world.id)
    }

    fn setup(&self, kind: Kind) -> Setup {
        let closed = Setup::closed();
        let policy = match kind.policy {
            Policy::Host | Policy::Moulded => {
                let mut listed = format!("read_only: [{}, ", self.tools.display());
                if kind.policy == Policy::Host {
                    listed = format!("{listed}{}/policy.yaml, ", self.world.dir.display());
                }
                closed.policy.replacen("read_only: [", &listed, 1)
            }
            Policy::Busybox => "version: 1\nfilesystem_policy:\n  include_workdir: true\n  \
                read_only: [/bin, /etc, /usr, /srv]\n  read_write: [/data, /tmp]\n"
                .to_owned(),
        };
        let shell = match kind.policy {
            Policy::Host | Policy::Moulded => "",
            Policy::Busybox => "    shell: /bin/sh\n",
        };
        Setup {
            policy,
            login: format!(
                "{shell}    sandbox: {{{}}}\n",
                self.fill(kind.sandbox, kind.policy)
            ),
            // What is made is what is used, and nothing is made beside it. Nor does another daemon's start ask at its
            // socket, as each does at those in the usual place.
            top: "pool: 0\nblanks: 0\nadmin: admin.sock\n".to_owned(),
            ..closed
        }
        .in_system_mounts()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.victim.kill().unwrap();
        self.victim.wait().unwrap();
        fs::remove_dir_all(&self.tools).unwrap();
    }
}

/// The daemon is started in a session keyring that holds a key, and with a descriptor that execve(2) does not close.
const KEYRING: &str = r#"keyctl add user sandgate-faults secret @s > /dev/null && exec 9< /etc/hostname && exec "$@""#;

/// A daemon in a place.
pub(crate) struct Stage<'w> {
    pub(crate) daemon: Daemon<'w>,
    pub(crate) place: &'w Place,
    pub(crate) kind: Kind,
    /// The namespaces of the host, and of the daemon.
    pub(crate) foreign: BTreeSet<String>,
    /// What is there without a session.
    rest: BTreeMap<String, usize>,
}

/// What became of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Daemons {
    Serves,
    Ended,
}

/// How a session went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its client ended with a status other than 0 before anything of the user's ran, and said this.
    Refused(String),
    /// It began, and was like this.
    Began(String),
    /// It began, and was ended before it had told everything.
    Cut,
}

impl<'w> Stage<'w> {
    pub(crate) fn open(place: &'w Place, kind: Kind) -> Self {
        let daemon = Daemon::start_by(&place.world, &place.setup(kind), |command| {
            let mut session = Command::new("/usr/bin/keyctl");
            session.args(["session", "-", "/bin/sh", "-c", KEYRING, "sh"]);
            session.arg(command.get_program()).args(command.get_args());
            session.current_dir(&place.world.dir).env_remove("RUST_LOG");
            session
        });
        let outside = [std::process::id(), daemon.id(), daemon.monitor()];
        let mut stage = Self {
            foreign: view::namespaces(&outside),
            daemon,
            place,
            kind,
            rest: BTreeMap::new(),
        };
        // The first session may leave what stays: its sandbox, where that is shared, or an image.
        assert!(matches!(stage.session(None).0, Outcome::Began(_)));
        stage.rest = stage.settled();
        stage
    }

    /// Waits for the end of a daemon that ends, and of all that it had; one that does not is ended.
    pub(crate) fn close(&mut self) {
        if !self.daemon.has_ended() {
            self.daemon.terminate();
        }
        wait_until(Duration::from_secs(5), || {
            self.daemon.processes().is_empty()
        });
    }

    /// A session, with the calls that it took, one of which is struck if told.
    pub(crate) fn session(&mut self, strike: Option<(&Call, Strike)>) -> (Outcome, Log) {
        if !self.rest.is_empty() {
            // Nothing of the last one is taken for this one's; what stays of it was said when it was asked for.
            drop(self.rests());
        }
        if let Some(file) = self.kind.anew {
            drop(fs::remove_file(self.place.world.dir.join(file)));
        }
        let follower = Follower::start(self.daemon.monitor(), &self.place.world.dir, strike);
        let mut session = Session::start(self);
        let began = session.has_begun();
        let log = follower.stop();
        let outcome = if began {
            session.tell(self)
        } else {
            let end = session.client.finish();
            assert_ne!(end.code(), 0, "refused as if all were well: {end}");
            Outcome::Refused(end.err())
        };
        (outcome, log)
    }

    /// Waits until nothing is left of sessions, or the daemon is gone.
    pub(crate) fn rests(&mut self) -> Result<Daemons, String> {
        let mut now = self.rest.clone();
        let mut ended = false;
        let rests = wait_until(Duration::from_secs(5), || {
            ended = self.daemon.has_ended();
            now = self.holds();
            ended || self.is_at_rest(&now)
        });
        match (ended, rests) {
            (true, _) => Ok(Daemons::Ended),
            (_, true) => Ok(Daemons::Serves),
            _ => Err(format!("left: {now:?}, in place of {:?}", self.rest)),
        }
    }

    /// Without moulds, which come and go with the mounts of the host: each is a mount namespace and its root.
    fn descriptors(&self) -> usize {
        let monitor = held_by(&self.daemon, "sg-monitor");
        let entries = fs::read_dir(format!("/proc/{monitor}/fd"));
        let links = entries.into_iter().flatten().flatten();
        let links: Vec<PathBuf> = links
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .collect();
        let is_mould = |link: &&PathBuf| link.to_string_lossy().starts_with("mnt:[");
        let moulds = links.iter().filter(is_mould).count();
        // Its namespace, the root in it, and what tells of changes there.
        links.len().saturating_sub(3 * moulds)
    }

    /// Of a shared sandbox the groups of the last two sessions may stay until the next: more would be a leak.
    fn is_at_rest(&self, now: &BTreeMap<String, usize>) -> bool {
        let mut rest = self.rest.clone();
        if let (Some(groups), Some(known)) = (now.get("cgroups"), rest.get_mut("cgroups"))
            && self.kind.sandbox == Kind::SHARED.sandbox
            && groups.abs_diff(*known) <= 2
        {
            *known = *groups;
        }
        *now == rest
    }

    /// The only one: whatever has a pid namespace that is neither the host's nor the daemon's, and is no init.
    pub(crate) fn sessions_process(&self) -> Option<u32> {
        let all = self.daemon.session_processes();
        let pids = all.iter().map(|process| process.pid);
        let mut own = pids.filter(|pid| {
            let namespace = fs::read_link(format!("/proc/{pid}/ns/pid"));
            namespace.is_ok_and(|name| !self.foreign.contains(&*name.to_string_lossy()))
        });
        own.next()
    }

    fn settled(&self) -> BTreeMap<String, usize> {
        let mut last = self.holds();
        let mut same = 0;
        wait_until(Duration::from_secs(10), || {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.holds();
            same = if now == last { same + 1 } else { 0 };
            last = now;
            same > 6
        });
        last
    }

    /// What it holds of the system, by kind.
    fn holds(&self) -> BTreeMap<String, usize> {
        let mut held = BTreeMap::new();
        for process in self.daemon.processes() {
            *held.entry(process.name).or_default() += 1;
        }
        held.insert("the monitor's descriptors".into(), self.descriptors());
        held.insert(
            "cgroups".into(),
            cgroups_below(&self.place.world.cgroup).len(),
        );
        let images = fs::read_dir("/sys/block").unwrap().flatten();
        let shown = images
            .filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
        let ours = shown.filter(|file| file.contains(&self.place.world.id));
        held.insert("loop devices".into(), ours.count());
        held
    }
}

/// The pid of that child of a daemon's; 0 of one that is gone.
pub(crate) fn held_by(daemon: &Daemon<'_>, name: &str) -> u32 {
    let all = children(daemon.id());
    all.iter()
        .find(|process| process.name == name)
        .map_or(0, |process| process.pid)
}
