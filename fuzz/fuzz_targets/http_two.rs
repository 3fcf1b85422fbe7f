//! HTTP/2 as it is inspected: no frames make it panic or stay, and what is judged is one whole request each.
#![no_main]

#[path = "../checks/http_two.rs"]
mod http_two;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    http_two::check(bytes);
});
