//! The proxy's request heads: no bytes panic, and what is taken reads the same when written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sandgate::egress::targets;
use sandgate::model::Destination;

fuzz_target!(|bytes: &[u8]| {
    for target in targets(bytes).into_iter().flatten() {
        let destination = target.destination();
        assert_eq!(
            Destination::parse(&destination.to_string()).as_ref(),
            Ok(destination)
        );
    }
});
