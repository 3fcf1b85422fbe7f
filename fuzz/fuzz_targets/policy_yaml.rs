//! The policy decoder: no text makes it panic, and what it takes always compiles and can be judged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandgate::model::{Destination, Generation, Identity, Peer};
use sandgate::policy::{Flow, LoadError, Snapshot, Verdict};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Snapshot::parse("fuzz", text, Generation(1)) {
        Ok(snapshot) => judge(&snapshot),
        Err(LoadError::Compile { source, .. }) => {
            panic!("a checked file does not compile: {source}")
        }
        Err(LoadError::Invalid { .. } | LoadError::Read { .. } | LoadError::TooLarge { .. }) => {}
    }
});

fn judge(snapshot: &Snapshot) {
    let identity = Identity {
        session: None,
        pid: 2,
        binary: "/usr/bin/curl".into(),
        ancestors: Vec::new(),
    };
    let destination = Destination::parse("api.example.com:443").expect("a destination");
    let known = Flow {
        peer: Peer::Known(identity),
        destination: destination.clone(),
    };
    let unknown = Flow {
        peer: Peer::Unknown("fuzz".to_owned()),
        destination,
    };
    if let Verdict::Deny(denial) = snapshot.judge(&known) {
        assert!(
            !denial.reason.contains("could not be evaluated"),
            "{}",
            denial.reason
        );
    }
    assert!(
        matches!(snapshot.judge(&unknown), Verdict::Deny(_)),
        "an unknown peer is allowed"
    );
}
