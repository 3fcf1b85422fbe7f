//! The hunt for a secret's bytes, everywhere but where it has to be.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::keyed::{Keyed, curl};
use super::support::{Daemon, Process, Running, World, run, wait_until};

/// Secrets that look like nothing else: each from another source.
const SECRETS: [(&str, &str); 4] = [
    ("TOKEN", "q7Vx1-file-c0ffee-9e1b5a3d"),
    ("FROM_ENV", "q7Vx2-variable-c0ffee-77aa01"),
    ("RUN", "q7Vx3-command-c0ffee-4410fe"),
    ("MOUNTED", "q7Vx4-mounted-c0ffee-0b1c2d"),
];

fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

/// Whether any readable part of a process's memory has these bytes.
fn in_memory(pid: u32, secret: &str) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its maps");
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("its memory");
    maps.lines().any(|line| {
        let (range, rest) = line.split_once(' ').unwrap();
        if !rest.starts_with('r') || rest.ends_with("[vvar]") || rest.ends_with("[vvar_vclock]") {
            return false;
        }
        let (from, to) = range.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let (from, to) = (number(from), number(to));
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // Mapped files can be shorter than their mapping, and [vsyscall] is nobody's.
        memory.read_exact_at(&mut bytes, from).is_ok() && holds(&bytes, secret)
    })
}

/// The files below a directory that have these bytes.
fn in_files(top: &Path, secret: &str) -> Vec<String> {
    let mut command = Command::new("/usr/bin/grep");
    command.args(["-rlaF", "--devices=skip", "-e", secret]).arg(top);
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

#[test]
fn a_secrets_bytes_are_in_two_processes_and_nowhere_else() {
    let world = World::new();
    let keyed = Keyed::start(&world);
    keyed.write("TOKEN", SECRETS[0].1);
    let program = format!("/usr/local/bin/{}-secret", world.id);
    fs::write(&program, format!("#!/bin/sh\necho {}\n", SECRETS[2].1)).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(world.dir.join("mounted")).unwrap();
    fs::write(world.dir.join("mounted/MOUNTED"), SECRETS[3].1).unwrap();
    let providers = format!(
        "providers:\n  mixed:\n    secrets:\n      TOKEN: {{file: secrets/TOKEN}}\n      FROM_ENV: {{env: SG_SECRET}}\n      RUN: {{command: [{program}], user: nobody, refresh: 1}}\n    directory: mounted\n    endpoints: [{{host: secure.example, ports: [8443, 9443]}}]\n    inject: {{header: X-Injected, value: '{{RUN}}'}}\n"
    );
    let setup = keyed.setup_with(&providers, "    sandbox: {providers: [mixed], scope: login}\n");
    let daemon = Daemon::start_by(&world, &setup, |mut command| {
        command.env("SG_SECRET", SECRETS[1].1).env("RUST_LOG", "debug");
        command
    });
    // Every way in, by a program that stays.
    let stays = daemon.ssh().seconds(120).start(keyed.secure.client("stay"));
    assert!(
        wait_until(Duration::from_secs(60), || stays.output().contains("used")),
        "{} {}",
        stays.output(),
        stays.errors()
    );
    for (key, secret) in SECRETS {
        let line = curl(&format!("-H 'X-Key: sandgate:{key}' https://secure.example:8443/a"));
        assert_eq!(daemon.ssh().run(line).out(), "fine\n200");
        assert_eq!(keyed.last()["headers"]["x-key"], secret, "it was used");
    }
    // And every way to fail; and a session that is the monitor's own image, for sftp.
    for arguments in ["-H 'X-Key: a sandgate:TOKEN'", "https://secure.example:8443/?a=sandgate:NO"] {
        daemon.ssh().run(curl(&format!("{arguments} https://secure.example:8443/x")));
    }
    let mut sftp = daemon.ssh().option("-s").command();
    let sftp = Running::start(sftp.arg("sftp"), Duration::from_secs(120));
    let served = || daemon.session_processes().iter().any(|p| p.name == "sftp-server");
    assert!(wait_until(Duration::from_secs(20), served));

    let all = bystanders(&daemon);
    let named = |name: &str| all.iter().find(|process| process.name == name);
    for name in ["sg-monitor", "sg-init", "sftp-server", "python3"] {
        assert!(named(name).is_some(), "{name} in {all:?}");
    }
    let root = format!("/proc/{}/root", named("python3").unwrap().pid);
    for (key, secret) in SECRETS {
        for process in &all {
            assert!(!in_memory(process.pid, secret), "{key} in {process:?}");
            let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap();
            assert!(!holds(&environment, secret), "{key} of {process:?}");
        }
        // The sandbox's own files, and the daemon's words.
        for top in ["tmp", "sandbox", "dev/shm", "etc", "run", ".sandgate"] {
            let top = Path::new(&root).join(top);
            if top.exists() {
                assert_eq!(in_files(&top, secret), [""; 0], "{key}");
            }
        }
        for file in ["stdout", "stderr", "audit.jsonl", "sandgate.yaml", "policy.yaml"] {
            let bytes = fs::read(world.dir.join(file)).unwrap();
            assert!(!holds(&bytes, secret), "{key} in {file}");
        }
    }
    assert!(daemon.stderr().contains("DEBUG"), "the log is a talkative one");

    // The controls: the same searches find what is there.
    for name in ["sg-gate", "sg-keeper"] {
        let pid = daemon.child_named(name);
        assert!(in_memory(pid, SECRETS[0].1), "{name} has it");
        // Not dumpable: its files in /proc are root's (proc(5)), and no core is made of it.
        let owner = fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid();
        assert_eq!(owner, 0, "{name}");
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let cores = limits.lines().find(|line| line.starts_with("Max core file size"));
        assert_eq!(cores.unwrap().split_whitespace().nth(4), Some("0"));
    }
    let planted = "q7Vx9-planted-c0ffee-abcdef";
    let line = format!("echo {planted} > /tmp/planted; X={planted} exec sleep 60");
    let plants = daemon.ssh().seconds(120).start(line);
    let found = || {
        let sleeps = daemon.session_processes();
        let sleep = sleeps.iter().find(|process| process.name == "sleep");
        sleep.is_some_and(|process| in_memory(process.pid, planted))
    };
    assert!(wait_until(Duration::from_secs(20), found), "the hunt finds what is planted");
    assert_eq!(in_files(&Path::new(&root).join("tmp"), planted).len(), 1);
    for mut running in [stays, sftp, plants] {
        running.kill();
    }
    fs::remove_file(program).unwrap();
}
