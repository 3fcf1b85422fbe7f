//! `https://inference.local`: the libraries that programs use, against endpoints that the operator names.

use std::fs;
use std::time::Duration;

use super::models::{Models, SECRET, pay_with, records};
use super::support::{Daemon, Event, World, signal, wait_until};

/// Path, model asked for and used, tokens, status: what an event says of a request.
fn told(event: &Event) -> String {
    let text = |pointer: &str| event.text(pointer);
    format!(
        "{} {} {}>{} {}+{} {}",
        text("/operation"),
        text("/route"),
        text("/model"),
        text("/model_used"),
        text("/input_tokens"),
        text("/output_tokens"),
        text("/status")
    )
}

#[test]
fn libraries_are_answered_and_the_upstream_sees_the_operators_request() {
    let world = World::new();
    let models = Models::start(&world);
    let daemon = Daemon::start(&world, &models.setup());
    let session = models.ask(&daemon, "whole");
    assert_eq!(
        session.out(),
        "one two three 11\ndone\n[0.5, 0.25]\nanswer\none two three 3\n2095\n\
         ['bare', 'slow', 'small', 'wrong'] slow\n['claude', 'claude-wrong']\n",
        "{session}"
    );
    let seen = models.seen();
    let targets: Vec<&str> = seen.iter().map(|s| s["target"].as_str().unwrap()).collect();
    assert_eq!(
        targets,
        [
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/embeddings",
            "/v1/responses",
            "/team/v1/messages",
            "/team/v1/messages/count_tokens"
        ]
    );
    for request in &seen {
        let headers = &request["headers"];
        let anthropic = request["target"].as_str().unwrap().starts_with("/team");
        let model = request["body"]["model"].as_str().unwrap();
        if anthropic {
            assert_eq!(model, "real-claude");
            assert_eq!(headers["x-api-key"], SECRET);
            assert!(headers["anthropic-version"].is_string(), "{request}");
            assert!(headers["authorization"].is_null(), "{request}");
        } else {
            assert_eq!(model, "real-small");
            assert_eq!(headers["authorization"], format!("Bearer {SECRET}"));
            assert!(headers["openai-organization"].is_null(), "{request}");
        }
        assert!(
            !request.to_string().contains("the-callers-own"),
            "{request}"
        );
    }
    let told: Vec<String> = records(&daemon, 9).iter().map(told).collect();
    assert_eq!(
        told,
        [
            "/v1/chat/completions open small>real-small 11+7 200",
            "/v1/completions open small>real-small 2+1 200",
            "/v1/embeddings open small>real-small 4+0 200",
            "/v1/responses open small>real-small 21+9 200",
            "/v1/messages claude claude>real-claude 105+3 200",
            "/v1/messages/count_tokens claude claude>real-claude + 200",
            "/v1/models  > + 200",
            "/v1/models  > + 200",
            "/v1/models  > + 200",
        ]
    );
    let first = &records(&daemon, 9)[0];
    assert_eq!(first.text("/destination/host"), "inference.local");
    assert_eq!(first.text("/addresses/0"), "20.30.40.10");
    assert_eq!(first.text("/definition"), "agent");
    assert_eq!(first.text("/estimated"), "false");
    assert!(
        first.text("/process/binary").contains("python3"),
        "{first:?}"
    );
    let trail = fs::read_to_string(world.dir.join("audit.jsonl")).unwrap();
    for never in [SECRET, "the-callers-own", "nobody writes down"] {
        assert!(!trail.contains(never) && !daemon.stderr().contains(never));
    }
}

#[test]
fn streams_are_not_held_up_and_end_as_their_caller_asked() {
    let world = World::new();
    let models = Models::start(&world);
    let daemon = Daemon::start(&world, &models.setup());
    let session = models.ask(&daemon, "streamed");
    assert_eq!(
        session.out(),
        "one two three\n5 [] 18\none two three\none two three 3\n",
        "{session}"
    );
    let usage = &models.seen()[0]["body"]["stream_options"]["include_usage"];
    assert_eq!(usage, true);
    let session = models.ask(&daemon, "slow");
    assert_eq!(session.out(), "True True\n", "{session}");
    let told: Vec<String> = records(&daemon, 5).iter().map(told).collect();
    assert_eq!(
        told,
        [
            "/v1/chat/completions open small>real-small 11+7 200",
            "/v1/chat/completions open small>real-small 11+7 200",
            "/v1/responses open small>real-small 21+9 200",
            "/v1/messages claude claude>real-claude 105+3 200",
            "/v1/chat/completions open slow>real-slow 11+7 200",
        ]
    );
    assert!(records(&daemon, 5)[4].0["duration_ms"].as_u64().unwrap() > 3000);
}

