//! JSON-RPC and MCP bodies: the calls that are judged are those that another reader of JSON finds.
#![no_main]

#[path = "../checks/rpc_body.rs"]
mod rpc_body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    rpc_body::check(bytes);
});
