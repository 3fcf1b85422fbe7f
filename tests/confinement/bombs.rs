//! What a session can take of the kernel's without memory of its own, what bounds it, and a neighbour who still gets
//! the same.
//!
//! Each takes until it is told no, and says how many it had and the error; each is bounded, and small enough for any host.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use super::blanks::listed;
use super::support::{Daemon, Master, Running, Setup, World, wait_until};

/// Takes by `take(n)` until an error or `most`, says so, and keeps what it has.
const TAKE: &str = r#"
import ctypes, errno, os, resource, signal, sys, time
c = ctypes.CDLL(None, use_errno=True)
def checked(result):
    if result < 0: raise OSError(ctypes.get_errno(), "")
    return result
def take_all(take, most):
    held, why = 0, 0
    try:
        while held < most: take(held); held += 1
    except OSError as e: why = e.errno
    print("held", held, errno.errorcode.get(why, why), flush=True)
"#;

/// A session that takes, and what it said: how many, and the error.
fn takes(master: &Master, what: &str) -> (Running, u64, String) {
    let mut running = master.ssh().seconds(120).start("exec python3 -I -u -");
    let mut stdin = running.take_stdin();
    let program = format!("{TAKE}{what}\ntime.sleep(100)\n");
    stdin.write_all(program.as_bytes()).unwrap();
    drop(stdin);
    let said = wait_until(Duration::from_secs(60), || running.output().ends_with('\n'));
    assert!(said, "{}{}", running.output(), running.errors());
    let output = running.output();
    let words: Vec<&str> = output.split_whitespace().collect();
    let ["held", count, why] = words[..] else {
        panic!("{output}{}", running.errors());
    };
    let (count, why) = (count.parse().unwrap(), why.to_owned());
    (running, count, why)
}

fn sysctl(name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/sys/{name}")).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// One takes all there is of something; a neighbour, who logs in then, gets as much.
#[track_caller]
fn each_has_its_own(setup: &Setup, what: &str, expected: impl Fn(u64, &str) -> bool) {
    each_has_its_own_in(&World::new(), setup, what, expected);
}

#[track_caller]
fn each_has_its_own_in(
    world: &World,
    setup: &Setup,
    what: &str,
    expected: impl Fn(u64, &str) -> bool,
) {
    let mut daemon = Daemon::start(world, setup);
    let one = daemon.ssh().master();
    let (_taking, count, why) = takes(&one, what);
    assert!(expected(count, &why), "{count} {why}");
    let two = daemon.ssh().master();
    let (_beside, theirs, why) = takes(&two, what);
    assert!(expected(theirs, &why), "a neighbour: {theirs} {why}");
    daemon.ssh().run("true").expect_code(0);
    assert!(!daemon.has_ended(), "{}", daemon.stderr());
}

#[test]
fn inotify_instances_are_the_accounts_own() {
    let most = sysctl("fs/inotify/max_user_instances");
    each_has_its_own(
        &Setup::closed(),
        "resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)\n\
         take_all(lambda n: checked(c.inotify_init1(0)), 100000)",
        |count, why| why == "EMFILE" && count <= most && count > 50,
    );
}

#[test]
fn system_v_ipc_is_the_sandboxs_own() {
    let world = World::new();
    // Of the sandboxes' uids: others make segments, too (sysvipc(7), /proc/sysvipc/shm: the eighth is the uid).
    let among_the_hosts = || {
        let table = fs::read_to_string("/proc/sysvipc/shm").unwrap();
        let uids = table.lines().skip(1).map(|line| {
            let uid = line.split_whitespace().nth(7).expect("a uid");
            uid.parse::<u32>().unwrap()
        });
        let ours = world.first_uid..world.first_uid + 256;
        uids.filter(|uid| ours.contains(uid)).count()
    };
    let segments = sysctl("kernel/shmmni");
    // SEMMSL, SEMMNS, SEMOPM and SEMMNI (proc_sys_kernel(5)).
    let arrays = fs::read_to_string("/proc/sys/kernel/sem").unwrap();
    let arrays: u64 = arrays.split_whitespace().nth(3).unwrap().parse().unwrap();
    // IPC_PRIVATE; untouched pages are no memory yet.
    each_has_its_own_in(
        &world,
        &Setup::closed(),
        "take_all(lambda n: checked(c.shmget(0, 4096, 0o1600)), 100000)",
        |count, why| why == "ENOSPC" && count == segments,
    );
    each_has_its_own_in(
        &world,
        &Setup::closed(),
        "take_all(lambda n: checked(c.semget(0, 1, 0o1600)), 100000)",
        |count, why| why == "ENOSPC" && count == arrays,
    );
    assert_eq!(among_the_hosts(), 0, "segments among the host's");
}

/// Landlock takes a queue for a file that no rule names. Where it leaves paths alone, bytes of queues are counted.
#[test]
fn message_queues_are_refused_or_the_accounts_own() {
    let most = sysctl("fs/mqueue/queues_max");
    let take = "take_all(lambda n: checked(c.mq_open(b'/q%d' % n, os.O_CREAT | os.O_RDWR, 0o600, None)), 1000)";
    each_has_its_own(&Setup::closed(), take, |count, why| {
        count == 0 && why == "EACCES"
    });
    each_has_its_own(&nesting(), take, |count, why| {
        why == "EMFILE" && count > 0 && count <= most
    });
}

/// Fills one end of each; 256 descriptors hold 64 KiB a pipe, less once the account has its 64 MiB.
#[test]
fn pipes_are_bounded_by_the_account_and_its_descriptors() {
    let soft = sysctl("fs/pipe-user-pages-soft") * 4096;
    each_has_its_own(
        &of("open_files: 256"),
        "total = 0\n\
         def fill(n):\n\
         \x20   global total\n\
         \x20   r, w = os.pipe2(os.O_NONBLOCK)\n\
         \x20   try:\n\
         \x20       while True: total += os.write(w, bytes(1 << 16))\n\
         \x20   except BlockingIOError: pass\n\
         take_all(fill, 100000)",
        |count, why| why == "EMFILE" && count <= 128 && count * 65536 <= soft,
    );
    // One account's pipes are small where it has too many of them: the kernel says so, not the bound.
    each_has_its_own(
        &Setup::closed(),
        "pipes = []\n\
         def grow(n):\n\
         \x20   pipes.append(os.pipe())\n\
         \x20   checked(c.fcntl(pipes[-1][1], 1031, 1 << 20))\n\
         take_all(grow, 400)",
        |count, why| why == "EPERM" && count <= soft >> 20,
    );
}

fn nesting() -> Setup {
    Setup {
        login: "    sandbox: nesting\n".to_owned(),
        top: "sandboxes: {nesting: {allow: {user_namespaces: true}}}\n".to_owned(),
        ..Setup::closed()
    }
}

fn of(bounds: &str) -> Setup {
    Setup {
        login: format!("    sandbox: {{bounds: {{{bounds}}}}}\n"),
        ..Setup::closed()
    }
}

#[test]
fn socket_buffers_are_bounded_by_descriptors() {
    each_has_its_own(
        &of("open_files: 256"),
        "import socket\n\
         held = []\n\
         def fill(n):\n\
         \x20   held.append(socket.socketpair())\n\
         \x20   held[-1][0].setblocking(False)\n\
         \x20   try:\n\
         \x20       while True: held[-1][0].send(bytes(4096))\n\
         \x20   except BlockingIOError: pass\n\
         take_all(fill, 100000)",
        |count, why| why == "EMFILE" && (100..=128).contains(&count),
    );
}

#[test]
fn queued_signals_and_timers_are_the_accounts_own() {
    let most = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_SIGPENDING);
    let (_, most) = most.unwrap();
    each_has_its_own(
        &Setup::closed(),
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])\n\
         take_all(lambda n: checked(c.sigqueue(os.getpid(), signal.SIGRTMIN, None)), 1000000)",
        |count, why| why == "EAGAIN" && count <= most,
    );
    each_has_its_own(
        &Setup::closed(),
        "one = ctypes.c_void_p()\n\
         take_all(lambda n: checked(c.timer_create(1, None, ctypes.byref(one))), 1000000)",
        |count, why| why == "EAGAIN" && count <= most,
    );
}

