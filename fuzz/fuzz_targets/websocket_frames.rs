//! WebSocket frames of both sides: what an upstream reads is what was judged and allowed, however it comes.
#![no_main]

#[path = "../checks/websocket_frames.rs"]
mod websocket_frames;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    websocket_frames::check(bytes);
});
