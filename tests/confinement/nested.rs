//! Sandboxes whose sessions may make user namespaces, with the programs that want them; and those that may not.

use std::fs;

use super::homes::Store;
use super::support::{Daemon, Finished, Setup, World, policy_with, run, run_with_input, sandgate};

/// Definitions `plain` and `nesting`, and a login of each beside the usual one.
pub(crate) fn setup(policy: String) -> Setup {
    let login = |name: &str| {
        format!(
            "    sandbox: plain\n  {name}:\n    authorized_keys: [authorized_keys]\n    policy: policy.yaml\n    sandbox: nesting\n"
        )
    };
    Setup {
        policy,
        login: login("nesting"),
        top: "sandboxes:\n  plain: {}\n  nesting: {allow: {user_namespaces: true}}\n".to_owned(),
        ..Setup::closed()
    }
}

pub(crate) fn as_nesting(daemon: &Daemon<'_>, line: &str) -> Finished {
    daemon.ssh().user("nesting").run(line)
}

/// The whole of what a build or an agent's own sandbox asks for: every namespace, the system read-only, its own
/// /proc, /dev and /tmp.
const BWRAP: &str = "bwrap --unshare-all --die-with-parent --new-session --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp \
    --bind /sandbox /sandbox --chdir /sandbox --hostname inner --clearenv --setenv PATH /usr/bin:/bin";

#[test]
fn bubblewrap_nests_where_it_may_and_nowhere_else() {
    let world = World::new();
    let daemon = Daemon::start(&world, &setup(policy_with("")));
    let look = format!(
        "{BWRAP} sh -c 'echo made > made; hostname; ls /proc | grep -c \"^[0-9]\"; ip -o link | wc -l; \
         touch /usr/there 2>&1; id -u' && cat made"
    );
    let nested = as_nesting(&daemon, &look).expect_code(0);
    let lines: Vec<_> = nested.out().lines().map(str::to_owned).collect();
    assert_eq!(lines.first().unwrap(), "inner", "{nested}");
    // bwrap's own, sh, ls and grep: nobody else's.
    assert!(lines[1].parse::<u32>().unwrap() <= 5, "{nested}");
    assert_eq!(lines[2], "1", "{nested}");
    assert!(lines[3].contains("Read-only file system"), "{nested}");
    assert_eq!(lines.last().unwrap(), "made", "{nested}");

    let refused = daemon.ssh().run(&look);
    assert_ne!(refused.code(), 0);
    assert!(
        refused.err().contains("No permissions to create")
            || refused.err().contains("Operation not permitted"),
        "{refused}"
    );
}

#[test]
fn unshare_gives_root_of_nothing_but_its_own() {
    let world = World::new();
    let daemon = Daemon::start(&world, &setup(policy_with("")));
    let line = "unshare -Urmnpf --mount-proc sh -c 'id -u; mount -t tmpfs mine /tmp && echo mounted; \
        ip link set lo up && echo up; echo 1 > /proc/sys/net/ipv4/ip_forward && echo forwards; \
        hostname other 2>/dev/null || echo named; umount /etc/passwd 2>/dev/null || echo locked'";
    let nested = as_nesting(&daemon, line).expect_code(0);
    assert_eq!(
        nested.out(),
        "0\nmounted\nup\nforwards\nnamed\nlocked\n",
        "{nested}"
    );
    let refused = daemon.ssh().run(line);
    assert!(
        refused.code() != 0 && refused.err().contains("Operation not permitted"),
        "{refused}"
    );
}

