//! The test world itself: what it claims to reach is reachable, so that a refusal elsewhere means
//! something.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and runs programs"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "each test program uses its own part of it"
)]
mod support;

use support::World;

#[test]
fn every_address_of_the_upstream_is_reachable_from_the_gates_host() {
    let world = World::new();
    for (name, arrived_at) in [
        ("allowed.example", "20.30.40.10"),
        ("denied.example", "20.30.40.11"),
        ("six.example", "2a00:1:1::10"),
        ("private.example", "10.9.9.9"),
        ("metadata.example", "169.254.169.254"),
        ("ula.wild.example", "fd00:9::9"),
        ("cgnat.wild.example", "100.64.9.9"),
        ("mapped.wild.example", "10.9.9.9"),
        ("169.254.169.254", "169.254.169.254"),
        ("[2a00:1:1::10]", "2a00:1:1::10"),
    ] {
        let before = world.upstream.connections().len();
        world
            .outside(&format!("curl -sS --max-time 5 http://{name}/"))
            .expect_code(0);
        let after = world.upstream.connections();
        assert_eq!(after[before..], [(arrived_at.to_owned(), 80)], "{name}");
    }
}

#[test]
fn the_gates_own_host_serves_on_loopback_and_on_its_own_address() {
    let world = World::new();
    for name in [
        "loopback.example",
        "own.wild.example",
        "loopback6.wild.example",
    ] {
        world
            .outside(&format!("curl -sS --max-time 5 http://{name}:8080/"))
            .expect_code(0);
    }
    assert_eq!(world.host.connections().len(), 3);
    assert!(world.upstream.connections().is_empty());
}

#[test]
fn a_name_that_changes_its_answer_does() {
    let world = World::new();
    let ask = || {
        world
            .outside("getent ahostsv4 rebind.wild.example | head -1")
            .out()
    };
    assert!(ask().starts_with("20.30.40.10"));
    assert!(ask().starts_with("10.9.9.9"));
}

#[test]
fn worlds_live_side_by_side() {
    let (one, two) = (World::new(), World::new());
    one.outside("curl -sS --max-time 5 http://allowed.example/")
        .expect_code(0);
    assert_eq!(one.upstream.connections().len(), 1);
    assert_eq!(two.upstream.connections().len(), 0);
}
