//! Files: the distribution's `sftp`, `scp` and `rsync`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::support::{
    Daemon, Finished, Master, Process, Running, Setup, Ssh, World, run, run_with_input, status,
    wait_until,
};

/// `sftp -b -` over the shared connection, in the local directory `here`.
pub(super) fn sftp(master: &Master, here: &Path, batch: impl AsRef<[u8]>) -> Finished {
    let mut command = master.ssh().client("/usr/bin/sftp");
    command.args(["-b", "-", "127.0.0.1"]).current_dir(here);
    run_with_input(&mut command, batch.as_ref().to_vec(), 900)
}

/// `scp ARGUMENTS`; the host is `h:`.
pub(super) fn scp<A: AsRef<OsStr>>(master: &Master, arguments: &[A]) -> Finished {
    let mut command = master.ssh().client("/usr/bin/scp");
    command.args(["-o", "HostName=127.0.0.1"]).args(arguments);
    run(&mut command, 120)
}

fn rsync<A: AsRef<OsStr>>(master: &Master, arguments: &[A]) -> Finished {
    let ssh = master.ssh().client("/usr/bin/ssh");
    let words = std::iter::once(ssh.get_program()).chain(ssh.get_args());
    let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    let shell = format!("{} -oHostName=127.0.0.1", words.join(" "));
    let mut command = Command::new("/usr/bin/rsync");
    command.args(["-e", &shell]).args(arguments);
    run(&mut command, 120)
}

/// Bytes that no two places have in common.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(super) fn local(world: &World, name: &str) -> PathBuf {
    let path = world.dir.join(name);
    fs::create_dir(&path).unwrap();
    path
}

#[track_caller]
pub(super) fn same_trees(one: &Path, other: &Path) {
    let mut command = Command::new("/usr/bin/diff");
    command.args(["-r", "--no-dereference"]).arg(one).arg(other);
    run(&mut command, 60).expect_code(0);
}

#[test]
fn fifty_megabytes_go_up_and_down_unchanged() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let here = local(&world, "local");
    let bytes = noise(50_000_001);
    fs::write(here.join("up"), &bytes).unwrap();
    let (up, down) = (here.join("up"), here.join("down"));
    let check = |name: &str, finished: Vec<Finished>| {
        for finished in finished {
            finished.expect_code(0);
        }
        assert!(fs::read(&down).unwrap() == bytes, "{name}");
        fs::remove_file(&down).unwrap();
        master.ssh().run("rm far").expect_code(0);
    };
    let (up, to) = (up.to_str().unwrap(), down.to_str().unwrap());
    check(
        "sftp",
        vec![sftp(&master, &here, "put up far\nget far down\n")],
    );
    check(
        "scp",
        vec![scp(&master, &[up, "h:far"]), scp(&master, &["h:far", to])],
    );
    check(
        "scp -O",
        vec![
            scp(&master, &["-O", up, "h:far"]),
            scp(&master, &["-O", "h:far", to]),
        ],
    );
    check(
        "rsync",
        vec![
            rsync(&master, &["-W", up, "h:far"]),
            rsync(&master, &["-W", "h:far", to]),
        ],
    );
}

