//! Placeholders in bodies and heads: another reader of what goes on finds what was meant, with the secrets in it and
//! nothing else changed, and no placeholder is left.
#![no_main]

#[path = "../checks/credentials.rs"]
mod credentials;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    credentials::check(bytes);
});