/// As Chromium's zygote does it: a user namespace by clone(2), in it a pid and a network namespace, and an empty
/// root by chroot(2).
const ZYGOTE: &str = r#"
import ctypes, os
c = ctypes.CDLL(None, use_errno=True)
def must(result, what):
    if result < 0:
        raise SystemExit(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result
uid, gid = os.getuid(), os.getgid()
child = must(c.syscall(56, 0x10000000 | 0x20000000 | 0x40000000 | 17, 0, 0, 0, 0), "clone")
if child == 0:
    open("/proc/self/setgroups", "w").write("deny")
    open("/proc/self/uid_map", "w").write(f"{uid} {uid} 1")
    open("/proc/self/gid_map", "w").write(f"{gid} {gid} 1")
    must(c.chroot(b"/proc/self/fdinfo"), "chroot")
    os.chdir("/")
    print(os.getpid(), os.path.exists("/usr"), flush=True)
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

#[test]
fn a_browsers_own_sandbox_comes_up() {
    let world = World::new();
    let daemon = Daemon::start(&world, &setup(policy_with("")));
    let zygote = |ssh: super::support::Ssh| ssh.input(ZYGOTE).run("python3 -I -");
    let nested = zygote(daemon.ssh().user("nesting")).expect_code(0);
    assert_eq!(nested.out(), "1 False\n");
    let refused = zygote(daemon.ssh());
    assert!(
        refused.err().contains("clone: Operation not permitted"),
        "{refused}"
    );
}

/// sftp needs no mount, and what it may do is held as everywhere: a program of such a session may change a setting in
/// /proc that is its account's, and Landlock keeps the server from it.
#[test]
fn our_own_server_keeps_its_paths() {
    let world = World::new();
    let shared = setup(policy_with(""));
    let top = shared.top.replace("nesting: {", "nesting: {scope: login, ");
    let daemon = Daemon::start(&world, &Setup { top, ..shared });
    let master = daemon.ssh().user("nesting").master();
    let sleeper = master.ssh().seconds(60).start("echo $$; exec sleep 60");
    sleeper.expect_output("\n");
    let setting = format!("/proc/{}/oom_score_adj", sleeper.output().trim());
    fs::write(world.dir.join("value"), "500").unwrap();
    let commands = format!("put {} {setting}\n", world.dir.join("value").display());
    let mut sftp = daemon.ssh().user("nesting").client("/usr/bin/sftp");
    sftp.args(["-b", "-", "nesting@127.0.0.1"]);
    let refused = run_with_input(&mut sftp, commands.into_bytes(), 20);
    assert!(refused.err().contains("Permission denied"), "{refused}");
    let line = format!("cat {setting} && echo 500 > {setting} && cat {setting}");
    let changed = master.ssh().run(line).expect_code(0).out();
    assert!(
        changed.ends_with("\n500\n") && !changed.starts_with("500"),
        "{changed}"
    );
}

const ONE_HOST: &str = "\
network_policies:
  web:
    name: web
    endpoints:
      - {host: allowed.example, port: 80}
    binaries:
      - {path: /usr/bin/curl}
";

/// What is mounted under an allowed program's name is not that program, in whoever's namespace it runs; the program
/// itself is, wherever it runs.
#[test]
fn a_program_under_a_borrowed_name_is_no_known_caller() {
    let world = World::new();
    let daemon = Daemon::start(&world, &setup(policy_with(ONE_HOST)));
    let get = "-sS -o /dev/null -w '%{http_code}' http://allowed.example/";
    let bwrap = "bwrap --bind / / --dev-bind /dev /dev";
    let honest = as_nesting(&daemon, &format!("{bwrap} curl {get}")).expect_code(0);
    assert_eq!(honest.out(), "200", "{honest}");

    let borrowed = format!(
        "cp /usr/bin/curl own && {bwrap} --ro-bind /sandbox/own /usr/bin/curl /usr/bin/curl {get}"
    );
    let refused = as_nesting(&daemon, &borrowed);
    assert_eq!(refused.out(), "403", "{refused}");
    let told = daemon.audit();
    let told: Vec<_> = told
        .iter()
        .filter(|event| event.is_for("allowed.example"))
        .collect();
    let last = told.last().unwrap();
    assert!(
        last.0
            .to_string()
            .contains("/usr/bin/curl is another file in the sandbox"),
        "{:?}",
        last.0
    );
}

#[test]
fn check_says_what_it_costs() {
    let world = World::new();
    let setup = setup(policy_with(""));
    let config = setup.write(&world);
    let arguments = ["check", "--config", config.to_str().unwrap()];
    let told = run(&mut sandgate(&world, &setup, &arguments), 20).expect_code(0);
    let said = told.out() + &told.err();
    let most = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap();
    let warned = format!("may make {} user and", most.trim());
    assert!(
        said.contains("login nesting")
            && said.contains("allow.user_namespaces: Landlock does not hold the paths"),
        "{told}"
    );
    assert!(said.contains(&warned), "{told}");
    assert!(!said.contains("login sandbox"), "{told}");
}

/// A mount keeps its place in the namespaces that have it alone.
#[test]
fn nothing_is_held_inside_of_what_who_may_mount_writes() {
    let world = World::new();
    let store = Store::new(&world);
    fs::create_dir(store.0.join("held")).unwrap();
    let tree = store.0.to_str().unwrap();
    let written = policy_with("").replacen("read_write: [", &format!("read_write: [{tree}, "), 1);
    let within = format!("read_only: [{tree}/held, ");
    let policy = written.replacen("read_only: [", &within, 1);
    let checked = |setup: &Setup, code| {
        let config = setup.write(&world);
        let arguments = ["check", "--config", config.to_str().unwrap()];
        run(&mut sandgate(&world, setup, &arguments), 20).expect_code(code)
    };
    let told = checked(&setup(policy.clone()), 1);
    let line = policy.lines().position(|line| line.contains(&within));
    let place = format!(
        "policy.yaml:{}:15: filesystem_policy.read_only",
        line.unwrap() + 1
    );
    let problem = format!("lies in {tree}, which may be written");
    assert!(
        told.err().contains(&place) && told.err().contains(&problem),
        "{told}"
    );
    let denying = |allow: &str| Setup {
        top: format!(
            "sandboxes:\n  plain: {{}}\n  nesting: {{{allow}files: {{deny: [{tree}/held]}}}}\n"
        ),
        ..setup(written.clone())
    };
    let told = checked(&denying("allow: {user_namespaces: true}, "), 1);
    let problem = format!("files.deny: {tree}/held lies in {tree}");
    assert!(
        told.err().contains("login nesting") && told.err().contains(&problem),
        "{told}"
    );
    // The control: where nobody mounts both hold, and are taken.
    checked(&denying(""), 0);
    let nobody = Setup {
        top: "sandboxes: {plain: {}, nesting: {}}\n".to_owned(),
        ..setup(policy)
    };
    checked(&nobody, 0);
}