#[test]
fn names_are_bytes_and_links_are_links() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let here = local(&world, "local");
    let tree = local(&world, "local/tree");
    let longest = [b'\xfe'; 255];
    for name in [
        &b"\xff\xfe\x80"[..],
        b"caf\xe9",
        b"new\nline",
        b"-dash",
        b"*?[",
        b" ' \" \\ ",
        &longest,
    ] {
        fs::write(tree.join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::create_dir(tree.join(OsStr::from_bytes(b"d\xff"))).unwrap();
    fs::write(tree.join(OsStr::from_bytes(b"d\xff/f\xff")), "deep").unwrap();
    sftp(&master, &here, "put -r tree one\nget -r one back1\n").expect_code(0);
    same_trees(&tree, &here.join("back1"));
    let (tree_, back) = (tree.to_str().unwrap(), here.join("back2"));
    scp(&master, &["-r", tree_, "h:two"]).expect_code(0);
    scp(&master, &["-r", "h:two", back.to_str().unwrap()]).expect_code(0);
    same_trees(&tree, &back);
    // rsync keeps links; sftp and scp follow them.
    symlink("no/such\u{fffd}", tree.join("dangling")).unwrap();
    symlink("-dash", tree.join("good")).unwrap();
    let from = format!("{tree_}/");
    let back = here.join("back3");
    rsync(&master, &["-a", &from, "h:three"]).expect_code(0);
    rsync(&master, &["-a", "h:three/", back.to_str().unwrap()]).expect_code(0);
    same_trees(&tree, &back);
    // One name at a time, as typed; and what the sandbox's own programs find.
    let one = sftp(
        &master,
        &here,
        b"get one/caf\xe9 typed\nln -s \"tar get\xff\" one/link\nls -1 one/link\n",
    )
    .expect_code(0);
    assert!(one.out().contains("one/link"), "{one}");
    assert_eq!(fs::read(here.join("typed")).unwrap(), b"caf\xe9");
    let read = master.ssh().run("readlink -n one/link").expect_code(0);
    assert_eq!(read.stdout, b"tar get\xff");
    let listed = sftp(&master, &here, "ls -l one/link\n").expect_code(0);
    assert!(listed.out().contains("lrwxrwxrwx"), "{listed}");
}

#[test]
fn two_thousand_small_files_go_up_and_down() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let here = local(&world, "local");
    for directory in 0..20 {
        let path = here.join(format!("tree/{directory}"));
        fs::create_dir_all(&path).unwrap();
        for file in 0..100 {
            fs::write(path.join(format!("f{file}")), format!("{directory}/{file}")).unwrap();
        }
    }
    sftp(&master, &here, "put -r tree far\nget -r far back\n").expect_code(0);
    same_trees(&here.join("tree"), &here.join("back"));
    let (tree, back) = (here.join("tree"), here.join("again"));
    scp(&master, &["-rp", tree.to_str().unwrap(), "h:more"]).expect_code(0);
    scp(&master, &["-rp", "h:more", back.to_str().unwrap()]).expect_code(0);
    same_trees(&tree, &back);
    let counted = master.ssh().run("find far more -type f | wc -l");
    assert_eq!(counted.expect_code(0).out(), "4000\n");
}

#[test]
fn files_are_renamed_linked_copied_changed_and_removed() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let here = local(&world, "local");
    fs::write(here.join("a"), "first").unwrap();
    fs::write(here.join("b"), "second").unwrap();
    fs::set_permissions(here.join("a"), fs::Permissions::from_mode(0o640)).unwrap();
    let batch = "put -p a\nput b\nrename a b\ncp b c\nln b hard\nchmod 4751 c\n\
        mkdir d\nmkdir d/e\nrmdir d/e\nput b d/gone\nrm d/gone\nrmdir d\ndf -h\npwd\nls -ln\n";
    let session = sftp(&master, &here, batch).expect_code(0);
    for seen in [
        "Avail",
        "Remote working directory: /sandbox",
        "-rwsr-x--x",
        "-rw-r-----",
    ] {
        assert!(session.out().contains(seen), "{seen}: {session}");
    }
    let line = "cat b c hard; stat -c ' %h %a' b c; stat -c %Y b; ls; umask";
    let inside = master.ssh().run(line).expect_code(0);
    let modified = fs::metadata(here.join("a")).unwrap().mtime();
    let expected = format!("firstfirstfirst 2 640\n 1 4751\n{modified}\nb\nc\nhard\n0022\n");
    assert_eq!(inside.out(), expected);
}

