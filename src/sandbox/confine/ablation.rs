//! Confinement with layers left out, to show what each of them holds (tests/layers.rs).
//!
//! Only in builds with debug assertions: a release has no code that could leave a layer out.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::{
    Account, Entrance, Failure, KINDS, Terminal, execute, map, privileges, step, take_stdio,
};
use crate::config::{Extent, Keep, Sftp, Volume};
use crate::model::{Kind, LoginName, Peer};
use crate::sandbox::blueprint::{Access, Blueprint, HOME, Home, Listed, RootFilesystem};
use crate::sandbox::bounds::Ceiling;
use crate::sandbox::capabilities::{self, Wants};
use crate::sandbox::cgroup::{Controllers, Group, Tree};
use crate::sandbox::channel;
use crate::sandbox::footing::Footing;
use crate::sandbox::identity::{self, Names, View};
use crate::sandbox::init::{self, Birth};
use crate::sandbox::landlock::Kernel;
use crate::sandbox::monitor::open_keys;
use crate::sandbox::mould::Report;
use crate::sandbox::network::Network;
use crate::sandbox::order;
use crate::sandbox::seccomp::Filter;
use crate::sandbox::trust::Trust;
use crate::sys;
use crate::sys::clone::{self, Child, SingleThreaded};

/// What can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// A session of its own (setsid(2)).
    Session,
    /// A fresh session keyring.
    Keyring,
    /// One of the namespaces, by its name under /proc/PID/ns.
    Namespace(&'static str),
    /// The change of ids, the capabilities.
    Privileges,
    /// The paths, and scopes.
    Landlock,
    /// The system calls.
    Seccomp,
    /// Closing what the daemon has open.
    Descriptors,
}

impl FromStr for Layer {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "session" => Self::Session,
            "keyring" => Self::Keyring,
            "privileges" => Self::Privileges,
            "landlock" => Self::Landlock,
            "seccomp" => Self::Seccomp,
            "descriptors" => Self::Descriptors,
            other => match KINDS.iter().find(|(kind, _)| *kind == other) {
                Some((kind, _)) => Self::Namespace(kind),
                None => return Err(format!("no layer is called {other}")),
            },
        })
    }
}

/// One run.
#[derive(Debug)]
pub struct Experiment {
    /// What is left out.
    pub without: BTreeSet<Layer>,
    /// A directory that the sandbox sees too, for the attacker's program.
    pub shared: PathBuf,
    /// The program and its arguments.
    pub command: Vec<CString>,
    /// Its ids.
    pub uid: u32,
    /// What the monitor is to do itself without one of its capabilities, if it is about these.
    pub powers: Option<Powers>,
}

/// What the monitor does for its sandboxes beside making them. Standard input is a socket.
#[derive(Debug)]
pub struct Powers {
    /// The name of the capability that is taken away; of none, for comparison.
    pub without: String,
    /// A file in a directory that is closed to others than its owner, who is not root.
    pub closed_file: PathBuf,
    /// Two directories of root's, for what is kept of homes and of a root filesystem, which is the host's own: where
    /// they are given, the sandbox asks for more capabilities than every other does.
    pub stores: Option<[PathBuf; 2]>,
}

impl Powers {
    fn wants(&self) -> Wants {
        let more = self.stores.is_some();
        Wants {
            low_ports: false,
            devices: more,
            files: more,
            changes: more,
        }
    }

    /// A filled home that is kept, a root filesystem whose changes are, and a device that the host keeps from others.
    fn ask_for_more(&self, blueprint: &mut Blueprint, account: Account) {
        let Some([homes, changes]) = &self.stores else {
            return;
        };
        let keep = |directory: &PathBuf, extent| Keep {
            directory: directory.clone(),
            extent,
        };
        blueprint.home = Home {
            keep: Some(keep(homes, Extent::Unlimited)),
            skeleton: Some("/etc/skel".into()),
            owner: account,
        };
        let volume = Volume {
            size: 32 << 20,
            files: 256,
        };
        blueprint.root = Some(RootFilesystem {
            directory: "/".into(),
            changes: Some(keep(changes, Extent::Within(volume))),
        });
        blueprint.devices = vec!["/dev/loop-control".into()];
    }

