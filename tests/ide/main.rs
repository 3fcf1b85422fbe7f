//! IDEs and deployment tools, by the sequences that they run: VS Code's with its real server, ansible
//! itself, and Zed's and JetBrains' as scripts of real clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and runs programs"
)]

#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each test program uses its own part of it"
)]
mod support;

mod ansible;
mod jetbrains;
mod vscode;
mod zed;

use support::Setup;

/// A login whose connections share a sandbox, and may leave servers behind in it.
fn shared() -> Setup {
    Setup {
        login: "    sandbox: {scope: login, linger: 600}\n".to_owned(),
        ..Setup::closed()
    }
}