#[test]
fn a_transfer_that_was_cut_is_resumed() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let here = local(&world, "local");
    let bytes = noise(3_000_000);
    fs::write(here.join("whole"), &bytes).unwrap();
    fs::write(here.join("part"), &bytes[..1_234_567]).unwrap();
    fs::copy(here.join("part"), here.join("down")).unwrap();
    let batch = "put part far\nreput whole far\nreget far down\n";
    sftp(&master, &here, batch).expect_code(0);
    assert!(fs::read(here.join("down")).unwrap() == bytes);
    let far = master.ssh().run("cat far").expect_code(0);
    assert!(far.stdout == bytes);
}

#[test]
fn what_fails_says_how() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let here = local(&world, "local");
    fs::write(here.join("a"), "").unwrap();
    master
        .ssh()
        .run("mkdir shut; touch shut/f file; chmod 0 shut/f; chmod 500 shut; mkdir full; touch full/x")
        .expect_code(0);
    for (line, reason) in [
        ("get missing", "not found"),
        ("rm missing", "No such file"),
        ("get shut/f", "Permission denied"),
        ("put a shut/new", "Permission denied"),
        ("get /etc/shadow", "not found"),
        ("ls /root", "not found"),
        ("rmdir full", "Failure"),
        ("mkdir full", "Failure"),
        ("cd file", "not a directory"),
    ] {
        let session = sftp(&master, &here, format!("{line}\n")).expect_code(1);
        assert!(session.err().contains(reason), "{line}: {session}");
    }
    // The connection goes on after each of them.
    let all = sftp(&master, &here, "-get missing\n-rm missing\nput a\nls a\n");
    assert!(all.expect_code(0).out().contains("\na"));
}

