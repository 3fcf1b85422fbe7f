//! The proxy, driven by curl and by hand against an upstream in a namespace of the test's own. Needs root.

#![allow(clippy::disallowed_methods, reason = "tests run programs and dial")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod cases;
mod decisions;
mod exchanges;
mod expectations;
mod framing;
mod inspected;
mod tunnels;
mod upstream;
mod world;
