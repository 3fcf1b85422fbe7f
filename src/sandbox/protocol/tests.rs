//! The table of requests, there and back.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::model::Identity;

fn spawn(program: Program) -> Numbered {
    let spawn = Spawn {
        program,
        environment: vec![(b"LANG".into(), b"C".into())],
        terminal: None,
    };
    Numbered {
        number: 7,
        request: Request::Spawn {
            sandbox: SandboxId(1),
            spawn,
        },
    }
}

#[test]
fn what_is_encoded_decodes_to_the_same() {
    let numbered = spawn(Program::Command(b"echo \xff".to_vec()));
    assert_eq!(
        Numbered::try_from(&*encode(&numbered).unwrap()),
        Ok(numbered)
    );
}

#[test]
fn a_program_whose_name_is_not_utf8_can_be_named() {
    let path = PathBuf::from(OsStr::from_bytes(b"/sandbox/\xff"));
    let identity = Identity {
        session: Some(SessionId(1)),
        pid: 7,
        binary: path.clone(),
        ancestors: vec![path],
    };
    let message = Message::Answer {
        number: 1,
        answer: Ok(Answer::Identified(Peer::Known(identity))),
    };
    assert_eq!(Message::try_from(&*encode(&message).unwrap()), Ok(message));
}

#[test]
fn trailing_and_missing_bytes_are_malformed() {
    let mut bytes = encode(&spawn(Program::Shell)).unwrap();
    assert!(Numbered::try_from(&bytes[..bytes.len() - 1]).is_err());
    bytes.push(0);
    assert_eq!(Numbered::try_from(&*bytes), Err(Malformed));
}

#[test]
fn a_command_with_nul_is_malformed() {
    let bytes = encode(&spawn(Program::Command(b"a\0b".to_vec()))).unwrap();
    assert_eq!(Numbered::try_from(&*bytes), Err(Malformed));
}

#[test]
fn a_listener_outside_the_bounds_is_malformed() {
    let read = |address: &str| {
        let numbered = Numbered {
            number: 7,
            request: Request::Socket {
                sandbox: SandboxId(1),
                purpose: Purpose::Listen(address.parse().unwrap()),
            },
        };
        Numbered::try_from(&*encode(&numbered).unwrap()) == Ok(numbered)
    };
    for good in ["127.0.0.1:1024", "0.0.0.0:0", "[::1]:65535", "[::]:0"] {
        assert!(read(good), "{good}");
    }
    for bad in ["127.0.0.1:1023", "[::]:22", "192.0.2.1:8080", "[fd00::1]:0"] {
        assert!(!read(bad), "{bad}");
    }
}

#[test]
fn a_huge_length_prefix_allocates_nothing() {
    // Variant 2 (Spawn), sandbox 0, Command with a length of 2^63.
    let bytes = [
        0, 2, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ];
    assert_eq!(Numbered::try_from(&bytes[..]), Err(Malformed));
}

#[test]
fn the_fuzz_targets_seeds_come_out_as_they_are_named() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/monitor_protocol");
    let mut seen = 0;
    for seed in std::fs::read_dir(&folder).unwrap() {
        let path = seed.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let (request, message) = (Numbered::try_from(&*bytes), Message::try_from(&*bytes));
        let name = path.file_name().unwrap().to_str().unwrap();
        match name.split('-').next() {
            Some("request") => assert_eq!(encode(&request.unwrap()), Ok(bytes), "{name}"),
            Some("message") => assert_eq!(encode(&message.unwrap()), Ok(bytes), "{name}"),
            _ => assert!(request.is_err() && message.is_err(), "{name}"),
        }
        seen += 1;
    }
    assert!(seen >= 20, "{seen} seeds in {}", folder.display());
}

#[test]
fn a_sockets_path_is_absolute_short_and_without_nul() {
    let path = |path: &[u8]| SocketPath::try_from(path.to_vec());
    for good in [&b"/a"[..], b"/tmp/caf\xe9", &[b'/'; 107]] {
        assert_eq!(path(good).unwrap().as_bytes(), good);
    }
    for (bad, why) in [
        (&b""[..], "not absolute"),
        (b"a/b", "not absolute"),
        (b"\0abstract", "not absolute"),
        (b"/a\0b", "NUL"),
        (&[b'/'; 108], "107 bytes"),
    ] {
        let said = path(bad).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
    // One that gets past the gate's own check does not get past the monitor's.
    let mut request = encode(&Numbered {
        number: 1,
        request: Request::Errand {
            sandbox: SandboxId(1),
            errand: Errand::Connect(path(b"/tmp/s").unwrap()),
        },
    })
    .unwrap();
    assert!(Numbered::try_from(&*request).is_ok());
    let slash = request.iter().position(|&byte| byte == b'/').unwrap();
    request[slash] = b'x';
    assert!(Numbered::try_from(&*request).is_err());
}
