//! What sandboxes ask of models, and what models answer: a body goes on as it was read, counts do not hang on how
//! an answer is cut, and nothing but one chunk is taken out of a stream.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sandgate::egress::replay_inference(bytes));
