//! The opening of bundles, signed or not: no bytes make it panic, run long or take much memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandgate::policy::bundle::replay;

fuzz_target!(|data: &[u8]| replay(data));
