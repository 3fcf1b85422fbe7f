//! Policies that change under connections: what the new one would not grant ends, everything else goes on.

use std::fs;
use std::io::{Read, Write};
use std::process::ChildStdin;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::secure::{Cast, Secure};
use super::support::{
    Daemon, Event, Running, World, pss_kib, signal, threads, venv_of, wait_until,
};

/// Every connection of `programs/live_client.py long`.
const ALL: &str = "\
network_policies:
  live:
    endpoints:
      - host: secure.example
        port: 8443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /public/**}
          - allow: {method: GET, path: /kept/**}
      - host: secure.example
        port: 50051
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: POST, path: /test.Echo/Once}
          - allow: {method: POST, path: /test.Echo/Each}
          - allow: {method: POST, path: /test.Echo/Kept}
      - host: secure.example
        port: 9443
        protocol: websocket
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /chat}
          - allow: {method: WEBSOCKET_TEXT, path: /chat}
          - allow: {method: GET, path: /kept}
          - allow: {method: WEBSOCKET_TEXT, path: /kept}
      - host: secure.example
        port: 9444
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /chat}
          - allow: {method: GET, path: /kept}
      - {host: secure.example, port: 9445}
      - {host: secure.example, port: 9446}
    binaries:
      - {path: /**}
      - {path: ssh-forward}
";

/// Of two policies under load, the one whose only name is `alpha`; `beta` is its mirror.
const ALPHA: &str = "\
network_policies:
  alpha:
    endpoints:
      - host: secure.example
        port: 8443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /a/**}
          - allow: {method: GET, path: /both/**}
        deny_rules:
          - {method: GET, path: /both/b}
      - {host: secure.example, port: 9445}
      - {host: secure.example, port: 9447}
    binaries:
      - {path: /**}
";

/// How often it changes under load.
const RELOADS: usize = 1000;

fn start(world: &World) -> Secure {
    let packages = ["requests==2.32.5", "grpcio==1.76.0", "websockets==15.0.1"];
    let cast = Cast {
        server: "live.py",
        client: "live_client.py",
        venv: venv_of("venv-live", &packages),
    };
    Secure::start_as(world, cast)
}

/// The policies of one login, and what the daemon says of them.
struct Policies<'d> {
    daemon: &'d Daemon<'d>,
    log: fs::File,
    said: String,
}

impl<'d> Policies<'d> {
    fn of(daemon: &'d Daemon<'d>) -> Self {
        let log = fs::File::open(daemon.world.dir.join("stderr")).unwrap();
        let said = String::new();
        Self { daemon, log, said }
    }

    /// Puts one in the old one's place and waits until it holds.
    #[track_caller]
    fn put(&mut self, policy: &str) {
        let dir = &self.daemon.world.dir;
        self.log.read_to_string(&mut self.said).unwrap();
        self.said.clear();
        fs::write(dir.join("policy.new"), policy).unwrap();
        fs::rename(dir.join("policy.new"), dir.join("policy.yaml")).unwrap();
        signal(self.daemon.id(), Signal::SIGHUP);
        let taken = wait_until(Duration::from_secs(20), || {
            self.log.read_to_string(&mut self.said).unwrap();
            self.said.contains("configuration reloaded")
        });
        assert!(taken, "not taken: {}", self.said);
    }
}

/// One round of what lasts; what came of it.
#[track_caller]
fn round(client: &Running, input: &mut ChildStdin, rounds: usize) -> String {
    let before = client.output().len();
    input.write_all(b"\n").unwrap();
    let done = wait_until(Duration::from_secs(60), || {
        client.output().matches("round\n").count() == rounds
    });
    assert!(done, "{}{}", client.output(), client.errors());
    client.output().split_off(before)
}

#[test]
fn what_a_new_policy_would_not_grant_ends_and_the_rest_lives_on() {
    let world = World::new();
    let secure = start(&world);
    let setup = secure.setup(ALL);
    let daemon = Daemon::start(&world, &setup);
    let mut client = daemon.ssh().seconds(150).start(secure.client("long"));
    let mut input = client.take_stdin();
    let everything = round(&client, &mut input, 1);
    assert_eq!(
        everything,
        "judged hi\njudged-kept hi\npassed hi\npassed-kept hi\ntunnel hi\ntunnel-kept hi\n\
         grpc echo hi\ngrpc-kept echo hi\nnext-h2 echo hi\nnext-h1 public 200\nnext-h1 kept 200\nround\n"
    );
    // The control: a new generation that grants the same ends nothing.
    let mut policies = Policies::of(&daemon);
    policies.put(&setup.policy.replace("  live:", "  renamed:"));
    assert_eq!(round(&client, &mut input, 2), everything);
    let ended = world.dir.join("secure.ready.ended");
    assert!(!ended.exists(), "{:?}", fs::read_to_string(&ended));

    // Those of SSH's clients, too.
    let forward = |port: u16| {
        let place = format!("secure.example:{port}");
        let ssh = daemon.ssh().option("-W").option(&place);
        Running::start(&mut ssh.command(), Duration::from_secs(60))
    };
    let (mut forward_gone, mut forward_kept) = (forward(9445), forward(9446));
    let granted = || {
        let events = daemon.audit();
        events
            .iter()
            .filter(|event| event.text("/origin") == "client")
            .count()
    };
    assert!(wait_until(Duration::from_secs(10), || granted() == 2));

    let gone = ["/public/", "Once", "Each", "/chat", "port: 9445"];
    let kept = |line: &&str| !gone.iter().any(|gone| line.contains(gone));
    let less: Vec<&str> = setup.policy.lines().filter(kept).collect();
    policies.put(&less.join("\n"));
    assert_eq!(
        round(&client, &mut input, 3),
        "judged 1012\njudged-kept hi\npassed 1012\npassed-kept hi\ntunnel cut\ntunnel-kept hi\n\
         grpc PERMISSION_DENIED policy no longer allows the request\ngrpc-kept echo hi\nnext-h2 PERMISSION_DENIED\nnext-h1 public 403\n\
         next-h1 kept 200\nround\n"
    );
    assert!(wait_until(Duration::from_secs(5), || forward_gone.has_ended()));
    let mut request = forward_kept.take_stdin();
    request
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    forward_kept.expect_output("HTTP/1.1 426");
    // The upstream is told as well.
    let lines = || {
        let text = fs::read_to_string(&ended).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let all = [
        "9443 /chat 1012",
        "9444 /chat 1012",
        "9445 /chat cut",
        "grpc Each",
    ];
    assert!(
        wait_until(Duration::from_secs(10), || lines() == all),
        "{:?}",
        lines()
    );
    drop(input);
    client.finish().expect_code(0);
}

/// Whether a decision is the one that the policy of this name makes, all of it.
fn fits(event: &Event, name: &str) -> bool {
    let (own, other) = if name == "alpha" {
        ("a", "b")
    } else {
        ("b", "a")
    };
    let allowed = match event.text("/path").as_str() {
        "" => {
            let port = event.text("/destination/port");
            port == "9447" || port == if own == "a" { "9445" } else { "9446" }
        }
        path => {
            path == format!("/{own}/x") || (path.starts_with("/both/") && !path.ends_with(other))
        }
    };
    let verdict = if allowed { "allow" } else { "deny" };
    event.text("/rule") == name && event.verdict() == verdict
}

/// Each generation's decisions are those of one policy. How many generations decided something.
fn check(events: &[Event]) -> usize {
    let mut generations = std::collections::BTreeMap::<u64, Vec<&Event>>::new();
    for event in events {
        let kind = event.text("/kind");
        if kind == "egress" || kind == "request" {
            let number = event.text("/generation").parse().unwrap();
            generations.entry(number).or_default().push(event);
        }
    }
    for (number, events) in &generations {
        let whole = ["alpha", "beta"].map(|name| events.iter().all(|event| fits(event, name)));
        assert!(whole[0] != whole[1], "generation {number}: {events:#?}");
    }
    generations.len()
}

/// Descriptors, threads and memory (KiB) of the gate.
fn holds(daemon: &Daemon<'_>) -> (usize, usize, u64) {
    let gate = daemon.gate();
    let open = fs::read_dir(format!("/proc/{gate}/fd")).unwrap().count();
    (open, threads(gate).len(), pss_kib(gate))
}

#[test]
fn a_thousand_reloads_under_load_judge_nothing_by_halves_and_leak_nothing() {
    let world = World::new();
    let secure = start(&world);
    let alpha = secure.setup(ALPHA);
    let beta = alpha
        .policy
        .replace("alpha:", "beta:")
        .replace("/a/**", "/b/**")
        .replace("/both/b", "/both/a")
        .replace("port: 9445", "port: 9446");
    let daemon = Daemon::start(&world, &alpha);
    let mut policies = Policies::of(&daemon);
    // The first load is for what is kept ready from then on: threads, buffers, certificates.
    let mut load = |reloads: usize| {
        let client = daemon.ssh().seconds(300).start(secure.client("load"));
        client.expect_output("asking\n");
        let start = Instant::now();
        for number in 1..=reloads {
            policies.put(if number % 2 == 0 {
                &alpha.policy
            } else {
                &beta
            });
        }
        eprintln!("{reloads} reloads under load: {:?}", start.elapsed());
        let session = client.finish().expect_code(0);
        let out = session.out();
        assert!(out.contains("held hi\n"), "{session}");
        assert!(out.ends_with("surprises []\n"), "{session}");
        eprintln!("{out}");
    };
    load(RELOADS / 10);
    let settled = |most: (usize, usize)| {
        wait_until(Duration::from_secs(20), || {
            let (open, threads, _) = holds(&daemon);
            open <= most.0 && threads <= most.1
        })
    };
    // Threads for judgements are kept for ten seconds.
    std::thread::sleep(Duration::from_secs(12));
    let before = holds(&daemon);
    load(RELOADS);
    assert!(
        settled((before.0, before.1)),
        "{before:?}, {:?}",
        holds(&daemon)
    );
    let after = holds(&daemon);
    eprintln!("descriptors, threads, KiB: {before:?}, then {after:?}");
    assert!(after.2 < before.2 + 8192, "{before:?}, {after:?}");
    let events = daemon.audit();
    let decided = check(&events);
    eprintln!("{} events by {decided} generations", events.len());
    assert!(decided > RELOADS / 2, "{decided}");
    let asked = events
        .iter()
        .filter(|event| event.text("/kind") == "request");
    let asked = asked.count();
    eprintln!("{asked} of them about requests");
    assert!(asked > RELOADS / 5, "{asked}");
    // The control: an event of the one policy is none of the other's.
    let strange: Vec<Event> = events
        .into_iter()
        .filter(|event| fits(event, "alpha"))
        .collect();
    assert!(!strange.is_empty() && strange.iter().all(|event| !fits(event, "beta")));
}
