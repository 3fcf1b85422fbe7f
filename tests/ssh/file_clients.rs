//! Files: other people's clients, which ask in their own ways.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::files::{local, noise, same_trees, sftp, slow};
use super::support::{Daemon, Finished, Setup, World, run, sandgate, venv};

/// A shell script on the gate's host; `$1` is the world's directory, `$2` what calls `ssh`.
fn script(daemon: &Daemon<'_>, text: &str) -> Finished {
    let ssh = daemon.ssh().client("/usr/bin/ssh");
    // Without `nsenter` and its option: the script is in the namespace already.
    let words: Vec<_> = ssh
        .get_args()
        .skip(1)
        .map(|w| w.to_str().unwrap())
        .collect();
    let mut command = daemon.world.on_host("/bin/bash");
    command.args(["-euc", text, "bash"]);
    command.arg(&daemon.world.dir).arg(words.join(" "));
    command.env("LC_ALL", "C");
    run(&mut command, 120)
}

/// A directory that all sandboxes share, for clients that open one connection after the other; every
/// sandbox has the same account.
pub(super) struct Shared(pub(super) PathBuf);

impl Shared {
    pub(super) fn new(world: &World) -> (Self, Setup) {
        let path = PathBuf::from(format!("/srv/{}-shared", world.id));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let policy = super::support::policy_with("process: {run_as_user: '65123'}\n").replace(
            "read_write: [",
            &format!("read_write: [{}, ", path.display()),
        );
        let setup = Setup {
            policy,
            ..Setup::closed()
        };
        (Self(path), setup)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A tree with names that are not UTF-8, an empty file and a large one.
fn tree(world: &World) -> PathBuf {
    let tree = local(world, "tree");
    fs::create_dir(tree.join("deep")).unwrap();
    for (name, content) in [
        (&b"plain"[..], &noise(3_000_000)[..]),
        (b"empty", b""),
        (b"caf\xe9 \xff", b"bytes"),
        (b"deep/with 'quotes\"", b"quoted"),
    ] {
        fs::write(tree.join(OsStr::from_bytes(name)), content).unwrap();
    }
    tree
}

fn python(daemon: &Daemon<'_>, name: &str) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let python = venv().join("bin/python");
    let mut command = daemon.world.on_host(python.to_str().unwrap());
    command.arg("-I").arg(program.join(name));
    run(command.arg(daemon.world.dir.join("client")), 60).expect_code(0);
}

#[test]
fn asyncssh_uses_every_extension() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    python(&daemon, "sftp_asyncssh.py");
}

#[test]
fn paramiko_reads_writes_and_is_refused() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    python(&daemon, "sftp_paramiko.py");
}

#[test]
fn sshfs_is_a_file_system() {
    let world = World::new();
    let (shared, setup) = Shared::new(&world);
    let daemon = Daemon::start(&world, &setup);
    local(&world, "mnt");
    let lines = r#"trap 'cd /; fusermount3 -uz "$1/mnt"' EXIT
        sshfs -o ssh_command="$2" 127.0.0.1:SHARED "$1/mnt"
        cd "$1/mnt"
        echo one > one
        cp one $'caf\xe9 \xff'
        ls | od -An -c
        ln -s /etc/hostname absolute; ln -s nowhere dangling; ln -s loop loop
        readlink dangling loop
        ! cat loop 2>&1
        ! cat dangling 2>&1
        echo two > two && mv two one && cat one
        ln one hard && cat hard
        dd if=/dev/zero of=sparse bs=1 count=1 seek=5G conv=fsync status=none
        truncate -s 4294967297 sparse; stat -c %s sparse
        printf x | dd of=one bs=1 seek=1 conv=notrunc,fsync status=none; cat one
        chmod 640 one; touch -d @86400 one; stat -c '%A %Y' one
        df --output=target . | tail -1
        mkdir shut; chmod 0 shut; ! ls shut 2>&1
        mkdir d; rmdir d; rm hard"#;
    let used = script(
        &daemon,
        &lines.replace("SHARED", shared.0.to_str().unwrap()),
    );
    let used = used.expect_code(0).out();
    let rest = used.split_once('\n').unwrap().1;
    assert!(used.contains("351") && used.contains("377"), "{used}");
    let expected = [
        "nowhere\nloop\n",
        "cat: loop: Too many levels of symbolic links\n",
        "cat: dangling: No such file or directory\n",
        "two\ntwo\n4294967297\ntxo\n-rw-r----- 86400\n",
        "/mnt\n",
        "Permission denied\n",
    ];
    let mut at = 0;
    for part in expected {
        let found = rest[at..].find(part);
        at += found.unwrap_or_else(|| panic!("{part:?}: {rest}")) + part.len();
    }
    assert_eq!(fs::read(shared.0.join("one")).unwrap(), b"txo\n");
    // Its hole is one here, too.
    let sparse = fs::metadata(shared.0.join("sparse")).unwrap();
    assert_eq!(sparse.len(), (1 << 32) + 1);
    assert!(sparse.blocks() < 1000, "{} blocks", sparse.blocks());
    // sshfs itself shows no absolute links (contain_symlinks), but makes them.
    let link = fs::read_link(shared.0.join("absolute")).unwrap();
    assert_eq!(link, Path::new("/etc/hostname"));
}

