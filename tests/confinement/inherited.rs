//! What a daemon is started under, and what of it sandboxes have.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::support::{Daemon, Setup, World, behind, run, wait_until};

/// Whether this root may be spared: it takes CAP_SYS_RESOURCE, which containers seldom have.
fn may_be_spared() -> bool {
    let spared = ["-n", "-500", "--", "/bin/true"];
    run(Command::new("/usr/bin/choom").args(spared), 20).code() == 0
}

#[test]
fn what_spares_the_daemon_spares_no_session() {
    let world = World::new();
    // Who goes before others goes on doing so.
    let (own, theirs) = if may_be_spared() {
        ("-500", "0\n")
    } else {
        ("300", "300\n")
    };
    let words = ["/usr/bin/choom", "-n", own, "--"];
    let daemon = Daemon::start_by(&world, &Setup::closed(), |command| behind(&command, &words));
    let of = |pid: u32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    let look = "cat /proc/self/oom_score_adj; echo -500 > /proc/self/oom_score_adj; \
        cat /proc/self/oom_score_adj";
    let master = daemon.ssh().master();
    let said = master.ssh().run(look);
    assert_eq!(said.out(), theirs.repeat(2), "{said}");
    // The server of files is no program that was executed.
    let (batch, score) = (world.dir.join("batch"), world.dir.join("score"));
    fs::write(&batch, "get /proc/self/oom_score_adj score\n").unwrap();
    let mut sftp = daemon.ssh().client("/usr/bin/sftp");
    sftp.arg("-b").arg(&batch).arg("127.0.0.1");
    run(sftp.current_dir(&world.dir), 20).expect_code(0);
    assert_eq!(fs::read_to_string(score).unwrap(), theirs);
    // Others may have just been begun.
    let home = master.ssh().run("readlink /proc/self/ns/pid").out();
    let processes = daemon.processes();
    let mut inits = processes.iter().filter(|process| process.name == "sg-init");
    let init = inits.find(|init| {
        let own = fs::read_link(format!("/proc/{}/ns/pid", init.pid));
        own.is_ok_and(|own| own.to_str() == Some(home.trim_end()))
    });
    assert_eq!(of(init.expect("the master's").pid), theirs);
    for pid in [daemon.id(), daemon.monitor(), daemon.gate()] {
        assert_eq!(of(pid), format!("{own}\n"));
    }
}

/// A host on which whoever wants to run something from memory has to say so, and is refused.
#[test]
fn a_host_that_seals_all_memory_files_is_served() {
    let world = World::new();
    let script = "echo 2 > /proc/sys/vm/memfd_noexec && exec \"$@\"";
    let sealed = [
        "/usr/bin/unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "/bin/sh",
        "-c",
        script,
        "sh",
    ];
    let mut daemon = Daemon::start_by(&world, &Setup::closed(), |command| {
        behind(&command, &sealed)
    });
    let said = daemon.ssh().run("cat /proc/sys/vm/memfd_noexec");
    assert_eq!(said.out(), "2\n", "{said}");
    // unshare(1) passes no signal on.
    fs::write(world.cgroup.join("cgroup.kill"), "1").unwrap();
    let ended = wait_until(Duration::from_secs(10), || daemon.has_ended());
    assert!(ended, "it outlives its group");
}

/// A session's process has all the monitor's descriptors until it is its program's: its own bound is not used up by them.
#[test]
fn a_sessions_bound_on_open_files_leaves_room_for_many_sandboxes() {
    let world = World::new();
    let daemon = Daemon::start(
        &world,
        &Setup {
            login: "    sandbox: {bounds: {open_files: 32}}\n".to_owned(),
            ..Setup::closed()
        },
    );
    let held = || {
        let entries = fs::read_dir(format!("/proc/{}/fd", daemon.monitor()));
        entries.unwrap().count()
    };
    let masters: Vec<_> = (0..10).map(|_| daemon.ssh().master()).collect();
    for master in &masters {
        let said = master.ssh().run("ulimit -n").expect_code(0).out();
        assert_eq!(said, "32\n");
    }
    assert!(held() > 64, "the monitor holds no more than {}", held());
    let last = masters.last().expect("ten");
    last.ssh().option("-tt").run("true").expect_code(0);
    let mut sftp = last.ssh().client("/usr/bin/sftp");
    let said = run(sftp.args(["-b", "/dev/null", "127.0.0.1"]), 20);
    said.expect_code(0);
    let local = world.dir.join("local");
    let listen = "import socket; s = socket.socket(socket.AF_UNIX); s.bind(\"/tmp/there\"); s.listen(); \
                  print(\"listens\", flush=True); s.accept()[0].sendall(b\"hello\")";
    let listening = last
        .ssh()
        .start(format!("exec /usr/bin/python3 -I -c '{listen}'"));
    listening.expect_output("listens");
    let forward = last.ssh().option("-O").option("forward").option("-L");
    run(
        &mut forward
            .option(format!("{}:/tmp/there", local.display()))
            .command(),
        20,
    )
    .expect_code(0);
    let mut socat = Command::new("/usr/bin/socat");
    socat.args(["-u", &format!("UNIX-CONNECT:{}", local.display()), "-"]);
    assert_eq!(run(&mut socat, 20).out(), "hello");
}
