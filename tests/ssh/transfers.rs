//! Files: large ones, many of them, and transfers that are cut.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::files::{local, noise, nothing_serves, same_trees, scp, sftp};
use super::support::{Daemon, Running, Setup, World, pss_of, run, wait_until};

/// Where 32 bits end.
const EDGE: u64 = 1 << 32;

/// On each side of it.
const AROUND: usize = 6_000_000;

/// A file of 5 GiB that is a hole but for `noise` around the edge and at its end.
fn huge(path: &Path, length: u64) {
    let file = fs::File::create(path).unwrap();
    file.set_len(length).unwrap();
    let bytes = noise(2 * AROUND);
    file.write_all_at(&bytes, EDGE - AROUND as u64).unwrap();
    file.write_all_at(&bytes, (5 << 30) - bytes.len() as u64)
        .unwrap();
    file.set_len(length).unwrap();
}

#[track_caller]
fn same_around(one: &Path, other: &Path, at: u64) {
    let read = |path: &Path| {
        let mut bytes = vec![0; 2 * AROUND];
        let file = fs::File::open(path).unwrap();
        file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    };
    assert!(read(one) == read(other), "other bytes at {at}");
}

/// What lies before is a hole that both sides have already: the transfer is resumed just before the edge,
/// and goes on to the end from 10 MB before that.
#[test]
fn five_gigabytes_go_past_what_32_bits_count() {
    let world = World::new();
    let (shared, setup) = super::file_clients::Shared::new(&world);
    let daemon = Daemon::start(&world, &setup);
    let master = daemon.ssh().master();
    let here = local(&world, "local");
    let (up, far, down) = (here.join("up"), shared.0.join("far"), here.join("down"));
    let most = |length: u64| {
        huge(&up, length);
        for part in [&far, &down] {
            if !part.exists() {
                fs::File::create(part).unwrap();
            }
            fs::set_permissions(part, fs::Permissions::from_mode(0o666)).unwrap();
        }
    };
    let resume = |begin: u64| {
        for part in [&far, &down] {
            let file = fs::File::options().write(true).open(part).unwrap();
            file.set_len(begin).unwrap();
        }
        let path = far.display();
        let batch = format!("reput up {path}\nreget {path} down\nls -l {path}\n");
        sftp(&master, &here, batch).expect_code(0).out()
    };
    most(EDGE + AROUND as u64);
    let listed = resume(EDGE - AROUND as u64);
    assert!(
        listed.contains(&(EDGE + AROUND as u64).to_string()),
        "{listed}"
    );
    most(5 << 30);
    let listed = resume((5 << 30) - 2 * AROUND as u64);
    assert!(listed.contains(&(5_u64 << 30).to_string()), "{listed}");
    for (name, path) in [("up", &far), ("down", &down)] {
        assert_eq!(fs::metadata(path).unwrap().len(), 5 << 30, "{name}");
        same_around(&up, path, EDGE - AROUND as u64);
        same_around(&up, path, (5 << 30) - 2 * AROUND as u64);
        // The hole was not filled.
        assert!(fs::metadata(path).unwrap().blocks() < 200_000, "{name}");
    }
}

/// The most that a gate or a program that serves files may come to, however much passes, in KiB.
const ROOM: u64 = 100 * 1024;

/// A file of a little more than 5 GiB: in every 64 MiB a block of its own, so that what lands in a wrong
/// place is found, and between them holes, which cost the disk nothing and cross the wire as zeros.
fn whole(path: &Path) {
    const BLOCK: usize = 1 << 16;
    let file = fs::File::create(path).unwrap();
    for (number, block) in (0_u64..).zip(noise(81 * BLOCK).chunks(BLOCK)) {
        let at = (number << 26) + number * 7777;
        file.write_all_at(block, at).unwrap();
    }
    assert!(file.metadata().unwrap().len() > 5 << 30);
}

