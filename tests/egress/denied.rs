//! What policy denies goes nowhere: every case is also made outside the sandbox, where it works.

use super::attempt::{Attempt, connect_request, curl, curl_by_proxy, curl_tunnel};
use super::support::{Daemon, Setup, World, policy_with};

/// The control: without the sandbox the same request arrives at a server.
#[track_caller]
fn works_outside(world: &World, line: &str) {
    let count = || world.upstream.connections().len() + world.host.connections().len();
    let before = count();
    world.outside(line).expect_code(0);
    assert_eq!(count(), before + 1, "the control of {line}");
}

#[test]
fn a_host_that_no_rule_names_is_denied_unresolved() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    let line = curl("http://denied.example/");
    Attempt::make(&daemon, &line)
        .was_denied("denied.example", 80)
        .without_a_question();
    works_outside(&world, &line);
}

#[test]
fn a_denied_tunnel_is_403() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    let line = curl_tunnel("http://denied.example/");
    let attempt = Attempt::make(&daemon, &line);
    assert_eq!(attempt.session.code(), 56, "{}", attempt.session);
    assert!(attempt.session.err().contains("403"), "{}", attempt.session);
    attempt.only_event("deny");
    attempt.without_a_question();
    works_outside(&world, &line.replace("--proxytunnel", ""));
    Attempt::make(&daemon, &connect_request("denied.example:443"))
        .was_denied("denied.example", 443)
        .without_a_question();
}

#[test]
fn a_binary_whose_name_is_no_text_is_denied_and_ends_nothing_else() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &Setup::default());
    let line = format!(
        r"cp /usr/bin/curl $'odd\xff' && ./$'odd\xff' {}",
        curl("http://allowed.example/").trim_start_matches("curl ")
    );
    Attempt::make(&daemon, &line)
        .was_denied("allowed.example", 80)
        .without_a_question();
    assert!(!daemon.has_ended(), "{}", daemon.stderr());
}

/// What the monitor would say of it has no room in one message that the kernel is sure to have memory for.
#[test]
fn a_caller_with_endless_ancestors_is_nobody_known() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &Setup::default());
    let below = |levels: u32| {
        format!(
            "p=/sandbox; for i in $(seq 15); do p=$p/$(printf %0240d 0); done; mkdir -p $p && cp /bin/sh $p/sh; \
             printf '%s\n' 'if [ $2 = 0 ]; then {}; else $1 /tmp/down $1 $(($2 - 1)); fi; exit $?' > /tmp/down; \
             $p/sh /tmp/down $p/sh {levels}",
            curl("http://allowed.example/").replace('\'', "")
        )
    };
    let attempt = Attempt::make(&daemon, &below(12));
    attempt
        .was_denied("allowed.example", 80)
        .without_a_question();
    let event = attempt.only_event("deny").0.to_string();
    assert!(event.contains("take more than 32768 bytes"), "{event}");
    // The control: some are fine.
    let attempt = Attempt::make(&daemon, &below(3));
    attempt.only_event("allow");
    assert!(!daemon.has_ended(), "{}", daemon.stderr());
}

#[test]
fn a_port_that_no_rule_names_is_denied() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    let line = curl("http://allowed.example:6443/");
    Attempt::make(&daemon, &line)
        .was_denied("allowed.example", 6443)
        .without_a_question();
    works_outside(&world, &line);
}

#[test]
fn a_binary_that_no_rule_names_is_denied() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    let fetch = "/usr/bin/python3 -I -c 'import urllib.request as u, urllib.error as e\n\
        try: print(u.urlopen(\"http://allowed.example/\").read().decode())\n\
        except e.HTTPError as error: print(error.code, error.read().decode())'";
    let attempt = Attempt::make(&daemon, fetch);
    attempt
        .was_denied("allowed.example", 80)
        .without_a_question();
    let event = attempt.only_event("deny");
    assert!(
        event
            .text("/process/binary")
            .starts_with("/usr/bin/python3"),
        "{event:?}"
    );
    works_outside(&world, fetch);
    // The same bytes by another name are another binary.
    let copied = "cp /usr/bin/curl ./curl && ./curl -sS http://allowed.example/";
    let attempt = Attempt::make(&daemon, copied);
    attempt.was_denied("allowed.example", 80);
    assert_eq!(
        attempt.only_event("deny").text("/process/binary"),
        "/sandbox/curl"
    );
}