/// Each level is made from the one before, by its root.
#[test]
fn user_namespaces_nest_to_the_kernels_depth() {
    each_has_its_own(
        &nesting(),
        "ids = os.getuid(), os.getgid()\n\
         def deeper(n):\n\
         \x20   global ids\n\
         \x20   checked(c.unshare(0x10000000))\n\
         \x20   for name, text in (('setgroups', 'deny'), ('uid_map', '0 %d 1' % ids[0]), ('gid_map', '0 %d 1' % ids[1])):\n\
         \x20       with open('/proc/self/' + name, 'w') as file: file.write(text)\n\
         \x20   ids = 0, 0\n\
         take_all(deeper, 100)",
        |count, why| matches!(why, "ENOSPC" | "EUSERS") && count == 33,
    );
}

/// The host's table of open files is for everybody: what one sandbox can have of it is its processes times each one's.
#[test]
fn open_files_of_all_processes_are_bounded() {
    let world = World::new();
    let daemon = Daemon::start(&world, &of("open_files: 128, processes: 24"));
    // Of this daemon's sessions alone: other programs open files, too.
    let open = || -> u64 {
        let processes = daemon.session_processes();
        let each = processes.iter().filter_map(|process| {
            let entries = fs::read_dir(format!("/proc/{}/fd", process.pid)).ok()?;
            u64::try_from(entries.count()).ok()
        });
        each.sum()
    };
    let one = daemon.ssh().master();
    let two = daemon.ssh().master();
    let before = open();
    let (_taking, count, why) = takes(
        &one,
        "def child(n):\n\
         \x20   if os.fork(): return\n\
         \x20   try:\n\
         \x20       while True: os.open('/dev/null', 0)\n\
         \x20   except OSError: time.sleep(100)\n\
         take_all(child, 1000)",
    );
    assert!(why == "EAGAIN" && count < 24, "{count} {why}");
    let filled = wait_until(Duration::from_secs(10), || open() > before + count * 100);
    assert!(filled, "{before} and now {}", open());
    two.ssh().run("cat /etc/passwd").expect_code(0);
    daemon.ssh().run("true").expect_code(0);
}

/// Sandboxes are counted; who has one keeps it, and a place that is free again is given.
#[test]
fn sandboxes_of_one_login_are_counted() {
    let world = World::new();
    let setup = Setup {
        limits: "sandboxes: 2".to_owned(),
        top: "pool: 0\n".to_owned(),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup);
    // One was made at the start to see that it can be, and counts until it is cleared away.
    let cleared = wait_until(Duration::from_secs(10), || listed(&daemon) == 0);
    assert!(cleared, "{:?}", daemon.processes());
    let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
    for master in [&one, &two] {
        master.ssh().run("true").expect_code(0);
    }
    let third = daemon.ssh().run("true");
    assert_ne!(third.code(), 0, "{third}");
    for master in [&one, &two] {
        master.ssh().run("true").expect_code(0);
    }
    drop(two);
    let free = wait_until(Duration::from_secs(10), || {
        daemon.ssh().run("true").code() == 0
    });
    assert!(free, "a sandbox that has ended still counts");
}