#[test]
fn who_leaves_before_the_end_has_not_used_nothing() {
    let world = World::new();
    let models = Models::start(&world);
    let daemon = Daemon::start(&world, &models.setup());
    models.ask(&daemon, "leave").expect_code(0);
    let left = &records(&daemon, 1)[0];
    assert_eq!(left.text("/estimated"), "true");
    assert_eq!(left.text("/reason"), "the caller left before its end");
    assert!(left.0["input_tokens"].as_u64().unwrap() > 10, "{left:?}");
    assert!(left.0["output_tokens"].as_u64().unwrap() > 1, "{left:?}");
    // The upstream is left as well, and need not go on.
    let gone = || models.seen().iter().any(|seen| seen["left"] == "real-slow");
    assert!(
        wait_until(Duration::from_secs(10), gone),
        "{:?}",
        models.seen()
    );
}

#[test]
fn limits_are_said_so_that_libraries_wait() {
    let world = World::new();
    let models = Models::start(&world);
    let daemon = Daemon::start(&world, &models.limited("requests_per_minute: 2"));
    let session = models.ask(&daemon, "limit");
    assert_eq!(
        session.out(),
        "answered\nanswered\nopenai 429 True 1\nanthropic 429 True 1\n",
        "{session}"
    );
    let refused = &records(&daemon, 4)[2];
    assert_eq!(
        (refused.verdict(), refused.text("/status")),
        ("deny".into(), "429".into())
    );
    assert_eq!(models.seen().len(), 2);
    drop(daemon);
    // 11 and 7 tokens: after the first the second may begin, after that none.
    let daemon = Daemon::start(&world, &models.limited("tokens_per_day: 19"));
    let session = models.ask(&daemon, "tokens");
    assert_eq!(session.out(), "answered\nanswered\nfalse 1\n", "{session}");
}

#[test]
fn a_limit_is_its_definitions_and_counts_for_one_sandbox() {
    let world = World::new();
    let models = Models::start(&world);
    let mut setup = models.setup();
    // `sandbox` shares, `apart` does not, `tokens` shares and is bounded otherwise.
    setup.login = ["apart", "tokens"].into_iter().fold(
        "    sandbox: agent\n".to_owned(),
        |logins, name| {
            format!(
                "{logins}  {name}:\n    authorized_keys: [authorized_keys]\n    policy: policy.yaml\n    sandbox: {name}\n"
            )
        },
    );
    setup.top = setup.top.replace(
        "  agent: {inference: {routes: [open, claude]}}",
        "  agent: {scope: login, linger: 60, inference: {routes: [open], requests_per_minute: 2}}\n  \
           apart: {inference: {routes: [open], requests_per_minute: 2}}\n  \
           tokens: {scope: login, linger: 60, inference: {routes: [open], tokens_per_day: 18}}",
    );
    let daemon = Daemon::start(&world, &setup);
    let ask = "curl -sS -o /tmp/answer -w '%{http_code} ' -d '{\"model\":\"small\",\"messages\":[]}' https://inference.local/v1/chat/completions";
    let asked = |login: &str, line: &str| daemon.ssh().user(login).seconds(30).run(line).out();
    let connections = |login: &str| -> Vec<String> { (0..3).map(|_| asked(login, ask)).collect() };
    // Three connections to one sandbox have its two requests; three sandboxes have two each.
    assert_eq!(connections("sandbox"), ["200 ", "200 ", "429 "]);
    assert_eq!(connections("apart"), ["200 ", "200 ", "200 "]);
    let often = format!("{ask}; {ask}; {ask}");
    assert_eq!(asked("apart", &often), "200 200 429 ");
    // 11 and 7 are used up by the first; the number of requests is not bounded here.
    assert_eq!(connections("tokens"), ["200 ", "429 ", "429 "]);
    let why = asked("tokens", "cat /tmp/answer");
    assert!(why.contains("tokens_per_day"), "{why}");
    let why = asked("sandbox", &format!("{ask}; cat /tmp/answer"));
    assert!(why.contains("requests_per_minute"), "{why}");
}

