//! From the requests that a policy denied to rules for them, by the trail of a daemon that runs.

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::secure::Secure;
use super::support::{Daemon, World, run, run_with_input, sandgate, signal, wait_until};

const NETWORK: &str = "\
network_policies:
  secure:
    endpoints:
      - host: secure.example
        port: 8443
        protocol: rest
        enforcement: enforce
        path: /area/**
        rules:
          - allow: {method: GET, path: /area/public/**}
        deny_rules:
          - {method: GET, path: /area/kept/*}
      - {host: private.example, port: 80, protocol: rest, enforcement: enforce, access: read-only}
      - {host: allowed.example, port: 80, protocol: graphql, enforcement: enforce, access: read-only}
    binaries:
      - {path: /usr/bin/**}
";

#[test]
fn denied_requests_become_the_rules_that_they_lack() {
    let world = World::new();
    let secure = Secure::start(&world);
    let setup = secure.setup(NETWORK);
    let daemon = Daemon::start(&world, &setup);
    let status = |what: &str| {
        let line = format!("curl -sS -m 10 -o /dev/null -w '%{{http_code}}' {what}");
        daemon.ssh().seconds(30).run(line).out()
    };
    let at = |path: &str| format!("https://secure.example:8443{path}");
    let wanted = [
        at("/area/a/./b"),
        format!("-X DELETE {}", at("/area/c?all")),
    ];
    let others = [
        at("/area/kept/x"),
        at("/area/odd%20one"),
        at("/elsewhere"),
        "-X POST http://private.example/x".to_owned(),
        "-d '{\"query\": \"mutation {a}\"}' -H 'Content-Type: application/json' http://allowed.example/".to_owned(),
    ];
    for denied in wanted.iter().chain(&others) {
        assert_eq!(status(denied), "403", "{denied}");
    }
    let (policy, trail) = (world.dir.join("policy.yaml"), world.dir.join("audit.jsonl"));
    let arguments = [
        "policy",
        "suggest",
        policy.to_str().unwrap(),
        "--audit",
        trail.to_str().unwrap(),
    ];
    let suggested = run(&mut sandgate(&world, &setup, &arguments), 20).expect_code(0);
    for left in [
        "left out: GET /area/kept/x of secure.example:8443 for /usr/bin/curl: deny_rules[0] denies it",
        "left out: GET /area/odd%20one of secure.example:8443 for /usr/bin/curl: its path",
        "left out: GET /elsewhere of secure.example:8443 for /usr/bin/curl: no endpoint",
        "left out: POST /x of private.example:80 for /usr/bin/curl: it leads to 10.9.9.9",
        "left out: POST / of allowed.example:80 for /usr/bin/curl: a graphql rule",
    ] {
        assert!(suggested.err().contains(left), "{left}: {suggested}");
    }
    let mut apply = Command::new("git");
    apply
        .args(["apply", "--unsafe-paths", "-p0", "-"])
        .current_dir("/");
    run_with_input(&mut apply, suggested.stdout.clone(), 20).expect_code(0);
    let patched = fs::read_to_string(&policy).unwrap();
    assert_eq!(patched.matches("- allow:").count(), 3, "{patched}");
    run(
        &mut sandgate(
            &world,
            &setup,
            &["policy", "check", policy.to_str().unwrap()],
        ),
        20,
    )
    .expect_code(0);
    signal(daemon.id(), Signal::SIGHUP);
    let open = wait_until(Duration::from_secs(10), || status(&wanted[0]) == "200");
    assert!(open, "{patched}\n{}", daemon.stderr());
    // What was asked for, and no more: not by another method, path, host or program.
    assert_eq!(status(&at("/area/public/x")), "200");
    for shut in [
        at("/area/a"),
        format!("-X PUT {}", at("/area/c")),
        at("/area/kept/x"),
    ] {
        assert_eq!(status(&shut), "403", "{shut}");
    }
    let python = format!(
        "python3 -c 'import urllib.request as r; r.urlopen(\"{}\")'",
        at("/area/a/b")
    );
    let other = daemon.ssh().seconds(30).run(python);
    assert!(other.err().contains("403"), "{other}");
    let again = run(&mut sandgate(&world, &setup, &arguments), 20);
    assert!(
        again.err().contains("the policy allows it by now"),
        "{again}"
    );
}
