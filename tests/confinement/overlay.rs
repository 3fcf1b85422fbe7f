//! An operator's root under a scratch layer: what overlayfs goes by is not for sessions to write, and what they change
//! stays in their layer.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use super::arena::{as_nobody, inside, install, nobodys_uid};
use super::support::{Daemon, Setup, World, run};

/// A root of the operator's with a directory that everybody may write to, as far as modes go.
struct Root(PathBuf);

impl Root {
    fn new(world: &World) -> Self {
        let root = Self(PathBuf::from(format!("/srv/{}-overlay", world.id)));
        for directory in ["bin", "etc", "data/dir", "private", "dev", "proc"] {
            fs::create_dir_all(root.path(directory)).unwrap();
        }
        fs::copy("/bin/busybox", root.path("bin/busybox")).expect("apt-get install busybox-static");
        for name in ["sh", "cat", "ls", "chmod", "mkdir", "id", "sync"] {
            std::os::unix::fs::symlink("busybox", root.path("bin").join(name)).unwrap();
        }
        fs::write(root.path("private/secret"), "secret").unwrap();
        fs::write(root.path("data/dir/file"), "below").unwrap();
        fs::write(root.path("data/one"), "operator's").unwrap();
        fs::hard_link(root.path("data/one"), root.path("data/two")).unwrap();
        root.open_to(0);
        root
    }

    /// As far as modes go, this user may do everything in /data.
    fn open_to(&self, uid: u32) {
        for path in ["data", "data/dir", "data/dir/file", "data/one"] {
            chown(self.path(path), Some(uid), Some(uid)).unwrap();
            fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o777)).unwrap();
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    /// What the operator sees of what sessions may write to.
    fn state(&self) -> Vec<(String, u64, u32, i64, String)> {
        ["data/one", "data/two", "data/dir/file"]
            .map(|name| {
                let found = fs::metadata(self.path(name)).unwrap();
                let text = fs::read_to_string(self.path(name)).unwrap();
                (
                    name.to_owned(),
                    found.nlink(),
                    found.mode(),
                    found.mtime(),
                    text,
                )
            })
            .into()
    }

    fn setup(&self) -> Setup {
        Setup {
            policy: "version: 1\nfilesystem_policy:\n  include_workdir: true\n  read_only: [/bin, /etc]\n  read_write: [/data, /tmp]\n"
                .to_owned(),
            login: format!(
                "    shell: /bin/sh\n    sandbox: {{files: {{root: {{directory: {}}}}}}}\n",
                self.0.display()
            ),
            ..Setup::closed()
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What the kernel knows of names is forgotten: overlayfs looks into its layers anew (proc_sys_vm(5)).
fn forget_names() {
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
}

/// The same marks on an overlay of root's own: overlayfs goes by them.
const MARKED: &str = r#"
import os, subprocess
os.chdir("/tmp")
subprocess.run(["mount", "-t", "tmpfs", "none", "/tmp"], check=True)
os.chdir("/tmp")
for each in ("low/private", "low/opaque", "low/user", "low/gone", "up/new", "up/opaque", "up/user", "work", "all"):
    os.makedirs(each)
for each in ("private/secret", "opaque/below", "user/below", "gone/below"): open("low/" + each, "w").close()
os.setxattr("up/new", "trusted.overlay.redirect", b"/private")
os.setxattr("up/opaque", "trusted.overlay.opaque", b"y")
os.setxattr("up/user", "user.overlay.opaque", b"y")
os.mknod("up/gone", 0o20000, os.makedev(0, 0))
def show(options):
    layers = "lowerdir=low,upperdir=up,workdir=work," + options
    subprocess.run(["mount", "-t", "overlay", "none", "all", "-o", layers], check=True)
    seen = [name for name in ("new/secret", "opaque/below", "user/below", "gone/below") if os.path.exists("all/" + name)]
    subprocess.run(["umount", "all"], check=True)
    print(*seen)
show("redirect_dir=on")
show("userxattr")
"#;

#[test]
fn what_overlayfs_goes_by_is_not_for_sessions_to_write() {
    let world = World::new();
    let root = Root::new(&world);
    let daemon = Daemon::start(&world, &root.setup());
    let master = daemon.ssh().master();
    install(&master);
    master.ssh().run("mkdir /data/new").expect_code(0);
    for name in ["redirect", "opaque", "metacopy", "origin", "whiteout"] {
        for path in ["/data/dir", "/data/new"] {
            let answers = inside(
                &master,
                &[&format!("overlay-mark:trusted.overlay.{name},y,{path}")],
            );
            assert_eq!(answers["overlay-mark"], "EPERM", "{name} of {path}");
        }
    }
    let whiteout = inside(&master, &["mknod-whiteout:/data/gone"]);
    assert!(
        ["EPERM", "EACCES"].contains(&&*whiteout["mknod-whiteout"]),
        "{whiteout:?}"
    );
    // A directory of the operator's goes to no other name: that would be a redirect.
    let moved = inside(&master, &["rename:/data/dir,/data/moved"]);
    assert_eq!(moved["rename"], "EXDEV", "{moved:?}");
    // What users may set means nothing to an overlay that is mounted without userxattr.
    for user in [
        "overlay-mark:user.overlay.opaque,y,/data/dir",
        "overlay-mark:user.overlay.redirect,/private,/data/new",
    ] {
        let answers = inside(&master, &[user]);
        assert_eq!(answers["overlay-mark"], "ok", "{user}");
    }
    forget_names();
    let seen = |line: &str| master.ssh().run(line).expect_code(0).out();
    assert_eq!(seen("cat /data/dir/file"), "below");
    assert_eq!(seen("ls /data/new"), "");

    // The control: by the same marks on an overlay of root's, one tree stands in another's place, and files are gone.
    let marked = run(
        Command::new("/usr/bin/unshare").args(["--mount", "/usr/bin/python3", "-I", "-c", MARKED]),
        30,
    );
    assert_eq!(
        marked.expect_code(0).out(),
        "new/secret user/below\nopaque/below\n"
    );
}

#[test]
fn copies_go_up_and_nothing_goes_down() {
    let world = World::new();
    let root = Root::new(&world);
    let before = root.state();
    let daemon = Daemon::start(&world, &root.setup());
    let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
    install(&one);
    // Written through one name, through a link that a session made, and by everything else that changes a file.
    let line = "cd /data && echo changed > one && cat two && ln two three && echo other > three && cat two three && \
        echo more >> dir/file && cat dir/file";
    assert_eq!(
        one.ssh()
            .run(line.replace("ln ", "/bin/busybox ln "))
            .expect_code(0)
            .out(),
        "operator'sother\nother\nbelowmore\n"
    );
    let changes = [
        "utime:/data/dir/file",
        "truncate:/data/dir/file",
        "map:/data/two",
        "reopen:/data/two",
    ];
    let answers = inside(&one, &changes);
    assert!(answers.values().all(|answer| answer == "ok"), "{answers:?}");
    assert_eq!(root.state(), before);
    let other = two.ssh().run("cd /data && cat one two dir/file && ls");
    assert_eq!(
        other.expect_code(0).out(),
        "operator'soperator'sbelowdir\none\ntwo\n"
    );
    drop((one, two, daemon));

    // The control: by these modes the operator's own files are an ordinary user's to change.
    root.open_to(nobodys_uid(&world));
    let file = root.path("data/dir/file");
    let answers = as_nobody(&world, &[&format!("truncate:{}", file.display())]);
    assert_eq!(answers["truncate"], "ok", "{answers:?}");
    assert_ne!(root.state(), before);
}