#[test]
fn lftp_mirrors_and_resumes() {
    let world = World::new();
    let (shared, setup) = Shared::new(&world);
    let daemon = Daemon::start(&world, &setup);
    let tree = tree(&world);
    symlink("no/such", tree.join("dangling")).unwrap();
    fs::write(world.dir.join("part"), &noise(3_000_000)[..1_234_567]).unwrap();
    let lines = r#"cd "$1"; HOME="$1" lftp -c "
        set cmd:fail-exit true; set net:max-retries 1; set net:timeout 20
        set sftp:connect-program \"$2\"
        open -u sandbox, sftp://127.0.0.1SHARED
        mirror -R tree far
        mirror far back
        put part -o resumed
        put -c tree/plain -o resumed
        get -c resumed -o part
        chmod 600 far/empty
        mv far/empty far/moved
        cls -l far""#;
    let used = script(
        &daemon,
        &lines.replace("SHARED", shared.0.to_str().unwrap()),
    );
    assert!(used.expect_code(0).out().contains("-rw-------"));
    same_trees(&tree, &world.dir.join("back"));
    let whole = fs::read(tree.join("plain")).unwrap();
    assert!(fs::read(world.dir.join("part")).unwrap() == whole);
    assert!(fs::read(shared.0.join("resumed")).unwrap() == whole);
}

#[test]
fn rclone_copies_and_checks() {
    let world = World::new();
    let (shared, setup) = Shared::new(&world);
    let daemon = Daemon::start(&world, &setup);
    let tree = tree(&world);
    let lines = r#"cd "$1"; export HOME="$1"
        export RCLONE_CONFIG_FAR_TYPE=sftp RCLONE_CONFIG_FAR_HOST=127.0.0.1 RCLONE_CONFIG_FAR_PORT=2222
        export RCLONE_CONFIG_FAR_USER=sandbox RCLONE_CONFIG_FAR_KEY_FILE="$1/client"
        rclone copy tree far:one
        rclone check tree far:one
        rclone copy far:one back
        rclone moveto far:one/plain far:one/moved
        rclone lsl far:one
        rclone about far:
        rclone purge far:one
        ! rclone ls far:one 2>&1"#;
    let at = format!("far:{}/", shared.0.display());
    let used = script(&daemon, &lines.replace("far:one", &(at + "one"))).expect_code(0);
    assert!(used.out().contains(" moved"), "{used}");
    assert!(used.out().contains("directory not found"), "{used}");
    same_trees(&tree, &world.dir.join("back"));
}

#[test]
fn openssh_own_server_runs_where_the_operator_says_so() {
    const SERVER: &str = "/usr/lib/openssh/sftp-server";
    let world = World::new();
    let setup = Setup {
        login: format!("    sftp: {SERVER}\n"),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup);
    let here = local(&world, "local");
    fs::write(here.join("a"), "contents").unwrap();
    let master = daemon.ssh().master();
    sftp(&master, &here, "put a\nrename a b\nget b\n").expect_code(0);
    assert_eq!(fs::read(here.join("b")).unwrap(), b"contents");
    sftp(&master, &here, "get /etc/shadow\n").expect_code(1);
    let (_running, server) = slow(&daemon, &daemon.ssh());
    let program = fs::read_link(format!("/proc/{server}/exe")).unwrap();
    assert_eq!(program, Path::new(SERVER));
    let restricted = super::support::status(server, "Seccomp").unwrap();
    assert_eq!(restricted, "2");
}

#[test]
fn a_server_that_is_not_there_fails_its_channel_and_check_warns_of_it() {
    let world = World::new();
    let setup = Setup {
        login: "    sftp: /usr/lib/no-such-server\n".to_owned(),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup);
    let here = local(&world, "local");
    let master = daemon.ssh().master();
    let refused = sftp(&master, &here, "pwd\n").expect_code(255);
    assert!(refused.err().contains("could not be started"), "{refused}");
    master.ssh().run("true").expect_code(0);
    let config = world.dir.join("sandgate.yaml");
    let arguments = ["check", "--config", config.to_str().unwrap()];
    let checked = run(&mut sandgate(&world, &setup, &arguments), 20).expect_code(0);
    let said = checked.out() + &checked.err();
    assert!(said.contains("/usr/lib/no-such-server"), "{said}");
}