#[test]
fn a_read_only_path_refuses_writing() {
    let world = World::new();
    let (fixed, open) = (
        PathBuf::from(format!("/srv/{}-ro", world.id)),
        PathBuf::from(format!("/srv/{}-rw", world.id)),
    );
    for path in [&fixed, &open] {
        fs::create_dir_all(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(path.join("f"), "contents").unwrap();
        fs::set_permissions(path.join("f"), fs::Permissions::from_mode(0o666)).unwrap();
    }
    let policy = super::support::policy_with("")
        .replace(
            "read_only: [",
            &format!("read_only: [{}, ", fixed.display()),
        )
        .replace(
            "read_write: [",
            &format!("read_write: [{}, ", open.display()),
        );
    let daemon = Daemon::start(
        &world,
        &Setup {
            policy,
            ..Setup::closed()
        },
    );
    let master = daemon.ssh().master();
    let here = local(&world, "local");
    fs::write(here.join("a"), "changed").unwrap();
    let lines = |at: &Path| {
        let at = at.display();
        [
            format!("put a {at}/new"),
            format!("rename {at}/f {at}/g"),
            format!("ln -s x {at}/link"),
            format!("mkdir {at}/d"),
            format!("put a {at}/f"),
        ]
    };
    for line in lines(&fixed) {
        let session = sftp(&master, &here, format!("{line}\n"));
        assert_eq!(session.code(), 1, "{line}: {session}");
    }
    let get = format!("get {}/f back\n", fixed.display());
    sftp(&master, &here, get).expect_code(0);
    assert_eq!(fs::read(here.join("back")).unwrap(), b"contents");
    let names: Vec<_> = fs::read_dir(&fixed).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    // The control: where the policy allows it, all of it is done.
    for line in lines(&open) {
        sftp(&master, &here, format!("{line}\n")).expect_code(0);
    }
    assert_eq!(fs::read(open.join("g")).unwrap(), b"contents");
    assert_eq!(fs::read(open.join("f")).unwrap(), b"changed");
    fs::remove_dir_all(fixed).unwrap();
    fs::remove_dir_all(open).unwrap();
}

#[test]
fn it_needs_no_program_in_the_sandbox() {
    let world = World::new();
    let policy = "version: 1\nfilesystem_policy: {include_workdir: true, read_only: [], read_write: [/tmp]}\n";
    let daemon = Daemon::start(
        &world,
        &Setup {
            policy: policy.to_owned(),
            ..Setup::closed()
        },
    );
    let master = daemon.ssh().master();
    assert_eq!(master.ssh().run("true").code(), 255, "there is no shell");
    let here = local(&world, "local");
    fs::write(here.join("a"), "contents").unwrap();
    sftp(&master, &here, "put a\nget a b\n").expect_code(0);
    assert_eq!(fs::read(here.join("b")).unwrap(), b"contents");
}

/// A transfer that would take a quarter of an hour, and the server's pid.
pub(super) fn slow(daemon: &Daemon<'_>, ssh: &Ssh) -> (Running, u32) {
    let large = fs::File::create(daemon.world.dir.join("large")).unwrap();
    large.set_len(1 << 30).unwrap();
    let mut command = ssh.client("/usr/bin/sftp");
    // In Kbit/s.
    command.args(["-l", "8000", "-b", "-", "127.0.0.1"]);
    command.current_dir(&daemon.world.dir);
    let mut running = Running::start(&mut command, Duration::from_secs(60));
    let mut input = running.take_stdin();
    std::io::Write::write_all(&mut input, b"put large\n").unwrap();
    let mut server = 0;
    let up = wait_until(Duration::from_secs(10), || {
        server = servers(daemon).first().map_or(0, |process| process.pid);
        open_files(server)
            .iter()
            .any(|path| path.ends_with("large"))
    });
    assert!(up, "no transfer: {:?}", daemon.session_processes());
    (running, server)
}

fn servers(daemon: &Daemon<'_>) -> Vec<Process> {
    let mut found = daemon.session_processes();
    found.retain(|process| process.name == "sftp-server");
    found
}

fn open_files(pid: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter();
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .collect()
}

#[track_caller]
pub(super) fn nothing_serves(daemon: &Daemon<'_>) {
    let gone = wait_until(Duration::from_secs(10), || servers(daemon).is_empty());
    assert!(gone, "left: {:?}", servers(daemon));
}

#[test]
fn the_server_is_confined_as_any_program_is_and_ends_with_its_connection() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let (mut running, server) = slow(&daemon, &daemon.ssh());
    let field = |name| status(server, name).unwrap();
    assert_eq!(field("Name"), "sftp-server");
    assert_eq!(
        (field("Seccomp"), field("NoNewPrivs")),
        ("2".into(), "1".into())
    );
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("Groups"), "");
    assert_eq!(field("Umask"), "0022");
    let uid: u32 = field("Uid").split('\t').next().unwrap().parse().unwrap();
    assert!(uid > world.first_uid, "{uid}");
    // Its three streams, copies of two of them, the file that is written.
    let open = open_files(server);
    assert_eq!(open.len(), 6, "{open:?}");
    for path in &open {
        let pipe = path.to_str().unwrap().starts_with("pipe:");
        assert!(pipe || path.ends_with("large"), "{open:?}");
    }
    let (own, its) = (
        fs::read_link("/proc/self/ns/net").unwrap(),
        fs::read_link(format!("/proc/{server}/ns/net")).unwrap(),
    );
    assert_ne!(own, its);
    running.kill();
    nothing_serves(&daemon);
}

/// OpenSSH's client may learn of its helper's death just before it goes to sleep, and then says so when
/// something wakes it: here the check, else the next packet, at the latest our keepalive. (Only to
/// OpenSSH's own server does it send `eow@openssh.com` at that point, which wakes it.)
#[test]
fn quitting_in_the_middle_ends_the_server_and_not_the_connection() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    for _ in 0..10 {
        let (mut running, _) = slow(&daemon, &master.ssh());
        running.kill();
        master.control("check").expect_code(0);
        nothing_serves(&daemon);
    }
    master.ssh().run("test -e large").expect_code(0);
}