/// Runs a client to its end, and asks all the while how large everything is that serves it.
fn flat(daemon: &Daemon<'_>, client: &mut Command, server: &str) {
    let mut running = Running::start(client, Duration::from_secs(600));
    let mut seen = 0;
    while !running.has_ended() {
        for process in daemon.processes() {
            // One that has ended since has no size.
            let size = pss_of(process.pid).unwrap_or(0);
            assert!(size < ROOM, "{process:?} grew to {size} KiB");
            seen += usize::from(process.name == server);
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    assert!(seen > 4, "{server} was seen {seen} times");
    running.finish().expect_code(0);
}

/// One transfer after the other: there are ten gigabytes on the disk at the most.
#[test]
fn five_gigabytes_go_whole_and_serving_them_takes_no_room() {
    for (program, server) in [("sftp", "sftp-server"), ("scp", "scp")] {
        let world = World::new();
        let (shared, setup) = super::file_clients::Shared::new(&world);
        let daemon = Daemon::start(&world, &setup);
        let here = local(&world, "local");
        let (up, far, down) = (here.join("up"), shared.0.join("far"), here.join("down"));
        whole(&up);
        let remote = format!("127.0.0.1:{}", far.display());
        let batch = here.join("batch");
        for (arguments, line) in [
            (["up", &remote], format!("put up {}", far.display())),
            ([&remote, "down"], format!("get {} down", far.display())),
        ] {
            let mut client = daemon.ssh().client(&format!("/usr/bin/{program}"));
            client.current_dir(&here);
            if program == "sftp" {
                fs::write(&batch, line).unwrap();
                client.arg("-b").arg(&batch).arg("127.0.0.1");
            } else {
                client.arg("-O").args(arguments);
            }
            flat(&daemon, &mut client, server);
        }
        for copy in [&far, &down] {
            let mut compare = Command::new("/usr/bin/cmp");
            run(compare.arg(&up).arg(copy), 600).expect_code(0);
        }
    }
}

#[test]
fn twenty_thousand_small_files_go_up_and_down() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().seconds(120).master();
    let here = local(&world, "local");
    // Ten thousand in one directory, and as many in a hundred.
    fs::create_dir_all(here.join("tree/flat")).unwrap();
    for n in 0..10_000 {
        fs::write(here.join(format!("tree/flat/f{n}")), n.to_string()).unwrap();
    }
    for n in 0..100 {
        let path = here.join(format!("tree/d{n}"));
        fs::create_dir(&path).unwrap();
        for file in 0..100 {
            fs::write(path.join(format!("f{file}")), format!("{n}/{file}")).unwrap();
        }
    }
    sftp(&master, &here, "put -r tree far\n").expect_code(0);
    let listed = sftp(&master, &here, "ls -1 far/flat\n")
        .expect_code(0)
        .out();
    assert_eq!(listed.matches("far/flat/f").count(), 10_000);
    let counted = master.ssh().run("find far -type f | wc -l");
    assert_eq!(counted.expect_code(0).out(), "20000\n");
    sftp(&master, &here, "get -r far back\n").expect_code(0);
    same_trees(&here.join("tree"), &here.join("back"));
}

#[test]
fn what_was_cut_is_a_beginning_and_can_be_resumed() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let here = local(&world, "local");
    let bytes = noise(8_000_000);
    fs::write(here.join("whole"), &bytes).unwrap();
    let mut command = master.ssh().client("/usr/bin/sftp");
    // In Kbit/s: eight seconds.
    command.args(["-l", "8000", "-b", "-", "127.0.0.1"]);
    let mut putting = Running::start(command.current_dir(&here), Duration::from_secs(60));
    let mut input = putting.take_stdin();
    std::io::Write::write_all(&mut input, b"put whole far\n").unwrap();
    let size = || {
        let stat = master.ssh().run("stat -c %s far");
        stat.out().trim().parse::<usize>().unwrap_or(0)
    };
    assert!(wait_until(Duration::from_secs(20), || size() > 1_000_000));
    putting.kill();
    master.control("check").expect_code(0);
    nothing_serves(&daemon);
    let cut = size();
    assert!(cut < bytes.len(), "it was not cut: {cut}");
    let far = master.ssh().run("cat far").expect_code(0).stdout;
    // Requests travel side by side and were written in order: no hole, no garbage.
    assert!(bytes.starts_with(&far), "no beginning of it");
    sftp(&master, &here, "reput whole far\nget far back\n").expect_code(0);
    assert!(fs::read(here.join("back")).unwrap() == bytes);
}

#[test]
fn links_and_holes_are_what_they_are() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let here = local(&world, "local");
    let batch = "ln -s /etc/hostname absolute\nln -s nowhere dangling\nln -s loop loop\n\
        ls -l\nget absolute\n";
    let linked = sftp(&master, &here, batch).expect_code(0);
    assert_eq!(linked.out().matches("lrwxrwxrwx").count(), 3, "{linked}");
    assert!(!fs::read(here.join("absolute")).unwrap().is_empty());
    let read = master.ssh().run("readlink absolute dangling loop");
    assert_eq!(read.expect_code(0).out(), "/etc/hostname\nnowhere\nloop\n");
    for (line, reason) in [
        ("get dangling", "No such file"),
        ("get loop", "No such file"),
        ("put absolute loop", "No such file"),
    ] {
        let session = sftp(&master, &here, format!("{line}\n")).expect_code(1);
        assert!(session.err().contains(reason), "{line}: {session}");
    }
    sftp(&master, &here, "rename loop other\nrm other\nrm dangling\n").expect_code(0);
    // A hole has no name in this protocol: it arrives as zeros, and copies as such.
    let hole = "truncate -s 3000000 far; printf end >> far; sha256sum < far";
    let far = master.ssh().run(hole).expect_code(0).out();
    sftp(&master, &here, "get far\ncp far copy\n").expect_code(0);
    assert_eq!(master.ssh().run("sha256sum < copy").out(), far);
    let content = fs::read(here.join("far")).unwrap();
    assert!(content == [vec![0; 3_000_000], b"end".to_vec()].concat());
}

#[test]
fn scp_keeps_modes_and_times_and_knows_home() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let here = local(&world, "local");
    fs::write(here.join("a"), "contents").unwrap();
    fs::set_permissions(here.join("a"), fs::Permissions::from_mode(0o751)).unwrap();
    let time = std::time::UNIX_EPOCH + Duration::from_secs(1_234_567_890);
    let file = fs::File::options()
        .append(true)
        .open(here.join("a"))
        .unwrap();
    file.set_modified(time).unwrap();
    let up = here.join("a");
    for (mode, kept) in [("-s", "751 1234567890\n"), ("-O", "751 1234567890\n")] {
        let down = here.join(format!("down{mode}"));
        scp(&master, &[mode, "-p", up.to_str().unwrap(), "h:~/far"]).expect_code(0);
        let far = master
            .ssh()
            .run("stat -c '%a %Y' far; rm -f again; mv far again");
        assert_eq!(far.expect_code(0).out(), kept, "{mode}");
        scp(&master, &[mode, "-p", "h:again", down.to_str().unwrap()]).expect_code(0);
        let seen = fs::metadata(&down).unwrap();
        assert_eq!(
            (seen.mode() & 0o7777, seen.mtime()),
            (0o751, 1_234_567_890),
            "{mode}"
        );
    }
    // Without -p they are the umask's and now.
    scp(&master, &[up.to_str().unwrap(), "h:plain"]).expect_code(0);
    let plain = master.ssh().run("test plain -nt again").expect_code(0);
    assert_eq!(plain.err(), "");
}
