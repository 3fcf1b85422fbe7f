//! What is allowed, what is refused, and what the trail says of it.

use sandgate::model::Peer;
use serde_json::{Value, json};

use crate::world::{known, with_world, with_world_and_trail};

#[test]
fn an_allowed_get_is_forwarded_and_leaves_one_event() {
    with_world(|world| async move {
        let got = world
            .curl(&[
                "-H",
                "Proxy-Authorization: Basic eDp5",
                "http://up.example/a/b?c=d",
            ])
            .await;
        assert_eq!(got.status, 200);
        let seen = got.json();
        assert_eq!(
            (&seen["method"], &seen["target"]),
            (&json!("GET"), &json!("/a/b?c=d"))
        );
        let fields: Vec<&str> = seen["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| f.as_str().unwrap())
            .collect();
        assert!(
            fields.contains(&"host: up.example") && fields.contains(&"via: 1.1 sandgate"),
            "{fields:?}"
        );
        assert!(
            !fields.iter().any(|field| field.starts_with("proxy-")),
            "{fields:?}"
        );

        let mut event = world.only_event();
        event.as_object_mut().unwrap().remove("time").unwrap();
        assert_eq!(
            event,
            json!({
                "kind": "egress", "session": 5, "sandbox": 3, "login": "sandbox", "definition": null, "key": "SHA256:test",
                "origin": "program",
                "process": {"pid": 4242, "binary": "/usr/bin/curl", "ancestors": ["/usr/bin/bash"]},
                "destination": {"host": "up.example", "port": 80}, "addresses": ["20.30.40.2"],
                "verdict": "allow", "rule": "web", "generation": 1, "reason": null,
            })
        );
    });
}

#[test]
fn both_families_are_reached() {
    with_world(|world| async move {
        assert_eq!(world.curl(&["http://six.example/"]).await.status, 200);
        assert_eq!(world.curl(&["-p", "http://six.example/"]).await.status, 200);
        assert_eq!(world.curl(&["http://both.example/"]).await.status, 200);
        assert_eq!(world.events()[2]["addresses"].as_array().unwrap().len(), 2);
    });
}

#[test]
fn a_denied_host_gets_403_and_one_event_and_is_never_dialled() {
    with_world(|world| async move {
        let got = world
            .curl(&["-p", "http://other.example/?token=hush"])
            .await;
        assert_eq!(got.connect, 403);
        let got = world.curl(&["http://other.example/path?token=hush"]).await;
        assert_eq!(got.status, 403);
        assert!(
            !got.body.contains("hush") && !got.body.contains("path"),
            "{got:?}"
        );
        let body = got.json();
        assert_eq!(body["error"], "policy_denied");
        assert_eq!(
            body["detail"],
            "GET http://other.example:80 not permitted by policy"
        );
        assert_eq!(
            (&body["host"], &body["port"]),
            (&json!("other.example"), &json!(80))
        );
        assert_eq!(
            (&body["rule"], &body["generation"]),
            (&Value::Null, &json!(1))
        );
        assert!(!body["reason"].as_str().unwrap().is_empty());
        assert!(
            body["explain"]
                .as_str()
                .unwrap()
                .starts_with("sandgate policy explain "),
            "{body}"
        );

        let events = world.events();
        assert_eq!(events.len(), 2, "{events:#?}");
        assert!(
            events
                .iter()
                .all(|event| event["verdict"] == "deny" && event["addresses"] == json!([]))
        );
        assert!(!format!("{events:?}").contains("hush"));
        assert_eq!(world.dials(), 0);
    });
}

#[test]
fn wrong_port_wrong_binary_and_unknown_caller_are_denied() {
    with_world(|world| async move {
        assert_eq!(world.curl(&["http://up.example/"]).await.status, 200);
        assert_eq!(world.curl(&["http://up.example:8080/"]).await.status, 403);
        *world.peer.lock().unwrap() = known("/usr/bin/wget");
        assert_eq!(world.curl(&["http://up.example/"]).await.status, 403);
        *world.peer.lock().unwrap() = Peer::Unknown("no process holds the socket".into());
        assert_eq!(world.curl(&["http://up.example/"]).await.status, 403);
        let events = world.events();
        assert_eq!(events.len(), 4);
        assert_eq!(events[2]["process"]["binary"], "/usr/bin/wget");
        assert_eq!(
            (&events[3]["process"], &events[3]["session"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(world.dials(), 1);
    });
}

#[test]
fn an_address_that_is_never_reached_is_denied_after_resolving() {
    with_world(|world| async move {
        let names = ["rebind", "mixed", "metadata", "mapped", "gate"];
        for name in names {
            let got = world.curl(&[&format!("http://{name}.example/")]).await;
            assert_eq!(
                (got.status, &got.json()["error"]),
                (403, &json!("policy_denied")),
                "{name}"
            );
            let got = world
                .curl(&["-p", &format!("http://{name}.example/")])
                .await;
            assert_eq!(got.connect, 403, "{name}");
        }
        for literal in [
            "127.0.0.1",
            "169.254.169.254",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "20.30.40.2",
        ] {
            assert_eq!(
                world.curl(&[&format!("http://{literal}/")]).await.status,
                403,
                "{literal}"
            );
        }
        let events = world.events();
        assert_eq!(events.len(), 2 * names.len() + 6, "{events:#?}");
        assert!(events.iter().all(|event| event["verdict"] == "deny"));
        assert_eq!(world.dials(), 0);
    });
}

#[test]
fn a_name_without_addresses_and_a_closed_port_are_bad_gateways() {
    with_world(|world| async move {
        let got = world.curl(&["http://lost.example/"]).await;
        assert_eq!(
            (got.status, &got.json()["error"]),
            (502, &json!("dns_failed"))
        );
        let got = world.curl(&["http://up.example:9/"]).await;
        assert_eq!(
            (got.status, &got.json()["error"]),
            (502, &json!("upstream_unreachable"))
        );
        assert_eq!(
            world.curl(&["-p", "http://up.example:9/"]).await.connect,
            502
        );
        let verdicts: Vec<Value> = world
            .events()
            .iter()
            .map(|event| event["verdict"].clone())
            .collect();
        // That nobody listened is no policy decision.
        assert_eq!(verdicts, ["deny", "allow", "allow"]);
    });
}

#[test]
fn what_cannot_be_written_down_goes_nowhere() {
    with_world_and_trail("/dev/full", |world| async move {
        for host in ["up.example", "other.example"] {
            let got = world.curl(&[&format!("http://{host}/")]).await;
            assert_eq!(
                (got.status, &got.json()["error"]),
                (503, &json!("decision_unavailable"))
            );
            assert_eq!(
                world
                    .curl(&["-p", &format!("http://{host}/")])
                    .await
                    .connect,
                503
            );
        }
        assert_eq!(world.dials(), 0);
    });
}
