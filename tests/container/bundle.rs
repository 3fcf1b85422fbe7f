//! An OCI bundle with the daemon in it, made of the host's own directories, and what runs it: crun(1).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use sandgate::sandbox::{MONITOR, START};
use serde_json::{Value, json};

use super::support::{Finished, World, run};

/// What differs from a container that sandgate runs in.
pub(crate) struct Bundle {
    /// Capabilities, without `CAP_`.
    pub(crate) capabilities: Vec<&'static str>,
    /// Calls that the container's seccomp profile answers by an action, and its errno.
    pub(crate) refused: Option<(&'static str, &'static str, i32)>,
    pub(crate) proc: Proc,
}

/// What engines do to /proc.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proc {
    Masked,
    Whole,
}

impl Default for Bundle {
    fn default() -> Self {
        let all = MONITOR.iter().chain(&START);
        Self {
            capabilities: all.map(|needed| needed.name).collect(),
            refused: None,
            proc: Proc::Masked,
        }
    }
}

impl Bundle {
    /// A container without one of the capabilities.
    pub(crate) fn without(name: &str) -> Self {
        let mut bundle = Self::default();
        bundle.capabilities.retain(|other| *other != name);
        bundle
    }

    /// `crun run` of a program in the container, in the world's cgroup.
    pub(crate) fn command(&self, world: &World, program: &[&str]) -> Command {
        let bundle = world.dir.join("bundle");
        fill(&bundle.join("rootfs"), world);
        let config = self.config(world, program).to_string();
        fs::write(bundle.join("config.json"), config).unwrap();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", START_CRUN, "sh"])
            .arg(&world.cgroup)
            .args(["/usr/bin/crun", "--cgroup-manager=disabled", "--root"])
            .arg(world.dir.join("crun"))
            .args(["run", "--bundle"])
            .arg(&bundle)
            .arg(&world.id);
        command
    }

    /// Runs a program in it to its end.
    pub(crate) fn run(&self, world: &World, program: &[&str]) -> Finished {
        run(&mut self.command(world, program), 20)
    }

    fn config(&self, world: &World, program: &[&str]) -> Value {
        let capabilities: Vec<_> = (self.capabilities.iter())
            .map(|name| format!("CAP_{name}"))
            .collect();
        let kinds = ["pid", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({"type": kind}));
        let network = json!({"type": "network", "path": world.gate_namespace()});
        let namespaces: Vec<_> = kinds.into_iter().chain([network]).collect();
        let mut linux = json!({"namespaces": namespaces});
        if self.proc == Proc::Masked {
            linux["maskedPaths"] = json!(["/proc/kcore", "/proc/keys", "/proc/timer_list"]);
            linux["readonlyPaths"] = json!(["/proc/bus", "/proc/sys", "/proc/sysrq-trigger"]);
        }
        if let Some((call, action, errno)) = self.refused {
            let mut rule = json!({"names": [call], "action": action});
            if errno != 0 {
                rule["errnoRet"] = json!(errno);
            }
            linux["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
        }
        json!({
            "ociVersion": "1.0.0",
            "process": {
                "args": program,
                "cwd": world.dir,
                "env": ["PATH=/usr/bin:/bin"],
                "user": {"uid": 0, "gid": 0},
                "noNewPrivileges": true,
                "capabilities": {
                    "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                },
            },
            "root": {"path": "rootfs"},
            "mounts": mounts(world),
            "linux": linux,
        })
    }
}

/// crun wants a unified hierarchy at its usual place, which hybrid hosts have elsewhere; and the container goes with
/// the test.
const START_CRUN: &str = r#"set -e
echo $$ > "$1/cgroup.procs"
shift
exec /usr/bin/setpriv --pdeathsig KILL /usr/bin/unshare --mount -- \
    /bin/sh -c 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"' sh "$@""#;

/// The program, as the container has it.
pub(crate) const SANDGATE: &str = "/opt/sandgate";

/// The attacker.
pub(crate) const ATTACK: &str = "/opt/attack";

fn mounts(world: &World) -> Value {
    let bind = |from: &Path, to: &Path, mode: &str| json!({"destination": to, "source": from, "type": "bind", "options": ["bind", mode]});
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},
        bind(Path::new("/usr"), Path::new("/usr"), "ro"),
        bind(Path::new(env!("CARGO_BIN_EXE_sandgate")), Path::new(SANDGATE), "ro"),
        bind(&super::support::attacker(), Path::new(ATTACK), "ro"),
        bind(&world.dir, &world.dir, "rw"),
    ])
}

fn fill(rootfs: &Path, world: &World) {
    if rootfs.exists() {
        return;
    }
    for directory in [
        "usr", "etc", "proc", "dev", "tmp", "run", "sys", "opt", "var/tmp",
    ] {
        fs::create_dir_all(rootfs.join(directory)).unwrap();
    }
    fs::set_permissions(rootfs.join("var/tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    // A user namespace's root could not make what the files are mounted on.
    for file in [SANDGATE, ATTACK] {
        fs::write(rootfs.join(file.trim_start_matches('/')), "").unwrap();
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        // Where /usr is merged these are links into it.
        let target =
            fs::read_link(Path::new("/").join(name)).unwrap_or(PathBuf::from("usr").join(name));
        symlink(target, rootfs.join(name)).unwrap();
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    fs::write(rootfs.join("etc/group"), "root:x:0:\n").unwrap();
    for name in ["resolv.conf", "nsswitch.conf", "hosts"] {
        fs::copy(world.dir.join(name), rootfs.join("etc").join(name)).unwrap();
    }
}
