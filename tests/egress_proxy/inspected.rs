//! Inspected connections: TLS ends at the proxy, requests are judged, what is allowed goes on.

use serde_json::{Value, json};

use crate::world::{snapshot, with_world};

/// Reads of /public, and everything else of /open.
const POLICY: &str = "
version: 1
network_policies:
  api:
    endpoints:
      - host: tls.example
        ports: [443, 8080]
        protocol: rest
        enforcement: enforce
        rules:
          - allow: { method: GET, path: /public/** }
          - allow: { method: '*', path: /open/** }
        deny_rules:
          - { method: DELETE, path: /open/kept }
      - { host: wrong.example, port: 443, protocol: rest, enforcement: enforce, access: full }
      - { host: up.example, port: 443 }
    binaries:
      - { path: /usr/bin/curl }
";

macro_rules! with_policy {
    ($world:ident, $test:block) => {
        with_world(|$world| async move {
            $world.policy.send(snapshot(POLICY, 2)).unwrap();
            $test
        })
    };
}

#[test]
fn requests_inside_tls_are_judged_one_by_one() {
    with_policy!(world, {
        for version in ["--http1.1", "--http2"] {
            let got = world
                .curl(&[version, "https://tls.example/public/./a?token=hush"])
                .await;
            assert_eq!((got.connect, got.status), (200, 200), "{version}");
            assert_eq!(got.json()["target"], "/public/a?token=hush");
            let got = world
                .curl(&[version, "-X", "DELETE", "https://tls.example/open/kept"])
                .await;
            let denied = got.json();
            assert_eq!(got.status, 403, "{version}");
            assert_eq!(denied["error"], "policy_denied");
            assert_eq!(
                (&denied["rule"], &denied["rule_missing"]),
                (&json!("deny_rules[0]"), &Value::Null)
            );
            let got = world
                .curl(&[version, "https://tls.example/secret?token=hush"])
                .await;
            assert_eq!(got.status, 403, "{version}");
            assert_eq!(got.json()["rule_missing"]["path"], "/secret");
            assert!(!got.body.contains("hush"), "{got:?}");
        }
        let events = world.events();
        assert_eq!(events.len(), 6, "{events:#?}");
        assert!(!format!("{events:?}").contains("hush"));
        let allowed = &events[0];
        assert_eq!(allowed["kind"], "request");
        assert_eq!(allowed["path"], "/public/a");
        assert_eq!(
            (&allowed["rule"], &allowed["request_rule"]),
            (&json!("api"), &json!("rules[0]"))
        );
        assert_eq!(
            (&allowed["engine"], &allowed["protocol"], &allowed["method"]),
            (&json!("l7"), &json!("rest"), &json!("GET"))
        );
        assert_eq!(events[1]["verdict"], "deny");
        assert_eq!(world.dials(), 2);
    });
}

#[test]
fn a_plain_endpoint_keeps_its_tls_and_an_unknown_host_stays_shut() {
    with_policy!(world, {
        // Not ended here: the upstream's own certificate comes through, which curl does not trust by the
        // system's roots; by the test's it does.
        let root = world.counts.root.path.to_str().unwrap().to_owned();
        let got = world
            .curl(&["--cacert", &root, "https://up.example/x"])
            .await;
        assert_eq!(got.status, 200);
        let got = world
            .curl(&["--cacert", &root, "https://tls.example/public/x"])
            .await;
        assert_eq!((got.connect, got.status), (200, 0), "an authority of ours");
        assert_eq!(world.curl(&["https://other.example/"]).await.connect, 403);
    });
}
