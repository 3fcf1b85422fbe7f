//! The hunt for a secret's bytes, everywhere but where it has to be.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::keyed::{Keyed, curl};
use super::support::{Daemon, Process, Running, Setup, World, run, run_with_input, wait_until};

/// Secrets that look like nothing else: each from another source.
const SECRETS: [(&str, &str); 4] = [
    ("TOKEN", "q7Vx1-file-c0ffee-9e1b5a3d"),
    ("FROM_ENV", "q7Vx2-variable-c0ffee-77aa01"),
    ("RUN", "q7Vx3-command-c0ffee-4410fe"),
    ("MOUNTED", "q7Vx4-mounted-c0ffee-0b1c2d"),
];

fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes
        .windows(secret.len())
        .any(|window| window == secret.as_bytes())
}

/// Which of these the readable parts of a process's memory have.
fn in_memory<'a>(pid: u32, secrets: &[&'a str]) -> Vec<&'a str> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its maps");
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("its memory");
    let mut all = Vec::new();
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        if !rest.starts_with('r') {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let (from, to) = (number(from), number(to));
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // [vvar] and its kind can't be read, and hold nothing of the process's.
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            all.extend_from_slice(&bytes);
        }
    }
    assert!(all.len() > 100_000, "{pid} was read");
    let found = |secret: &&&str| {
        let mut grep = Command::new("/usr/bin/grep");
        grep.args(["-caF", "-e", secret]);
        run_with_input(&mut grep, all.clone(), 60).code() == 0
    };
    secrets.iter().filter(found).copied().collect()
}

/// The files below a directory that have these bytes.
fn in_files(top: &Path, secret: &str) -> Vec<String> {
    let mut command = Command::new("/usr/bin/grep");
    command
        .args(["-rlaF", "--devices=skip", "-e", secret])
        .arg(top);
    let found = run(&mut command, 60);
    assert!(found.code() < 2, "{found}");
    found.out().lines().map(str::to_owned).collect()
}

/// Everything of a daemon that may not have the secret.
fn bystanders(daemon: &Daemon<'_>) -> Vec<Process> {
    let mut all = daemon.processes();
    all.retain(|process| !matches!(process.name.as_str(), "sg-gate" | "sg-keeper"));
    all
}

/// A definition whose provider has a secret from each kind of source, and the program that prints one.
fn sources(keyed: &Keyed<'_>) -> (Setup, PathBuf) {
    let world = keyed.world;
    keyed.write("TOKEN", SECRETS[0].1);
    let program = PathBuf::from(format!("/usr/local/bin/{}-secret", world.id));
    fs::write(&program, format!("#!/bin/sh\necho {}\n", SECRETS[2].1)).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(world.dir.join("mounted")).unwrap();
    fs::write(world.dir.join("mounted/MOUNTED"), SECRETS[3].1).unwrap();
    let providers = format!(
        "providers:\n  mixed:\n    secrets:\n      TOKEN: {{file: secrets/TOKEN}}\n      FROM_ENV: {{env: SG_SECRET}}\n      RUN: {{command: [{}], user: nobody, refresh: 1}}\n    directory: mounted\n    endpoints: [{{host: secure.example, ports: [8443, 9443]}}]\n    inject: {{header: X-Injected, value: '{{RUN}}'}}\n",
        program.display()
    );
    let login = "    sandbox: {providers: [mixed], scope: login}\n";
    (keyed.setup_with(&providers, login), program)
}

/// Uses each secret in every way, by programs that stay, and fails in some.
fn use_them(keyed: &Keyed<'_>, daemon: &Daemon<'_>) -> [Running; 2] {
    let stays = daemon.ssh().seconds(120).start(keyed.secure.client("stay"));
    let used = || stays.output().contains("used");
    assert!(
        wait_until(Duration::from_secs(60), used),
        "{}",
        stays.errors()
    );
    let url = "https://secure.example:8443/a";
    for (key, secret) in SECRETS {
        let line = curl(&format!("-H 'X-Key: sandgate:{key}' {url}"));
        assert_eq!(daemon.ssh().run(line).out(), "fine\n200");
        assert_eq!(keyed.last()["headers"]["x-key"], secret, "it was used");
    }
    for arguments in ["-H 'X-Key: a b sandgate:TOKEN'", "-H 'X-Key: sandgate:NO'"] {
        let session = daemon.ssh().run(curl(&format!("{arguments} {url}")));
        assert!(session.out().ends_with("500"), "{session}");
    }
    // A session that is the monitor's own image.
    let mut sftp = daemon.ssh().option("-s").command();
    let sftp = Running::start(sftp.arg("sftp"), Duration::from_secs(120));
    let served = || {
        let sessions = daemon.session_processes();
        sessions.iter().any(|process| process.name == "sftp-server")
    };
    assert!(wait_until(Duration::from_secs(20), served));
    [stays, sftp]
}

