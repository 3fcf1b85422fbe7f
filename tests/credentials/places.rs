//! Where a placeholder may stand, where its secret may go, and what happens elsewhere.

use super::keyed::{Keyed, TOKEN, curl, refused};
use super::support::{Daemon, Finished, World};

fn decoded(base64: &serde_json::Value) -> String {
    let bytes = data_encoding::BASE64.decode(base64.as_str().unwrap().as_bytes());
    String::from_utf8(bytes.unwrap()).unwrap()
}

#[test]
fn sessions_have_placeholders_and_the_server_gets_the_secret_by_http_1_and_2() {
    let world = World::new();
    let keyed = Keyed::start(&world);
    let daemon = Daemon::start(&world, &keyed.setup());
    let session = daemon
        .ssh()
        .run("echo $TOKEN $OTHER $HIDDEN $AWS_ACCESS_KEY_ID");
    let named = "sandgate:TOKEN sandgate:OTHER sandgate:HIDDEN sandgate:AWS_ACCESS_KEY_ID\n";
    assert_eq!(session.out(), named, "{session}");
    for (written, arrives) in [
        ("X-Key: $TOKEN", ("x-key", TOKEN.to_owned())),
        (
            "Authorization: Bearer $TOKEN",
            ("authorization", format!("Bearer {TOKEN}")),
        ),
        (
            "Authorization: token openshell:resolve:env:TOKEN",
            ("authorization", format!("token {TOKEN}")),
        ),
        (
            "X-Image: sandgate:1.2",
            ("x-image", "sandgate:1.2".to_owned()),
        ),
    ] {
        for version in ["--http1.1", "--http2"] {
            let line = curl(&format!(
                "{version} -H \"{written}\" https://secure.example:8443/plain/a"
            ));
            let session = daemon.ssh().run(line);
            assert_eq!(session.out(), "fine\n200", "{session}");
            let (name, value) = &arrives;
            assert_eq!(keyed.last()["headers"][name], value.as_str(), "{written}");
        }
    }
    // A path's segment, encoded so that it stays one; curl is not to resolve what it shows.
    let line = curl("https://secure.example:8443/plain/bot$TOKEN/send");
    assert_eq!(daemon.ssh().run(line).out(), "fine\n200");
    let target = keyed.last()["target"].as_str().unwrap().to_owned();
    assert_eq!(
        target,
        "/plain/bott0p%26s3cret%3D%22w%2Brd%22%20100%25%3Ax/send"
    );
    let audit = daemon.audit();
    let allowed = audit
        .iter()
        .rfind(|event| event.text("/kind") == "request")
        .unwrap();
    assert_eq!(allowed.text("/path"), "/plain/botsandgate:TOKEN/send");
    assert_eq!(allowed.text("/credentials/0"), "TOKEN");
}

#[test]
fn queries_basic_and_bodies_of_python_are_resolved_where_policy_says() {
    let world = World::new();
    let keyed = Keyed::start(&world);
    let daemon = Daemon::start(&world, &keyed.setup());
    let session = daemon.ssh().seconds(40).run(keyed.secure.client("rest"));
    assert_eq!(session.out(), "200\n200\n200\n200\n200\n200\n", "{session}");
    let arrived = keyed.arrived();
    let [query, basic, json, form, text, plain] = arrived.as_slice() else {
        panic!("{arrived:#?}");
    };
    let encoded = "t0p%26s3cret%3D%22w%2Brd%22%20100%25%3Ax";
    assert_eq!(
        query["target"],
        format!("/plain/query?key={encoded}&other=a+b")
    );
    let pair = data_encoding::BASE64.encode(format!("user:{TOKEN}").as_bytes());
    assert_eq!(basic["headers"]["authorization"], format!("Basic {pair}"));
    let json: serde_json::Value = serde_json::from_str(&decoded(&json["body"])).unwrap();
    assert_eq!(json, serde_json::json!({"token": TOKEN, "list": [TOKEN]}));
    assert_eq!(decoded(&form["body"]), format!("token={encoded}"));
    assert_eq!(decoded(&text["body"]), format!("it is {TOKEN}."));
    // The control: bodies of other endpoints are nobody's to read.
    assert_eq!(decoded(&plain["body"]), "{\"token\": \"sandgate:TOKEN\"}");
}

#[test]
fn messages_of_a_websocket_are_resolved_and_one_that_cannot_be_closes_it() {
    let world = World::new();
    let keyed = Keyed::start(&world);
    let daemon = Daemon::start(&world, &keyed.setup());
    let session = daemon.ssh().seconds(40).run(keyed.secure.client("chat"));
    assert_eq!(
        session.out(),
        "heard\nheard\nheard\nheard\n1008\n",
        "{session}"
    );
    let arrived = keyed.arrived();
    let said: Vec<_> = arrived
        .iter()
        .map(|one| one["message"].as_str().unwrap())
        .collect();
    let json: serde_json::Value = serde_json::from_str(said[0]).unwrap();
    assert_eq!(json, serde_json::json!({ "token": TOKEN }));
    assert_eq!(
        said[1..],
        [
            format!("plainly {TOKEN}").as_str(),
            "no secret",
            format!("in {TOKEN}").as_str(),
        ]
    );
    let audit = daemon.audit();
    let denied = audit
        .iter()
        .find(|event| event.verdict() == "deny")
        .unwrap();
    assert_eq!(denied.text("/method"), "WEBSOCKET_TEXT");
    assert!(denied.text("/reason").contains("NOBODYS"), "{denied:?}");
}

