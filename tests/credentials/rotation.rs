//! Sources of every kind, whose secrets change while the daemon serves.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::time::Duration;

use super::keyed::{Keyed, curl, refused};
use super::support::{Daemon, World, run, signal, status, wait_until};

/// Whether requests with this placeholder come to have this value.
fn becomes(daemon: &Daemon<'_>, keyed: &Keyed<'_>, key: &str, value: &str) -> bool {
    let line = curl(&format!(
        "-H 'X-Key: sandgate:{key}' https://secure.example:8443/plain/a"
    ));
    wait_until(Duration::from_secs(20), || {
        let session = daemon.ssh().run(&line);
        session.out() == "fine\n200" && keyed.last()["headers"]["x-key"] == value
    })
}

#[test]
fn secrets_change_without_a_restart_wherever_they_come_from() {
    let world = World::new();
    let keyed = Keyed::start(&world);
    let mounted = world.dir.join("mounted");
    let mount = |version: &str, value: &str| {
        fs::create_dir_all(mounted.join(version)).unwrap();
        fs::write(mounted.join(version).join("MOUNTED"), value).unwrap();
        // As kubelet swaps a volume: a link made aside, then renamed over the other.
        symlink(version, mounted.join("..fresh")).unwrap();
        fs::rename(mounted.join("..fresh"), mounted.join("..data")).unwrap();
    };
    mount("..one", "mounted-1");
    symlink("..data/MOUNTED", mounted.join("MOUNTED")).unwrap();
    // Programs that print secrets have to lie where nobody but root could have put them.
    let program = format!("/usr/local/bin/{}-secret", world.id);
    let script = "#!/bin/sh\nid -u >&2\nread -r at rest < /proc/uptime\necho \"run-$1-${at%.*}\"\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let providers = format!(
        "providers:\n  mixed:\n    secrets:\n      TOKEN: {{file: secrets/TOKEN}}\n      FROM_ENV: {{env: SG_SECRET}}\n      RUN: {{command: [{program}, now], user: nobody, refresh: 1}}\n      FAILS: {{command: [/bin/false], user: nobody}}\n      HANGS: {{command: [/bin/sleep, '60'], user: nobody, timeout: 1}}\n    directory: mounted\n    endpoints: [{{host: secure.example, port: 8443}}]\n"
    );
    let setup = keyed.setup_with(&providers, "    sandbox: {providers: [mixed]}\n");
    let daemon = Daemon::start_by(&world, &setup, |mut command| {
        command.env("SG_SECRET", "of-the-environment");
        command
    });
    assert!(becomes(&daemon, &keyed, "FROM_ENV", "of-the-environment"));
    assert!(becomes(&daemon, &keyed, "MOUNTED", "mounted-1"));
    let shown = daemon
        .ssh()
        .run("echo $MOUNTED $RUN $FAILS; env | grep -c of-the-env");
    assert_eq!(
        shown.out(),
        "sandgate:MOUNTED sandgate:RUN sandgate:FAILS\n0\n"
    );

    // Written in place, and renamed over.
    keyed.write("TOKEN", "second");
    assert!(becomes(&daemon, &keyed, "TOKEN", "second"));
    keyed.write("TOKEN.new", "renamed");
    fs::rename(keyed.secret("TOKEN.new"), keyed.secret("TOKEN")).unwrap();
    assert!(becomes(&daemon, &keyed, "TOKEN", "renamed"));
    mount("..two", "mounted-2");
    assert!(becomes(&daemon, &keyed, "MOUNTED", "mounted-2"));
    let run = || {
        let line = curl("-H 'X-Key: sandgate:RUN' https://secure.example:8443/plain/a");
        assert_eq!(daemon.ssh().run(line).out(), "fine\n200");
        keyed.last()["headers"]["x-key"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = run();
    assert!(first.starts_with("run-now-"), "{first}");
    assert!(wait_until(Duration::from_secs(20), || run() != first));

    // What can't be had is not sent, and comes back with its source.
    for key in ["FAILS", "HANGS"] {
        let line = curl(&format!(
            "-H 'X-Key: sandgate:{key}' https://secure.example:8443/plain/a"
        ));
        refused(&daemon.ssh().run(line), 500, "credential_unavailable");
    }
    fs::remove_file(keyed.secret("TOKEN")).unwrap();
    let line = curl("-H 'X-Key: sandgate:TOKEN' https://secure.example:8443/plain/a");
    assert!(wait_until(Duration::from_secs(20), || {
        daemon.ssh().run(&line).out().ends_with("500")
    }));
    keyed.write("TOKEN", "third");
    assert!(becomes(&daemon, &keyed, "TOKEN", "third"));
    let said = daemon.stderr();
    for problem in [
        "mixed.FAILS",
        "exit status 1",
        "mixed.HANGS",
        "did not end in time",
        "mixed.TOKEN",
    ] {
        assert!(said.contains(problem), "{problem}: {said}");
    }
    fs::remove_file(program).unwrap();
}

#[test]
fn a_reload_brings_other_places_and_sources() {
    let world = World::new();
    let keyed = Keyed::start(&world);
    let setup = keyed.setup();
    let daemon = Daemon::start(&world, &setup);
    let line = curl("-H 'X-Key: sandgate:TOKEN' https://secure.example:8443/moved/a");
    refused(
        &daemon.ssh().run(&line),
        403,
        "credential_endpoint_mismatch",
    );
    keyed.write("FRESH", "from another file");
    let moved = keyed.setup_with(
        "providers:\n  token:\n    secrets: {TOKEN: {file: secrets/FRESH}}\n    endpoints: [{host: secure.example, port: 8443, path: /moved/**}]\n",
        "    sandbox: {providers: [token]}\n",
    );
    moved.write(&world);
    super::support::signal(daemon.id(), nix::sys::signal::Signal::SIGHUP);
    assert!(wait_until(Duration::from_secs(20), || {
        daemon.ssh().run(&line).out() == "fine\n200"
            && keyed.last()["headers"]["x-key"] == "from another file"
    }));
    let line = curl("-H 'X-Key: sandgate:TOKEN' https://secure.example:8443/plain/a");
    refused(&daemon.ssh().run(line), 403, "credential_endpoint_mismatch");
}

#[test]
fn the_first_provider_comes_by_a_reload_and_the_last_one_goes() {
    let world = World::new();
    let keyed = Keyed::start(&world);
    let without = keyed.setup_with("", "");
    let daemon = Daemon::start_by(&world, &without, |mut command| {
        command.env("SG_LATE", "nobody-may-have-it");
        command
    });
    let line = curl("-H 'X-Key: sandgate:TOKEN' https://secure.example:8443/plain/a");
    refused(&daemon.ssh().run(&line), 500, "credential_unavailable");
    let reload = |source: &str| {
        let providers = format!(
            "providers:\n  token:\n    secrets: {{TOKEN: {source}}}\n    endpoints: [{{host: secure.example, port: 8443}}]\n"
        );
        let setup = keyed.setup_with(&providers, "    sandbox: {providers: [token]}\n");
        setup.write(&world);
        signal(daemon.id(), nix::sys::signal::Signal::SIGHUP);
    };
    // All processes have it, and none can be made to forget.
    reload("{env: SG_LATE}");
    let told = || {
        daemon
            .stderr()
            .contains("providers.token.secrets.TOKEN: the variable SG_LATE")
    };
    assert!(
        wait_until(Duration::from_secs(20), told),
        "{}",
        daemon.stderr()
    );
    refused(&daemon.ssh().run(&line), 500, "credential_unavailable");
    reload("{file: secrets/TOKEN}");
    keyed.write("TOKEN", "brought");
    assert!(becomes(&daemon, &keyed, "TOKEN", "brought"));
    keyed.write("TOKEN", "changed");
    assert!(becomes(&daemon, &keyed, "TOKEN", "changed"));
    without.write(&world);
    signal(daemon.id(), nix::sys::signal::Signal::SIGHUP);
    let gone = || daemon.ssh().run(&line).out().ends_with("500");
    assert!(wait_until(Duration::from_secs(20), gone));
}

#[test]
fn the_keeper_and_its_programs_are_filtered() {
    let world = World::new();
    let keyed = Keyed::start(&world);
    let program = format!("/usr/local/bin/{}-secret", world.id);
    let tries = "unshare -U true 2>/dev/null && echo -n users- || echo -n none-\nkeyctl show >/dev/null 2>&1 && echo -n keys- || echo -n none-\nsed -n 's/^Seccomp:\\t//p' /proc/self/status\n";
    fs::write(
        &program,
        format!("#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n{tries}"),
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    // The control: without a filter the same account can do both.
    let mut control = Command::new("/usr/bin/setpriv");
    control.args([
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        &program,
    ]);
    assert_eq!(run(&mut control, 20).out(), "users-keys-0\n");
    let providers = format!(
        "providers:\n  run:\n    secrets: {{RUN: {{command: [{program}], user: nobody}}}}\n    endpoints: [{{host: secure.example, port: 8443}}]\n"
    );
    let setup = keyed.setup_with(&providers, "    sandbox: {providers: [run]}\n");
    let daemon = Daemon::start(&world, &setup);
    assert!(becomes(&daemon, &keyed, "RUN", "none-none-2"));
    let keeper = daemon.child_named("sg-keeper");
    for (field, value) in [
        ("Seccomp", "2"),
        ("Seccomp_filters", "1"),
        ("NoNewPrivs", "1"),
    ] {
        assert_eq!(status(keeper, field).as_deref(), Some(value), "{field}");
    }
    fs::remove_file(program).unwrap();
}
