//! The decoder of key revocation lists: no bytes make it panic or run long.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandgate::policy::replay_krl;

fuzz_target!(|data: &[u8]| {
    if replay_krl(data).is_ok() {
        assert!(data.starts_with(b"SSHKRL\n\0"), "taken without its magic");
    }
});