/// Runs curl with these arguments; `URL` is the server, `big` a file of 300,000 bytes.
fn ask(daemon: &Daemon<'_>, arguments: &str) -> Finished {
    let arguments = arguments.replace("URL", "https://secure.example:8443");
    let line = format!(
        "head -c 300000 /dev/zero | tr '\\0' x > big; {}",
        curl(&arguments)
    );
    daemon.ssh().run(line)
}

/// That these are refused, nothing has arrived, and each left an event of its denial.
fn all_refused(keyed: &Keyed<'_>, daemon: &Daemon<'_>, cases: &[(&str, u16, &str)]) {
    for (arguments, status, error) in cases {
        refused(&ask(daemon, arguments), *status, error);
    }
    assert!(keyed.arrived().is_empty(), "{:#?}", keyed.arrived());
    let audit = daemon.audit();
    let denied = audit
        .iter()
        .filter(|event| event.text("/kind") == "request");
    assert!(denied.clone().all(|event| event.verdict() == "deny"));
    assert_eq!(denied.count(), cases.len());
}

#[test]
fn a_secret_goes_nowhere_else() {
    let world = World::new();
    let keyed = Keyed::start(&world);
    let daemon = Daemon::start(&world, &keyed.setup());
    let elsewhere = [
        "-H \"X-Key: $TOKEN\" URL/else",
        "-H \"X-Key: $TOKEN\" --http2 URL/else",
        "URL/else?x=$TOKEN",
        "URL/else/$TOKEN",
        "-u user:$TOKEN URL/else",
        "-H \"X-Key: $TOKEN\" https://allowed.example:8443/plain/a",
        // Another provider's, where the endpoint is bound to one.
        "-H \"X-Key: $TOKEN\" URL/bound/a",
    ];
    let cases = elsewhere.map(|asked| (asked, 403, "credential_endpoint_mismatch"));
    all_refused(&keyed, &daemon, &cases);
    // The controls: the same secret where it may go, and the one that the endpoint is bound to.
    for (path, key) in [("plain/a", "$TOKEN"), ("bound/a", "$OTHER")] {
        let session = ask(&daemon, &format!("-H \"X-Key: {key}\" URL/{path}"));
        assert_eq!(session.out(), "fine\n200", "{session}");
    }
    assert_eq!(keyed.last()["headers"]["x-key"], "another-one");
}

#[test]
fn nothing_is_sent_unresolved() {
    let world = World::new();
    let keyed = Keyed::start(&world);
    let daemon = Daemon::start(&world, &keyed.setup());
    let unavailable = [
        "-H 'X-Key: sandgate:NOBODYS' URL/plain/a",
        "-H 'X-Key: openshell:resolve:env:NOBODYS' URL/plain/a",
        "-H \"X-Key: amid $TOKEN text\" URL/plain/a",
        "'URL/plain/a?sandgate:TOKEN=1'",
        // CR and LF in a secret.
        "-H \"X-Key: $BROKEN\" URL/plain/a",
        "-H 'Content-Type: text/plain' -H 'Content-Encoding: gzip' --data-binary x URL/body/a",
    ];
    let mut cases = unavailable
        .map(|asked| (asked, 500, "credential_unavailable"))
        .to_vec();
    let long = "-H 'Content-Type: text/plain' --data-binary @big URL/body/a";
    cases.push((long, 413, "credential_body_too_long"));
    all_refused(&keyed, &daemon, &cases);
    let said = daemon.stderr();
    assert!(
        said.contains("token.BROKEN") && said.contains("holds CR, LF or NUL"),
        "{said}"
    );
    assert!(!said.contains("X-Two"), "{said}");
    // The control: a body of the same length that nobody reads.
    let session = ask(&daemon, &long.replace("body/a", "plain/a"));
    assert_eq!(session.out(), "fine\n200", "{session}");
}

#[test]
fn a_header_is_put_in_for_clients_that_name_nothing() {
    let world = World::new();
    let keyed = Keyed::start(&world);
    let daemon = Daemon::start(&world, &keyed.setup());
    for arguments in [
        "",
        "-H 'Authorization: Bearer mine'",
        "--http2 -H 'Authorization: sandgate:TOKEN'",
    ] {
        let line = curl(&format!(
            "{arguments} https://secure.example:8443/injected/a"
        ));
        let session = daemon.ssh().run(line);
        assert_eq!(session.out(), "fine\n200", "{session}");
        assert_eq!(
            keyed.last()["headers"]["authorization"],
            "Bearer never-named"
        );
    }
    let line = curl("https://secure.example:8443/plain/a");
    assert_eq!(daemon.ssh().run(line).out(), "fine\n200");
    assert_eq!(keyed.last()["headers"].get("authorization"), None);
}

#[test]
fn sandboxes_without_the_provider_have_neither_name_nor_secret() {
    let world = World::new();
    let keyed = Keyed::start(&world);
    let mut setup = keyed.setup();
    setup.login = "    sandbox: {providers: [other]}\n".to_owned();
    let daemon = Daemon::start(&world, &setup);
    let session = daemon.ssh().run("echo [$TOKEN] [$OTHER]");
    assert_eq!(session.out(), "[] [sandgate:OTHER]\n", "{session}");
    let line = curl("-H 'X-Key: sandgate:TOKEN' https://secure.example:8443/plain/a");
    refused(&daemon.ssh().run(line), 500, "credential_unavailable");
    let line = curl("https://secure.example:8443/injected/a");
    assert_eq!(daemon.ssh().run(line).out(), "fine\n200");
    assert_eq!(keyed.last()["headers"].get("authorization"), None);
}
