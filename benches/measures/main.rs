//! What a session costs, in one table: login, exec, spawn, a fresh sandbox, judge, CONNECT. The daemon's measures are
//! taken in turns with OpenSSH's sshd or a plain connect(2): machines differ, the ratio stays.
//!
//!     cargo bench                    all of them; under two minutes, as root
//!     cargo bench -- login judge     some of them

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a measure that cannot be taken fails by panicking, and it runs programs"
)]

#[path = "../../tests/support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "made for the tests, of which this uses its own part"
)]
mod support;

mod fresh;
mod judge;
mod sample;
mod servers;
mod spawn;
mod ssh;
mod table;
mod tunnel;

use std::time::Duration;

use servers::Servers;
use support::World;
use table::Row;

/// The longest that everything may take. Every loop is bounded by its count; this is for what hangs.
const LIMIT: Duration = Duration::from_secs(120);

const MEASURES: [&str; 6] = ["login", "exec", "spawn", "fresh", "judge", "connect"];

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("this is no release build; run it with cargo bench");
        std::process::exit(2);
    }
    // Cargo says --bench to every bench program.
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    for name in &named {
        assert!(
            MEASURES.contains(&name.as_str()),
            "{name:?} is none of {MEASURES:?}"
        );
    }
    let wanted = |name: &str| named.is_empty() || named.iter().any(|given| given == name);
    // It forks, which only a process of one thread may.
    let bench = wanted("judge").then(judge::open);
    std::thread::spawn(|| {
        std::thread::sleep(LIMIT);
        eprintln!("not finished within {LIMIT:?}: something hangs");
        std::process::exit(1);
    });
    table::heading();
    if let Some(bench) = &bench {
        judge::measure(bench).iter().for_each(Row::print);
    }
    if named.iter().all(|name| name == "judge") && !named.is_empty() {
        return;
    }
    if wanted("fresh") {
        fresh::measure().iter().for_each(Row::print);
    }
    let world = World::new();
    let servers = Servers::start(&world);
    if wanted("login") {
        ssh::login(&servers).print();
    }
    if wanted("exec") {
        ssh::exec(&servers).print();
    }
    if wanted("spawn") {
        spawn::measure(&servers).iter().for_each(Row::print);
    }
    if wanted("connect") {
        tunnel::measure(&servers).print();
    }
}
