//! Replays the seeds of the fuzz targets that share their checks with it, and what fuzzing has found.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../fuzz/checks/chunked_body.rs"]
mod chunked_body;
#[path = "../fuzz/checks/graphql_body.rs"]
mod graphql_body;
#[path = "../fuzz/checks/http_one.rs"]
mod http_one;
#[path = "../fuzz/checks/http_two.rs"]
mod http_two;
#[path = "../fuzz/checks/rpc_body.rs"]
mod rpc_body;
#[path = "../fuzz/checks/websocket_frames.rs"]
mod websocket_frames;

use std::fs;
use std::path::Path;

/// Each seed comes out as its name says: `ok-`, `bad-`, or `found-` by fuzzing, which says nothing but that the
/// check holds.
fn replay(target: &str, check: impl Fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let (mut seen, mut failures) = ([0; 2], Vec::new());
    for seed in fs::read_dir(&folder).unwrap() {
        let path = seed.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        eprintln!("{target}/{name}");
        let taken = check(&fs::read(&path).unwrap());
        match name.split('-').next().unwrap() {
            "ok" if !taken => failures.push(name.to_owned()),
            "bad" if taken => failures.push(name.to_owned()),
            "ok" | "bad" | "found" => {}
            _ => panic!("{name}: no name for a seed"),
        }
        seen[usize::from(taken)] += 1;
    }
    assert!(failures.is_empty(), "{failures:?} came out otherwise");
    assert!(
        seen[0] >= 8 && seen[1] >= 7,
        "{seen:?} seeds in {}",
        folder.display()
    );
}

#[test]
fn http_one_is_judged_as_a_plain_reader_sees_it() {
    replay("http_one", http_one::check);
}

#[test]
fn chunked_bodies_are_passed_on_as_a_plain_reader_sees_them() {
    replay("chunked_body", chunked_body::check);
}

#[test]
fn http_two_is_judged_in_whole_requests() {
    replay("http_two", http_two::check);
}

#[test]
fn websocket_messages_are_passed_on_as_they_were_judged() {
    replay("websocket_frames", websocket_frames::check);
}

#[test]
fn graphql_bodies_read_alike_however_they_are_written() {
    replay("graphql_body", graphql_body::check);
}

#[test]
fn rpc_bodies_read_alike_however_they_are_written() {
    replay("rpc_body", rpc_body::check);
}

/// Its checks are its own assertions: it has no verdict to be named after.
#[test]
fn what_models_are_asked_and_answer_reads_alike_however_it_comes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/inference");
    let mut seen = 0;
    for seed in fs::read_dir(&folder).unwrap() {
        let path = seed.unwrap().path();
        eprintln!("{}", path.display());
        sandgate::egress::replay_inference(&fs::read(&path).unwrap());
        seen += 1;
    }
    assert!(seen >= 7, "{seen} seeds in {}", folder.display());
}
