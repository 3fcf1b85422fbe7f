//! Programs that are told nothing: not where the proxy is, nor whom to trust.

use super::secure::{NETWORK, Secure};
use super::support::{Daemon, Event, World};

pub(crate) fn requests(daemon: &Daemon<'_>, verdict: &str) -> Vec<Event> {
    let mut events = daemon.audit();
    events.retain(|event| event.text("/kind") == "request" && event.verdict() == verdict);
    events
}

#[test]
fn curl_speaks_both_versions_and_is_denied_by_rule() {
    let world = World::new();
    let secure = Secure::start(&world);
    let daemon = Daemon::start(&world, &secure.setup(NETWORK));
    for version in ["--http1.1", "--http2"] {
        let line = format!(
            "curl -sS {version} https://secure.example:8443/public/x?y=z && curl -sS -w '%{{http_code}}' -o /dev/null {version} https://secure.example:8443/secret"
        );
        let session = daemon.ssh().seconds(30).run(&line);
        assert_eq!(session.code(), 0, "{session}");
        assert_eq!(session.out(), "GET /public/x?y=z 0\n403", "{session}");
    }
    let upload = "head -c 13M /dev/zero > big && curl -sS --data-binary @big https://secure.example:8443/public/up && curl -sS -w '%{http_code}' -o /dev/null --data-binary @big https://secure.example:8443/secret";
    let session = daemon.ssh().seconds(30).run(upload);
    assert_eq!(session.out(), "POST /public/up 13631488\n403", "{session}");
    let denied = requests(&daemon, "deny");
    assert_eq!(denied.len(), 3, "{denied:#?}");
    assert_eq!(denied[0].text("/path"), "/secret");
    assert_eq!(denied[0].text("/process/binary"), "/usr/bin/curl");
}

#[test]
fn git_clones_and_a_rule_stops_its_push() {
    let world = World::new();
    let secure = Secure::start(&world);
    let push = "git clone --quiet https://secure.example:8443/repo.git && cat repo/file && cd repo && git -c user.name=t -c user.email=t@example commit --quiet --allow-empty -m second && git push --quiet";
    {
        let daemon = Daemon::start(&world, &secure.setup(NETWORK));
        let session = daemon.ssh().seconds(30).run(push);
        assert_eq!(session.out(), "content\n", "{session}");
        assert_ne!(session.code(), 0, "{session}");
        assert!(session.err().contains("403"), "{session}");
        let denied = requests(&daemon, "deny");
        assert_eq!(
            denied[0].text("/path"),
            "/repo.git/info/refs",
            "{denied:#?}"
        );
        assert!(
            !format!("{denied:?}").contains("receive-pack"),
            "{denied:#?}"
        );
    }
    // The control: the same push by a policy with a rule for it.
    let open = NETWORK
        .replace(
            "query: {service: git-upload-pack}",
            "query: {service: 'git-*'}",
        )
        .replace("path: /repo.git/git-upload-pack", "path: /repo.git/*");
    let daemon = Daemon::start(&world, &secure.setup(&open));
    let session = daemon.ssh().seconds(30).run(push);
    let denied = requests(&daemon, "deny");
    assert_eq!(session.code(), 0, "{session} {denied:?}");
}

#[test]
fn requests_of_python_keep_their_connection() {
    let world = World::new();
    let secure = Secure::start(&world);
    let daemon = Daemon::start(&world, &secure.setup(NETWORK));
    let session = daemon.ssh().seconds(40).run(secure.client("rest"));
    assert_eq!(session.out(), "200\n200\n403\n200\n403\n", "{session}");
    let denied = requests(&daemon, "deny");
    assert_eq!(denied.len(), 2, "{denied:#?}");
}

#[test]
fn httpx_of_python_reads_events_as_they_come_in_both_versions() {
    let world = World::new();
    let secure = Secure::start(&world);
    let daemon = Daemon::start(&world, &secure.setup(NETWORK));
    let session = daemon.ssh().seconds(60).run(secure.client("both"));
    let events = "data: 0 data: 1 data: 2 bit by bit";
    assert_eq!(
        session.out(),
        format!("HTTP/1.1 200 403 200 403\n{events}\nHTTP/2 200 403 200 403\n{events}\n"),
        "{session}"
    );
}

#[test]
fn grpc_calls_and_streams_are_judged_by_service_and_method() {
    let world = World::new();
    let secure = Secure::start(&world);
    let daemon = Daemon::start(&world, &secure.setup(NETWORK));
    let session = daemon.ssh().seconds(40).run(secure.client("rpc"));
    assert_eq!(
        session.out(),
        "echo hello\necho a echo b echo c many\nPERMISSION_DENIED POST /test.Echo/Secret is allowed by no rule of policy `secure`\n",
        "{session}"
    );
    let denied = requests(&daemon, "deny");
    assert_eq!(denied[0].text("/path"), "/test.Echo/Secret", "{denied:#?}");
    // As it is on the wire; the control: who speaks no gRPC reads JSON.
    let line = "curl -sS --http2 -i -X POST -H 'content-type: application/grpc+proto' https://secure.example:50051/test.Echo/Secret; curl -sS --http2 -i -X POST https://secure.example:50051/test.Echo/Secret";
    let session = daemon.ssh().seconds(30).run(line);
    let out = session.out();
    let (grpc, json) = out.split_once("HTTP/2 403").unwrap();
    for said in [
        "HTTP/2 200",
        "content-type: application/grpc\r\n",
        "grpc-status: 7\r\n",
        "grpc-message: POST /test.Echo/Secret is allowed by no rule",
    ] {
        assert!(grpc.contains(said), "{said}: {session}");
    }
    assert!(
        json.contains("\"policy_denied\"") && !json.contains("grpc-"),
        "{session}"
    );
}

#[test]
fn a_fragment_of_http_two_is_cut_off_before_the_path_is_judged() {
    let world = World::new();
    let secure = Secure::start(&world);
    let daemon = Daemon::start(&world, &secure.setup(NETWORK));
    let session = daemon.ssh().seconds(40).run(secure.client("fragment"));
    // What is judged is what is sent; the control: an escaped `#` is a part of the path.
    assert_eq!(
        session.out(),
        "200 GET /public/x?y=z 0\n403 \n200 GET /public/x%23y 0\n",
        "{session}"
    );
    let denied = requests(&daemon, "deny");
    assert_eq!(denied[0].text("/path"), "/secret", "{denied:#?}");
}

#[test]
fn a_websocket_carries_what_rules_allow_and_closes_by_policy() {
    let world = World::new();
    let secure = Secure::start(&world);
    let daemon = Daemon::start(&world, &secure.setup(NETWORK));
    let session = daemon.ssh().seconds(40).run(secure.client("chat"));
    assert_eq!(session.out(), "hello\nin two\n1008\n", "{session}");
    let denied = requests(&daemon, "deny");
    assert_eq!(denied[0].text("/method"), "WEBSOCKET_BINARY", "{denied:#?}");
    // The control: with a rule for it, binary comes back.
    drop(daemon);
    let open = NETWORK.replace("method: WEBSOCKET_TEXT", "method: '*'");
    let daemon = Daemon::start(&world, &secure.setup(&open));
    let session = daemon.ssh().seconds(40).run(secure.client("chat"));
    assert_eq!(session.out(), "hello\nin two\nb'binary'\n", "{session}");
}