    /// As long as the command runs: reads keys, tells who holds a connection, ends the command.
    fn use_on(&self, command: Pid, init: Pid, group: &Group) -> Result<(), String> {
        open_keys(&self.closed_file).map_err(|e| format!("read keys: {e}"))?;
        let connection = rustix::fs::fstat(rustix::stdio::stdin()).map_err(|e| e.to_string())?;
        let inode = u32::try_from(connection.st_ino).map_err(|e| e.to_string())?;
        let view = View {
            init,
            names: &Names::True,
        };
        if let Peer::Unknown(reason) = identity::find(inode, &[command], view, None) {
            return Err(format!("identify: {reason}"));
        }
        let of_command = |pid| pid == command;
        (group.signal(&[Signal::KILL], of_command)).map_err(|e| format!("signal: {e}"))
    }
}

/// Builds a sandbox as the monitor does, runs one command in what is left of its confinement, and
/// clears up. Returns the command's exit status.
pub fn run(experiment: Experiment) -> Result<i32, Box<dyn std::error::Error>> {
    let one_thread = SingleThreaded::prove()?;
    let tree = Tree::create(&Controllers::probe(Footing::Root)?)?;
    if let Some(powers) = &experiment.powers {
        capabilities::keep_monitors_but(&powers.without, powers.wants())?;
    }
    let outcome = build_and_run(&one_thread, &tree, experiment);
    let razed = tree.raze().and_then(|()| tree.leave());
    let status = outcome?;
    razed?;
    Ok(status)
}

fn build_and_run(
    one_thread: &SingleThreaded,
    tree: &Tree,
    mut experiment: Experiment,
) -> Result<i32, Box<dyn std::error::Error>> {
    let account = Account {
        uid: experiment.uid,
        gid: experiment.uid,
    };
    let mut blueprint = blueprint(experiment.shared.clone())?;
    if let Some(powers) = &experiment.powers {
        powers.ask_for_more(&mut blueprint, account);
    }
    let group = tree.group("ablation")?;
    let kind = Kind {
        login: blueprint.login.clone(),
        definition: None,
    };
    let blueprints = BTreeMap::from([(kind.clone(), Arc::new(blueprint.clone()))]);
    let (line, inner) = order::line()?;
    order::give(&line, &kind, account, None, None)?;
    let birth = Birth {
        trust: &Trust::of("")?,
        blueprints: &blueprints,
        joins: &[],
        host_mounts: rustix::fs::stat("/proc/self/ns/mnt")?.st_ino,
        filter: &Filter::init()?,
        // As in a daemon that may do without (Linux 6.3).
        seal_memory_files: std::path::Path::new("/proc/sys/vm/memfd_noexec").exists(),
        writable: &blueprint.writable().map(Path::to_owned).collect(),
        line: inner,
    };
    let Child { pid, pidfd } =
        clone::fork(one_thread, init::NAMESPACES, Some(group.as_fd()), || {
            init::run(birth)
        })?;
    let _listener = await_birth(&line)?;
    let entrance = Entrance::of(pid, pidfd)?;
    let open = |path: &str, flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
    let _network = Network::of(
        &open("/proc/self/ns/net", OFlags::RDONLY)?,
        open(&format!("/proc/{pid}/ns/net"), OFlags::RDONLY)?,
        None,
    )?;
    let ruleset = Kernel::probe()?.sandbox(
        &open(&format!("/proc/{pid}/root"), OFlags::PATH)?,
        &blueprint,
        None,
    )?;
    let powers = experiment.powers.take();
    let filter = Filter::session(crate::config::Allow::default(), blueprint.scope)?;
    if !experiment.without.contains(&Layer::Namespace("pid")) {
        move_into_thread_name_spaces(entrance.init().as_fd(), ThreadNameSpaceType::PROCESS_ID)?;
    }
    let (report, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // What the namespace can't seal, as before Linux 6.3, the filter does.
    let sealed = std::path::Path::new("/proc/sys/vm/memfd_noexec").exists();
    let filter = filter.with(if sealed {
        crate::sandbox::MemoryFiles::Any
    } else {
        crate::sandbox::MemoryFiles::Sealed
    });
    let child = clone::fork(one_thread, 0, Some(group.as_fd()), move || {
        let Err(failure) = attempt(&experiment, &entrance, account, ruleset, &filter);
        let told = io::Write::write_all(
            &mut std::fs::File::from(write),
            failure.to_string().as_bytes(),
        );
        clone::exit_now(if told.is_ok() { 255 } else { 254 })
    })?;
    await_silence(report)?;
    if let Some(powers) = powers {
        powers.use_on(child.pid, pid, &group)?;
    }
    let status =
        rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED)?;
    let status = status.ok_or("the command has no status")?;
    Ok(status
        .exit_status()
        .unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or(0)))
}

