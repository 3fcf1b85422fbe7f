//! Programs that make sandboxes of their own, as they come: a browser, and an engine of containers.

use std::fs;
use std::io::Error;
use std::path::Path;
use std::time::Duration;

use super::nested::{as_nesting, setup};
use super::support::{Daemon, Running, World, policy_with, status, wait_until};

const PAGE: &str =
    "<p id=p>before</p><script>document.getElementById('p').textContent = 'ran ' + 6 * 7</script>";

/// A daemon on a host that has the browser.
fn with_browser(world: &World) -> Daemon<'_> {
    assert!(
        Path::new("/usr/bin/chromium-headless-shell").exists(),
        "chromium-headless-shell is missing: apt-get install chromium-headless-shell (Debian)"
    );
    Daemon::start(world, &setup(policy_with("")))
}

#[test]
fn a_browser_has_its_own_sandbox_where_it_may_and_asks_for_it_elsewhere() {
    let world = World::new();
    let daemon = with_browser(&world);
    let show = |user: &str, options: &str| {
        let line = format!(
            "cat > page.html && chromium-headless-shell {options} --dump-dom file:///sandbox/page.html"
        );
        let ssh = daemon.ssh().user(user).seconds(90);
        ssh.input(PAGE).run(line)
    };
    let shown = show("nesting", "").expect_code(0);
    assert!(shown.out().contains("ran 42"), "{shown}");
    let refused = show("sandbox", "");
    assert_ne!(refused.code(), 0, "{refused}");
    assert!(refused.err().contains("No usable sandbox!"), "{refused}");
    // The control: its sandbox is all that it lacks there.
    let bare = show("sandbox", "--no-sandbox").expect_code(0);
    assert!(bare.out().contains("ran 42"), "{bare}");
}

/// Not that it only says so: what reads the page has namespaces, an empty root and filters that the session has not.
#[test]
fn what_reads_a_page_is_held_by_the_browser_as_well() {
    let world = World::new();
    let daemon = with_browser(&world);
    let line = "echo '<p>a page</p>' > page.html; exec chromium-headless-shell --remote-debugging-port=0 file:///sandbox/page.html 2>&1";
    let browser: Running = daemon.ssh().user("nesting").seconds(90).start(line);
    browser.expect_output("DevTools listening on");
    let of_kind = |wanted: &dyn Fn(&str) -> bool| {
        let found = daemon.session_processes().into_iter().find(|process| {
            let line = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            wanted(&String::from_utf8_lossy(&line))
        });
        found.map(|process| process.pid)
    };
    let reader = || of_kind(&|line| line.contains("--type=renderer"));
    assert!(wait_until(Duration::from_secs(30), || reader().is_some()));
    let main =
        of_kind(&|line| line.contains("--remote-debugging-port") && !line.contains("--type="))
            .unwrap();
    let reader = reader().unwrap();
    let namespace = |pid: u32, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    for kind in ["user", "pid", "net"] {
        assert_ne!(namespace(main, kind), namespace(reader, kind), "{kind}");
    }
    let filters = |pid: u32| -> u32 { status(pid, "Seccomp_filters").unwrap().parse().unwrap() };
    let more = wait_until(Duration::from_secs(10), || filters(reader) > filters(main));
    assert!(more, "{} and {}", filters(reader), filters(main));
    // Its root is a directory of a process that has ended (credentials.cc in Chromium, ChrootToSafeEmptyDir).
    let root = || fs::read_dir(format!("/proc/{reader}/root")).map(Iterator::count);
    let gone = |error: &Error| error.raw_os_error() == Some(3);
    let empty = || root().map_or_else(|error| gone(&error), |entries| entries == 0);
    assert!(wait_until(Duration::from_secs(10), empty), "{:?}", root());
}

/// An image of one program, and what podman has to be told where there is one account, no cgroup to divide and no
/// keyring (containers.conf(5), containers-policy.json(5)).
const PREPARE: &str = r#"
export XDG_RUNTIME_DIR=/tmp/run TMPDIR=/tmp
mkdir -p /tmp/run .config/containers tree/bin tree/proc tree/dev tree/sys tree/etc tree/tmp shared
echo '{"default": [{"type": "insecureAcceptAnything"}]}' > .config/containers/policy.json
printf '[containers]\nkeyring = false\ncgroups = "disabled"\n[engine]\nruntime = "crun"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n' \
    > .config/containers/containers.conf
