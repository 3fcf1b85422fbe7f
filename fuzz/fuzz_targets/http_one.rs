//! HTTP/1.1 as it is inspected, head and body: what is judged is what a plain reader of the same bytes sees,
//! however they come.
#![no_main]

#[path = "../checks/http_one.rs"]
mod http_one;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    http_one::check(bytes);
});
