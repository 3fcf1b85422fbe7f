//! Chunked bodies as they are inspected, behind a head that is as it should be.
#![no_main]

#[path = "../checks/chunked_body.rs"]
mod chunked_body;
#[path = "../checks/http_one.rs"]
#[allow(dead_code, reason = "the other target's way in")]
mod http_one;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    chunked_body::check(bytes);
});