cp /usr/bin/busybox tree/bin/busybox
ln -s busybox tree/bin/sh
tar -C tree --owner=0 --group=0 -cf image.tar .
PODMAN="podman --log-level error --root /sandbox/store --runroot /tmp/run/podman --storage-driver DRIVER"
set -e
$PODMAN import image.tar localhost/image >/dev/null
"#;

/// Who it is, what it sees, and what it leaves outside.
const LOOK: &str = r#"
$PODMAN run --rm --network none --volume /sandbox/shared:/shared localhost/image /bin/sh -c '
    B=/bin/busybox; $B id -u; $B hostname outside 2>/dev/null || echo named; $B ls / | $B tr "\n" " "; echo
    $B ip -o link | $B wc -l; $B ps | $B grep -c -v PID; $B touch /shared/made'
"#;

#[test]
fn podman_runs_containers_where_it_may_and_nowhere_else() {
    let world = World::new();
    let daemon = Daemon::start(&world, &setup(policy_with("")));
    for driver in ["vfs", "overlay"] {
        let script = format!("{PREPARE}{LOOK}stat -c %U shared/made").replace("DRIVER", driver);
        let ran = |user: &str| {
            let ssh = daemon.ssh().user(user).seconds(60);
            ssh.input(script.clone()).run("bash -s")
        };
        let inside = ran("nesting").expect_code(0);
        let said = inside.out();
        let mut lines = said.lines();
        assert_eq!(lines.next(), Some("0"), "{inside}");
        assert_eq!(lines.next(), Some("named"), "{inside}");
        assert_eq!(
            lines.next().map(|root| root.contains("usr")),
            Some(false),
            "{inside}"
        );
        // Its own loopback, sh and ps; and what its root makes is the session's.
        assert_eq!(lines.next(), Some("1"), "{inside}");
        assert!(
            lines.next().unwrap().parse::<u32>().unwrap() <= 4,
            "{inside}"
        );
        assert_eq!(lines.next(), Some("nesting"), "{inside}");

        // It meets the missing place for cgroups first.
        let refused = ran("sandbox");
        assert_ne!(refused.code(), 0, "{refused}");
        assert!(refused.out().is_empty(), "{refused}");
    }
}

/// The proxy is a container's way out as well, and policy knows a container's program by no path of the sandbox's.
#[test]
fn a_container_is_no_way_around_policy() {
    const ONE_HOST: &str = "network_policies:\n  web:\n    name: web\n    endpoints:\n      - {host: allowed.example, port: 80}\n    binaries:\n      - {path: /usr/bin/busybox}\n";
    let world = World::new();
    let daemon = Daemon::start(&world, &setup(policy_with(ONE_HOST)));
    let get = "busybox wget -q -O - http://allowed.example/";
    let honest = as_nesting(&daemon, get).expect_code(0);
    assert!(!honest.out().is_empty(), "{honest}");
    let prepare = PREPARE.replace("DRIVER", "vfs");
    let contained = |network: &str| {
        let script = format!(
            "{prepare}$PODMAN run --rm --network {network} localhost/image /bin/{get} 2>&1"
        );
        let ssh = daemon.ssh().user("nesting").seconds(60);
        ssh.input(script).run("bash -s")
    };
    let refused = contained("host");
    assert_ne!(refused.code(), 0, "{refused}");
    assert!(refused.out().contains("403"), "{refused}");
    let alone = contained("none");
    assert_ne!(alone.code(), 0, "{alone}");
    assert!(!alone.out().contains("403"), "{alone}");
}

/// Engines ask what is mounted there; nothing is.
#[test]
fn there_is_an_empty_place_for_cgroups_where_namespaces_may_be_made() {
    let world = World::new();
    let daemon = Daemon::start(&world, &setup(policy_with("")));
    let look = "find /sys; touch /sys/fs/cgroup/new 2>/dev/null || echo read-only";
    let nesting = as_nesting(&daemon, look);
    assert_eq!(
        nesting.out(),
        "/sys\n/sys/fs\n/sys/fs/cgroup\nread-only\n",
        "{nesting}"
    );
    let plain = daemon.ssh().run(look);
    assert_eq!(plain.out(), "read-only\n", "{plain}");
}