#[test]
fn what_is_not_served_is_refused_in_the_librarys_own_words() {
    let world = World::new();
    let mut models = Models::start(&world);
    let daemon = Daemon::start(&world, &models.setup());
    let session = models.ask(&daemon, "names");
    assert_eq!(
        session.out(),
        "openai NotFoundError True\nanthropic NotFoundError True\nopenai NotFoundError True\n",
        "{session}"
    );
    let session = models.ask(&daemon, "paths");
    assert_eq!(
        session.out(),
        "openai 404\nopenai 404\nanthropic 404\n",
        "{session}"
    );
    let session = models.ask(&daemon, "long");
    assert_eq!(
        session.out(),
        "openai 413 invalid_request_error\nanthropic 413 request_too_large\n",
        "{session}"
    );
    assert!(models.seen().is_empty());
    let session = models.ask(&daemon, "refused");
    assert_eq!(session.out().matches("502 false").count(), 2, "{session}");
    assert!(!session.out().contains(SECRET), "{session}");
    models.stop();
    let session = models.ask(&daemon, "down");
    assert_eq!(
        session.out(),
        "openai 502 True\nanthropic 502 True\n",
        "{session}"
    );
    let told = told(&records(&daemon, 12)[11]);
    assert_eq!(told, "/v1/messages claude claude>real-claude + 502");
}

#[test]
fn curl_sees_nothing_of_the_account_and_plain_http_serves_as_well() {
    let world = World::new();
    let models = Models::start(&world);
    let daemon = Daemon::start(&world, &models.setup());
    let body = r#"{"model":"small","messages":[]}"#;
    for (options, url) in [
        ("--http1.1", "https://inference.local"),
        ("--http2", "https://inference.local"),
        ("-p", "http://inference.local"),
        ("", "http://inference.local"),
    ] {
        let line = format!(
            "curl -sS -D - {options} -b account=mine -H 'api-key: mine' -d '{body}' {url}/v1/chat/completions"
        );
        let session = daemon.ssh().seconds(20).run(&line);
        let out = session.out();
        assert!(out.contains("one two three"), "{session}");
        assert!(out.contains("request-id: req_1"), "{session}");
        assert!(
            !out.contains("account=operator") && !out.contains("the-operators"),
            "{session}"
        );
    }
    for seen in models.seen() {
        assert!(!seen.to_string().contains("mine"), "{seen}");
    }
    // A model twice, no JSON, another port, and another name in TLS.
    for (line, said) in [
        (
            r#"-d '{"model":"small","model":"slow"}' https://inference.local/v1/chat/completions"#,
            "400",
        ),
        ("-d x https://inference.local/v1/messages", "400"),
        (
            r#"-d '{"model":"small"}' https://inference.local/v1/chat/completions?key=x"#,
            "404",
        ),
        ("https://inference.local:8443/v1/models", "000"),
        (
            "--connect-to other.local:443:inference.local:443 https://other.local/v1/models",
            "000",
        ),
        ("https://inference.local/v1/models", "200"),
    ] {
        let line = format!("curl -sS -o /dev/null -w '%{{http_code}}' {line}");
        let session = daemon.ssh().seconds(20).run(&line);
        assert_eq!(session.out(), said, "{session}");
    }
}

#[test]
fn only_definitions_that_say_so_have_models_and_a_reload_takes_them_away() {
    let world = World::new();
    let models = Models::start(&world);
    let ask = "curl -sS -w '%{http_code} ' -o /dev/null https://inference.local/v1/models; \
               curl -sS -w '%{http_code}' http://inference.local/v1/models";
    let mut setup = models.setup();
    setup.login = "    sandbox: bare\n".to_owned();
    {
        let daemon = Daemon::start(&world, &setup);
        let session = daemon.ssh().seconds(20).run(ask);
        assert!(session.out().starts_with("000 {\"detail\":"), "{session}");
        assert!(session.out().contains("policy_denied"), "{session}");
        records(&daemon, 0);
        let denied = daemon.audit();
        let denied = denied
            .iter()
            .filter(|event| event.is_for("inference.local"));
        assert_eq!(denied.count(), 2);
    }
    let setup = models.setup();
    let daemon = Daemon::start(&world, &setup);
    let slow = r#"curl -sSN -d '{"model":"slow","stream":true,"messages":[]}' https://inference.local/v1/chat/completions"#;
    let line = format!(
        "{slow} & sleep 1.5; echo; echo begun; read _; wait $!; code=$?; echo; echo curl $code; {ask}"
    );
    let mut session = daemon.ssh().seconds(30).start(&line);
    session.expect_output("begun");
    let config = fs::read_to_string(world.dir.join("sandgate.yaml")).unwrap();
    let without = config.replace(
        "  agent: {inference: {routes: [open, claude]}}",
        "  agent: {}",
    );
    assert_ne!(config, without);
    fs::write(world.dir.join("sandgate.yaml"), without).unwrap();
    signal(daemon.id(), nix::sys::signal::Signal::SIGHUP);
    let renewed = || daemon.stderr().contains("configuration reloaded");
    assert!(
        wait_until(Duration::from_secs(10), renewed),
        "{}",
        daemon.stderr()
    );
    drop(session.take_stdin());
    let finished = session.finish();
    let out = finished.out();
    assert!(!out.contains("[DONE]"), "{finished}");
    assert!(
        out.contains("curl 18") || out.contains("curl 92"),
        "{finished}"
    );
    assert!(out.contains("\n000 {\"detail\":"), "{finished}");
    let cut = &records(&daemon, 1)[0];
    assert_eq!(
        cut.text("/reason"),
        "the operator has taken the models away"
    );
}