/// The layers in the order of `super::start`, each only where it is not left out.
fn attempt(
    experiment: &Experiment,
    entrance: &Entrance,
    account: Account,
    ruleset: landlock::RulesetCreated,
    filter: &Filter,
) -> Result<std::convert::Infallible, Failure> {
    let with = |layer| !experiment.without.contains(&layer);
    if with(Layer::Session) {
        step("setsid", rustix::process::setsid())?;
    }
    step("signals", sys::signals::reset())?;
    take_stdio(own_stdio()?, Terminal::None)?;
    if with(Layer::Keyring) {
        step("keyring", sys::keyring::join_fresh_session())?;
    }
    let kinds = KINDS
        .iter()
        .filter(|(kind, flag)| {
            *flag != ThreadNameSpaceType::PROCESS_ID && with(Layer::Namespace(kind))
        })
        .fold(ThreadNameSpaceType::empty(), |all, (_, flag)| all | *flag);
    if !kinds.is_empty() {
        step(
            "enter",
            move_into_thread_name_spaces(entrance.init().as_fd(), kinds),
        )?;
    }
    if with(Layer::Privileges) {
        privileges::drop_to(account, Footing::Root)?;
    }
    if with(Layer::Landlock) {
        map::enforce(ruleset)?;
    }
    if with(Layer::Seccomp) {
        filter.apply()?;
    }
    if with(Layer::Descriptors) {
        step("descriptors", sys::descriptors::close_on_exec_from(3))?;
    }
    match experiment.command.as_slice() {
        [program, ..] => execute(program, &experiment.command, &[]),
        [] => step("command", Err(io::Error::other("no command"))),
    }
}

fn own_stdio() -> Result<[OwnedFd; 3], Failure> {
    let copy = |fd: std::os::fd::BorrowedFd<'_>| step("stdio", fd.try_clone_to_owned());
    Ok([
        copy(rustix::stdio::stdin())?,
        copy(rustix::stdio::stdout())?,
        copy(rustix::stdio::stderr())?,
    ])
}

fn blueprint(shared: PathBuf) -> Result<Blueprint, crate::model::Invalid> {
    let listed = |path: &str, access| Listed {
        path: path.into(),
        access,
    };
    let mut paths: Vec<Listed> = ["/usr", "/bin", "/lib", "/lib64", "/etc"]
        .map(|path| listed(path, Access::ReadOnly))
        .into();
    paths.push(Listed {
        path: shared,
        access: Access::ReadOnly,
    });
    paths.push(listed(HOME, Access::ReadWrite));
    paths.push(listed("/tmp", Access::ReadWrite));
    Ok(Blueprint {
        login: LoginName::try_from("ablation".to_owned())?,
        definition: None,
        shell: "/bin/sh".into(),
        sftp: Sftp::default(),
        account: None,
        scope: crate::config::Scope::Connection,
        sessions: 1,
        bounds: Ceiling {
            disk: 64 << 20,
            files: 1024,
            ..Ceiling::default()
        },
        network: crate::config::Network::Own,
        allow: crate::config::Allow::default(),
        paths,
        root: None,
        denied: vec![],
        devices: vec![],
        home: Home {
            keep: None,
            skeleton: None,
            owner: Account { uid: 1, gid: 1 },
        },
        variables: vec![],
    })
}

/// Waits until the other end is closed; what it says first is what went wrong.
/// Waits for init's word that all is made, and for the end of what it says; with the listener of a proxy.
fn await_birth(report: &OwnedFd) -> Result<OwnedFd, Box<dyn std::error::Error>> {
    let mut made = None;
    loop {
        rustix::event::poll(&mut [PollFd::new(report, PollFlags::IN)], None)?;
        match Report::hear(report, &mut channel::buffer())? {
            Some(Report::Made(_, listener)) => made = Some(listener),
            Some(Report::Failed(problem)) => return Err(problem.into()),
            None => return made.ok_or("its init has ended".into()),
        }
    }
}

fn await_silence(report: OwnedFd) -> Result<(), String> {
    let mut problem = String::new();
    std::fs::File::from(report)
        .read_to_string(&mut problem)
        .map_err(|e| e.to_string())?;
    if problem.is_empty() {
        Ok(())
    } else {
        Err(problem)
    }
}