/// That no process, file or word of the daemon's or the sandbox's has any of them.
fn hunt(daemon: &Daemon<'_>, all: &[Process], root: &Path) {
    let secrets = SECRETS.map(|(_, secret)| secret);
    for process in all {
        assert_eq!(in_memory(process.pid, &secrets), [""; 0], "{process:?}");
    }
    for (key, secret) in SECRETS {
        for process in all {
            let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap();
            assert!(!holds(&environment, secret), "{key} of {process:?}");
        }
        for top in ["tmp", "sandbox", "dev/shm", "etc", "run", ".sandgate"] {
            let top = root.join(top);
            if top.exists() {
                assert_eq!(in_files(&top, secret), [""; 0], "{key}");
            }
        }
        for file in ["stdout", "stderr", "audit.jsonl"] {
            let bytes = fs::read(daemon.world.dir.join(file)).unwrap();
            assert!(!holds(&bytes, secret), "{key} in {file}");
        }
    }
    let log = daemon.stderr();
    assert!(log.contains("TRACE"), "the log is a talkative one");
}

/// That the two processes that have to have the secrets have them: the hunt can find.
fn holders(daemon: &Daemon<'_>) {
    let secrets = SECRETS.map(|(_, secret)| secret);
    for name in ["sg-gate", "sg-keeper"] {
        let pid = daemon.child_named(name);
        assert_eq!(in_memory(pid, &secrets), secrets, "{name} has them");
        // Not dumpable: its files in /proc are root's (proc(5)), and no core is made of it.
        let owner = fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid();
        assert_eq!(owner, 0, "{name}");
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let mut lines = limits.lines();
        let cores = lines.find(|line| line.starts_with("Max core file size"));
        assert_eq!(cores.unwrap().split_whitespace().nth(4), Some("0"));
    }
    let keeper = daemon.child_named("sg-keeper");
    let environment = fs::read(format!("/proc/{keeper}/environ")).unwrap();
    assert!(holds(&environment, SECRETS[1].1));
}

#[test]
fn a_secrets_bytes_are_in_two_processes_and_nowhere_else() {
    let world = World::new();
    let keyed = Keyed::start(&world);
    let (setup, program) = sources(&keyed);
    let daemon = Daemon::start_by(&world, &setup, |mut command| {
        command
            .env("SG_SECRET", SECRETS[1].1)
            .env("RUST_LOG", "trace");
        command
    });
    let running = use_them(&keyed, &daemon);
    let all = bystanders(&daemon);
    let named = |name: &str| all.iter().find(|process| process.name == name);
    for name in ["sg-monitor", "sg-init", "sftp-server", "python3"] {
        assert!(named(name).is_some(), "{name} in {all:?}");
    }
    let root = PathBuf::from(format!("/proc/{}/root", named("python3").unwrap().pid));
    hunt(&daemon, &all, &root);
    holders(&daemon);
    // And in a sandbox it finds what is planted.
    let planted = "q7Vx9-planted-c0ffee-abcdef";
    let line = format!("echo {planted} > /tmp/planted; X={planted} exec sleep 60");
    let mut plants = daemon.ssh().seconds(120).start(line);
    let found = || {
        let sessions = daemon.session_processes();
        let sleep = sessions.iter().find(|process| process.name == "sleep");
        sleep.is_some_and(|process| !in_memory(process.pid, &[planted]).is_empty())
    };
    assert!(wait_until(Duration::from_secs(20), found));
    assert_eq!(in_files(&root.join("tmp"), planted).len(), 1);
    plants.kill();
    for mut one in running {
        one.kill();
    }
    fs::remove_file(program).unwrap();
}