#[test]
fn an_upstream_may_be_private_and_never_on_the_link_and_pays_with_what_is_the_secret_now() {
    let world = World::new();
    let models = Models::start(&world);
    let mut setup = models.setup();
    setup.login = "    sandbox: local\n".to_owned();
    {
        let daemon = Daemon::start(&world, &setup);
        let ask = |path: &str, model: &str| {
            let body = format!(r#"{{"model":"{model}","messages":[],"max_tokens":1}}"#);
            let line = format!(
                "curl -sS -w '%{{http_code}}' -H 'authorization: Bearer mine' -d '{body}' https://inference.local{path}"
            );
            daemon.ssh().seconds(20).run(&line).out()
        };
        let chat = "/v1/chat/completions";
        assert!(ask(chat, "mine").ends_with("200"));
        assert!(models.seen()[0]["headers"]["authorization"].is_null());
        for (model, said) in [("link", "link-local"), ("here", "loopback")] {
            let out = ask(chat, model);
            assert!(out.contains(said) && out.ends_with("502"), "{out}");
        }
        // A route with a default takes every name, in its own protocol.
        assert!(ask("/v1/messages", "any/name").ends_with("200"));
        assert!(ask(chat, "any/name").ends_with("404"));
        assert_eq!(models.seen().len(), 2);
        assert_eq!(models.seen()[1]["body"]["model"], "real-any");
        let told = told(&records(&daemon, 5)[3]);
        assert_eq!(told, "/v1/messages any any/name>real-any 105+3 200");
    }
    let daemon = Daemon::start(&world, &models.setup());
    let last = || {
        let ask = r#"curl -sS -d '{"model":"small"}' https://inference.local/v1/chat/completions"#;
        daemon.ssh().seconds(20).run(ask).expect_code(0);
        let seen = models.seen();
        seen.last().unwrap()["headers"]["authorization"].to_string()
    };
    assert!(last().contains(SECRET));
    pay_with(&world, "sk-fresh");
    let renewed = || last().contains("sk-fresh");
    assert!(wait_until(Duration::from_secs(10), renewed));
}

#[test]
fn an_upstream_that_is_late_or_falls_silent_is_not_waited_for() {
    let world = World::new();
    let models = Models::start(&world);
    let mut setup = models.setup();
    setup.login = "    sandbox: local\n".to_owned();
    let daemon = Daemon::start(&world, &setup);
    let ask = |model: &str| {
        let body = format!(r#"{{"model":"{model}","stream":true}}"#);
        let line = format!(
            "curl -sSN -w '%{{http_code}}' -d '{body}' https://inference.local/v1/chat/completions"
        );
        daemon.ssh().seconds(20).run(&line)
    };
    let late = ask("late");
    assert!(
        late.out().contains("did not answer in time") && late.out().ends_with("504"),
        "{late}"
    );
    let stuck = ask("stuck");
    assert_ne!(stuck.code(), 0, "{stuck}");
    assert!(
        stuck.out().contains("one ") && !stuck.out().contains("two "),
        "{stuck}"
    );
    let events = records(&daemon, 2);
    assert_eq!(
        events[1].text("/reason"),
        "the upstream's answer stood still for 2s"
    );
    assert_eq!(events[1].text("/estimated"), "true");
    // The control: silence is what counts, not how long the whole takes.
    let slow = ask("patient");
    assert!(slow.out().contains("[DONE]"), "{slow}");
    assert!(slow.took > Duration::from_secs(4), "{slow}");
}