#[test]
fn nothing_gets_out_without_a_network_policy() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let line = curl("http://allowed.example/");
    Attempt::make(&daemon, &line)
        .was_denied("allowed.example", 80)
        .without_a_question();
    works_outside(&world, &line);
}

#[test]
fn names_of_private_addresses_are_denied_below_a_wildcard() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    for name in [
        "private",
        "cgnat",
        "ula",
        "metadata",
        "loopback",
        "loopback6",
        "zero",
        "own",
        "mapped",
        "mixed",
        "documentation",
    ] {
        let host = format!("{name}.wild.example");
        let line = curl(&format!("http://{host}/"));
        Attempt::make(&daemon, &line).was_denied(&host, 80);
        works_outside(&world, &line);
    }
}

#[test]
fn loopback_and_link_local_are_denied_even_by_name() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    for host in [
        "metadata.example",
        "loopback.example",
        "zero.example",
        "mappedmeta.wild.example",
    ] {
        let line = curl(&format!("http://{host}/"));
        Attempt::make(&daemon, &line).was_denied(host, 80);
        works_outside(&world, &line);
    }
}

/// Any binary may go to these literal addresses: only what they are can stop it.
const ADDRESSES: [(&str, bool); 9] = [
    ("127.0.0.1", true),
    ("169.254.169.254", true),
    ("0.0.0.0", true),
    ("20.30.40.1", false),
    ("10.9.9.9", false),
    ("[::1]", true),
    ("[::ffff:127.0.0.1]", true),
    ("[::ffff:169.254.169.254]", true),
    ("[fd00:9::9]", false),
];

#[test]
fn literal_addresses_that_no_rule_names_are_denied() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    for (address, _) in ADDRESSES.into_iter().chain([("[2a00:1:1::10]", false)]) {
        let line = curl_by_proxy(&format!("http://{address}:8080/"));
        let attempt = Attempt::make(&daemon, &line);
        attempt.reached_nobody();
        attempt.only_event("deny");
        assert_eq!(
            attempt.answer()["error"],
            "policy_denied",
            "{}",
            attempt.session
        );
        works_outside(&world, &line);
    }
}

#[test]
fn loopback_metadata_and_unspecified_are_denied_even_as_named_addresses() {
    let world = World::new();
    let never = ADDRESSES
        .iter()
        .filter(|(_, never)| *never)
        .map(|(address, _)| *address);
    let list = |address: &str| {
        let bare = address.trim_matches(['[', ']']);
        format!("      - {{host: '{bare}', port: 8080}}\n")
    };
    // Some of these a loader may refuse outright, which is as good: then there is no such rule.
    for address in never {
        let line = curl_by_proxy(&format!("http://{address}:8080/"));
        works_outside(&world, &line);
        let policy = policy_with(&format!(
            "network_policies:\n  bad:\n    name: bad\n    endpoints:\n{}    \
             binaries: [{{path: '/**'}}]\n",
            list(address)
        ));
        let setup = Setup {
            policy,
            ..Setup::default()
        };
        let config = setup.write(&world);
        let arguments = ["check", "--config", config.to_str().unwrap()];
        let check = super::support::run(
            &mut super::support::sandgate(&world, &setup, &arguments),
            20,
        );
        if check.code() != 0 {
            assert!(check.err().contains("policy.yaml"), "{check}");
            continue;
        }
        let daemon = Daemon::start(&world, &setup);
        let attempt = Attempt::make(&daemon, &line);
        attempt.reached_nobody();
        attempt.only_event("deny");
    }
}

#[test]
fn a_denial_is_one_event_and_is_not_remembered() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    // On one connection to the proxy: a denial closes nothing that it need not, and opens nothing.
    let line = "curl -sS --max-time 10 http://denied.example/ http://allowed.example/";
    let attempt = Attempt::make(&daemon, line);
    let verdicts: Vec<_> = attempt
        .events
        .iter()
        .map(super::support::Event::verdict)
        .collect();
    assert_eq!(verdicts, ["deny", "allow"], "{}", attempt.session);
}
