//! Two network namespaces, the gate's and the upstream's, and a way to run programs in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::run::{Finished, run, run_with_input};
use super::upstream::Upstream;

/// What every test needs of the system, by the package that Debian has it in.
const TOOLS: [(&str, &str); 20] = [
    ("/usr/bin/bwrap", "bubblewrap"),
    ("/usr/bin/ssh", "openssh-client"),
    ("/usr/bin/ssh-keygen", "openssh-client"),
    ("/usr/bin/sftp", "openssh-client"),
    ("/usr/bin/scp", "openssh-client"),
    ("/usr/bin/rsync", "rsync"),
    ("/usr/bin/curl", "curl"),
    ("/usr/bin/oathtool", "oathtool"),
    ("/usr/bin/python3", "python3"),
    ("/usr/bin/gcc", "gcc"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/usr/bin/unshare", "util-linux"),
    ("/usr/bin/setpriv", "util-linux"),
    ("/usr/bin/prlimit", "util-linux"),
    ("/usr/bin/nmap", "nmap"),
    ("/usr/bin/strace", "strace"),
    ("/usr/bin/socat", "socat"),
    ("/usr/bin/tinyproxy", "tinyproxy-bin"),
    ("/usr/bin/ps", "procps"),
    ("/sbin/ip", "iproute2"),
];

/// Uids for one world: the gate's and those of its sandboxes.
pub(crate) const UIDS_PER_WORLD: u32 = 256;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A gate's host and what it can reach: names, addresses and servers of the test's own.
///
/// The gate's namespace has 20.30.40.1 and 2a00:1:1::1; the upstream's has public, private,
/// link-local and unique-local addresses, and the gate's namespace really reaches all of them, so
/// that a refusal is policy and not a missing route. The public ones have to look public: those for
/// documentation are refused like private ones. Nothing leaves the two namespaces.
pub(crate) struct World {
    /// Unique among all worlds that live.
    pub(crate) id: String,
    /// A directory of its own, with mode 0755.
    pub(crate) dir: PathBuf,
    /// The first of this world's uids, which is the gate's.
    pub(crate) first_uid: u32,
    /// A cgroup (v2) of its own; everything that the daemon starts is in or below it.
    pub(crate) cgroup: PathBuf,
    /// The servers on the far side.
    pub(crate) upstream: Upstream,
    /// The same servers on the gate's own host (loopback and 20.30.40.1).
    pub(crate) host: Upstream,
}

impl World {
    pub(crate) fn new() -> Self {
        require_root_and_tools();
        sweep_worlds_of_dead_tests();
        let pid = std::process::id();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let id = format!("sgt{pid}x{number}");
        let dir = PathBuf::from(format!("/tmp/{id}"));
        fs::create_dir(&dir).expect("the world's directory");
        fs::write(
            dir.join("resolv.conf"),
            "nameserver 20.30.40.10\noptions timeout:2\n",
        )
        .expect("resolv.conf");
        fs::write(
            dir.join("nsswitch.conf"),
            "passwd: files\ngroup: files\nhosts: files dns\n",
        )
        .expect("nsswitch.conf");
        fs::write(dir.join("hosts"), "127.0.0.1 localhost\n::1 localhost\n").expect("hosts");
        make_namespaces(&id);
        let cgroup = cgroup2_of_this_process().join(&id);
        fs::create_dir(&cgroup).expect("the world's cgroup");
        let upstream = Upstream::start(&format!("{id}u"), &dir.join("upstream"), Side::Upstream);
        let host = Upstream::start(&format!("{id}g"), &dir.join("host"), Side::Gate);
        // 256 apart, so that worlds of one process and of neighbours never meet; below 2^31, for bubblewrap writes
        // ids as ints.
        let first_uid = 1_000_000_000 + (pid % 65_536) * 16_384 + (number % 64) * 256;
        Self {
            id,
            dir,
            first_uid,
            cgroup,
            upstream,
            host,
        }
    }

    pub(crate) fn gate_namespace(&self) -> PathBuf {
        PathBuf::from(format!("/run/netns/{}g", self.id))
    }

    /// A program on the gate's host, outside every sandbox, with the world's resolver.
    pub(crate) fn on_host(&self, program: &str) -> Command {
        let mut command = Command::new("/usr/bin/nsenter");
        command.arg(format!("--net={}", self.gate_namespace().display()));
        command.args([
            "/usr/bin/unshare",
            "--mount",
            "--",
            "/bin/sh",
            "-c",
            BIND,
            "sh",
        ]);
        command.arg(&self.dir).arg(program);
        command
    }

    /// A shell line on the gate's host: the control for what a sandbox may not do.
    pub(crate) fn outside(&self, line: &str) -> Finished {
        run(self.on_host("/bin/bash").arg("-c").arg(line), 20)
    }
}

/// Mounts the world's resolver over the system's, in the mount namespace that unshare made.
pub(crate) const BIND: &str = r#"set -e
for file in resolv.conf nsswitch.conf hosts; do
    [ ! -e "/etc/$file" ] || mount --bind "$1/$file" "/etc/$file"
done
shift
exec "$@""#;

impl Drop for World {
    fn drop(&mut self) {
        self.upstream.stop();
        self.host.stop();
        for side in ["g", "u"] {
            delete_namespace(&format!("{}{side}", self.id));
        }
        remove_cgroups(&self.cgroup);
        if std::env::var_os("SANDGATE_TEST_KEEP").is_none() {
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}

/// Which end of the wire a server stands on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Gate,
    Upstream,
}

fn require_root_and_tools() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "these tests need root: namespaces, sandboxes"
    );
    for (path, package) in TOOLS {
        assert!(
            Path::new(path).exists(),
            "{path} is missing: apt-get install {package}"
        );
    }
}

