//! The seeds of the fuzz targets that read policies and requests.

use sandgate::model::{Destination, Generation};
use sandgate::policy::{Content, Flow, LoadError, Request, RequestVerdict, Snapshot};

use super::{at, files, known};

/// What the fuzz target `request` makes of a seed: some protocol takes it, or none.
#[test]
fn the_requests_seeds_come_out_as_they_are_named() {
    let source = std::fs::read_to_string(at("fuzz/fuzz_targets/request.rs")).unwrap();
    let policy = source.split('"').nth(1).unwrap();
    let snapshot = Snapshot::parse("request.rs", policy, Generation(1)).unwrap();
    let seeds = files("fuzz/seeds/request", |_| true);
    assert!(seeds.len() >= 18, "{seeds:?}");
    for seed in seeds {
        let text = std::fs::read_to_string(&seed).unwrap();
        let (line, body) = text.split_once('\n').unwrap();
        let (path, query) = line.split_once('?').unwrap_or((line, ""));
        let get = Request {
            method: "GET",
            path,
            query: Some(query),
            ..Request::default()
        };
        let post = Request {
            method: "POST",
            content_type: Some("application/json"),
            content: Content::Body(body.as_bytes()),
            ..get
        };
        let message = Request {
            upgrade: Some("websocket"),
            content: Content::Text(body),
            ..get
        };
        let asked = [
            (1, post),
            (2, post),
            (3, post),
            (1, get),
            (5, get),
            (4, message),
        ];
        let taken = asked.iter().any(|(port, request)| {
            let flow = Flow {
                peer: known("/x"),
                destination: Destination::parse(&format!("a.example:{port}")).unwrap(),
            };
            matches!(
                snapshot.judge_request(&flow, request),
                RequestVerdict::Allow(_)
            )
        });
        let name = seed.file_name().unwrap().to_str().unwrap();
        assert_eq!(taken, name.starts_with("ok-"), "{name}");
    }
}

#[test]
fn the_decoders_seeds_come_out_as_they_are_named() {
    let seeds = files("fuzz/seeds/policy_yaml", |_| true);
    assert!(seeds.len() >= 15, "{seeds:?}");
    for seed in seeds {
        let loaded = Snapshot::load(&seed, Generation(1));
        assert!(
            !matches!(loaded, Err(LoadError::Compile { .. })),
            "{}: {loaded:?}",
            seed.display()
        );
        let good = seed
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("ok-");
        assert_eq!(loaded.is_ok(), good, "{}: {loaded:?}", seed.display());
    }
}
