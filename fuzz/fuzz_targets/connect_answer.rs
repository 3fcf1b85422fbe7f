//! An upstream proxy's answer to CONNECT: its status is that of the first line, the tunnel begins behind the first
//! empty line, and it does not matter how the bytes come.
#![no_main]

#[path = "../checks/connect_answer.rs"]
mod connect_answer;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    connect_answer::check(bytes);
});