fn make_namespaces(id: &str) {
    // Sub-second, but two at once may race for /run/netns itself.
    ip(&[], &format!("netns add {id}g\nnetns add {id}u\n"));
    let gate = "link set lo up\n\
        link add wire type veth peer name wire netns UP\n\
        addr add 20.30.40.1/24 dev wire\n\
        addr add 2a00:1:1::1/64 dev wire nodad\n\
        link set wire up\n\
        route add 10.9.9.9/32 dev wire\n\
        route add 100.64.9.9/32 dev wire\n\
        route add 203.0.113.10/32 dev wire\n\
        route add 169.254.169.254/32 dev wire\n\
        route add 20.30.41.0/24 via 20.30.40.10\n\
        route add fd00:9::9/128 dev wire\n\
        route add fd00:ec2::254/128 dev wire\n\
        route add 2a00:1:2::/64 via 2a00:1:1::10\n";
    let upstream = "link set lo up\n\
        addr add 20.30.40.10/24 dev wire\n\
        addr add 20.30.40.11/24 dev wire\n\
        addr add 10.9.9.9/32 dev wire\n\
        addr add 100.64.9.9/32 dev wire\n\
        addr add 203.0.113.10/32 dev wire\n\
        addr add 169.254.169.254/32 dev wire\n\
        addr add 2a00:1:1::10/64 dev wire nodad\n\
        addr add fd00:9::9/128 dev wire nodad\n\
        addr add fd00:ec2::254/128 dev wire nodad\n\
        link set wire up\n";
    // The upstream's link exists once the gate's half has run up to `link add`; routes need the
    // carrier of both ends.
    let (links, rest) = gate.split_at(gate.find("addr add").expect("a first address"));
    ip(
        &["-n", &format!("{id}g")],
        &links.replace("UP", &format!("{id}u")),
    );
    ip(&["-n", &format!("{id}u")], upstream);
    ip(&["-n", &format!("{id}g")], rest);
}

fn ip(options: &[&str], batch: &str) {
    let mut command = Command::new("/sbin/ip");
    command.args(options).args(["-batch", "-"]);
    run_with_input(&mut command, batch.as_bytes().to_vec(), 20).expect_code(0);
}

fn delete_namespace(name: &str) {
    if Path::new("/run/netns").join(name).exists() {
        // Another test's sweep may have been faster.
        drop(run(
            Command::new("/sbin/ip").args(["netns", "delete", name]),
            20,
        ));
    }
}

/// The cgroup v2 directory of this process, wherever the hierarchy is mounted.
pub(crate) fn cgroup2_of_this_process() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let mount = mounts
        .lines()
        .find(|line| line.contains(" - cgroup2 "))
        .and_then(|line| line.split(' ').nth(4))
        .expect("cgroup2 is mounted somewhere: these tests need it");
    let own = fs::read_to_string("/proc/self/cgroup").expect("/proc/self/cgroup");
    let path = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .expect("a cgroup2 line");
    Path::new(mount).join(path.trim_start_matches('/'))
}

/// Kills what is left in a cgroup and removes it, leaves first.
fn remove_cgroups(root: &Path) {
    if !root.exists() {
        return;
    }
    drop(fs::write(root.join("cgroup.kill"), "1"));
    let gone = super::run::wait_until(std::time::Duration::from_secs(5), || {
        for directory in super::proc::cgroups_below(root).iter().rev() {
            drop(fs::remove_dir(directory));
        }
        fs::remove_dir(root).is_ok()
    });
    if !gone {
        eprintln!("cannot remove the cgroup {}", root.display());
    }
}

/// A test that was killed could not clean up: the next one does.
fn sweep_worlds_of_dead_tests() {
    let Ok(names) = fs::read_dir("/run/netns") else {
        return;
    };
    for name in names
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        let pid = name
            .strip_prefix("sgt")
            .and_then(|rest| rest.split_once('x'))
            .map(|(pid, _)| pid);
        let Some(pid) = pid else { continue };
        if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            delete_namespace(&name);
            let world = name.trim_end_matches(['g', 'u']);
            remove_cgroups(&cgroup2_of_this_process().join(world));
            drop(fs::remove_dir_all(Path::new("/tmp").join(world)));
        }
    }
}

/// A number that this process has not given out yet.
pub(crate) fn next_number() -> u32 {
    COUNTER.fetch_add(1, Ordering::Relaxed)
}
