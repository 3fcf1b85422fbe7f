//! GraphQL bodies: what one reader of JSON takes, another takes for the same, and what changes no meaning
//! changes no reading.
#![no_main]

#[path = "../checks/graphql_body.rs"]
mod graphql_body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    graphql_body::check(bytes);
});
