//! The decoder against what is cut short, and the loop against what is out of turn.

use super::attributes::{self, Attributes};
use super::packet::{Fields, LONGEST_PACKET, Malformed};
use super::*;

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn packet(kind: u8, fields: &[u8]) -> Vec<u8> {
    string(&[&[kind], fields].concat())
}

fn init() -> Vec<u8> {
    packet(1, &3_u32.to_be_bytes())
}

fn answers(input: &[u8]) -> (Result<(), SftpError>, Vec<Vec<u8>>) {
    let mut output = Vec::new();
    let ended = serve(input, &mut output, b"/sandbox");
    let (mut fields, mut packets) = (Fields::of(&output), Vec::new());
    while !fields.is_empty() {
        packets.push(fields.string().unwrap().to_vec());
    }
    (ended, packets)
}

/// The id and the code of a STATUS.
fn status(packet: &[u8]) -> (u32, u32) {
    let mut fields = Fields::of(packet);
    assert_eq!(fields.byte(), Ok(101), "{packet:?}");
    (fields.u32().unwrap(), fields.u32().unwrap())
}

/// Each type of request with fields that are whole, and how many of its bytes have to be there.
fn requests() -> Vec<(u8, Vec<u8>)> {
    let id = 7_u32.to_be_bytes().to_vec();
    let path = string(b"/nonexistent/\xff");
    let handle = string(&1_u64.to_be_bytes());
    let (word, long) = (0_u32.to_be_bytes(), 0_u64.to_be_bytes());
    let every = [
        &0x8000_000f_u32.to_be_bytes()[..],
        &long,
        &[0; 8],
        &0o644_u32.to_be_bytes(),
        &[0; 8],
        &1_u32.to_be_bytes(),
        &string(b"name"),
        &string(b"value"),
    ]
    .concat();
    let with = |parts: &[&[u8]]| [&id[..], &parts.concat()].concat();
    let extended =
        |name: &str, parts: &[&[u8]]| (200, with(&[&string(name.as_bytes()), &parts.concat()]));
    vec![
        (3, with(&[&path, &word, &every])),
        (4, with(&[&handle])),
        (7, with(&[&path])),
        (8, with(&[&handle])),
        (9, with(&[&path, &every])),
        (11, with(&[&path])),
        (12, with(&[&handle])),
        (13, with(&[&path])),
        (14, with(&[&path, &every])),
        (15, with(&[&path])),
        (16, with(&[&path])),
        (17, with(&[&path])),
        (18, with(&[&path, &path])),
        (19, with(&[&path])),
        (20, with(&[&path, &path])),
        extended("posix-rename@openssh.com", &[&path, &path]),
        extended("statvfs@openssh.com", &[&path]),
        extended("fstatvfs@openssh.com", &[&handle]),
        extended("hardlink@openssh.com", &[&path, &path]),
        extended("fsync@openssh.com", &[&handle]),
        extended("lsetstat@openssh.com", &[&path, &every]),
        extended("expand-path@openssh.com", &[&path]),
        extended("home-directory", &[&path]),
        extended(
            "users-groups-by-id@openssh.com",
            &[&string(&word), &string(&word)],
        ),
    ]
}

#[test]
fn a_request_that_is_cut_anywhere_ends_the_server() {
    for (kind, fields) in requests() {
        let whole = [init(), packet(kind, &fields)].concat();
        let (ended, packets) = answers(&whole);
        assert!(ended.is_ok(), "type {kind}: {ended:?}");
        assert_eq!(packets.len(), 2, "type {kind}");
        for length in 0..fields.len() {
            let cut = [init(), packet(kind, &fields[..length])].concat();
            let (ended, packets) = answers(&cut);
            assert!(
                matches!(ended, Err(SftpError::Malformed(k)) if k == kind),
                "type {kind}, {length} of {} bytes: {ended:?}",
                fields.len()
            );
            assert_eq!(packets.len(), 1, "only INIT is answered");
        }
    }
}

#[test]
fn input_that_ends_within_a_packet_is_an_error() {
    let whole = [init(), packet(17, &[0; 8])].concat();
    for length in 1..whole.len() {
        let (ended, _) = answers(&whole[..length]);
        let between = length == init().len();
        assert_eq!(ended.is_ok(), between, "{length} bytes: {ended:?}");
    }
    assert!(answers(&[]).0.is_ok());
}

#[test]
fn the_longest_packet_is_read_and_a_longer_one_is_not() {
    let fields = |length: u32| vec![0; length as usize - 1];
    let (ended, packets) = answers(&[init(), packet(99, &fields(LONGEST_PACKET))].concat());
    assert!(ended.is_ok() && packets.len() == 2, "{ended:?}");
    let (ended, _) = answers(&[init(), packet(99, &fields(LONGEST_PACKET + 1))].concat());
    assert!(matches!(ended, Err(SftpError::Longer(_))), "{ended:?}");
    let (ended, _) = answers(&[init(), vec![0xff; 4]].concat());
    assert!(
        matches!(ended, Err(SftpError::Longer(u32::MAX))),
        "{ended:?}"
    );
    assert!(matches!(answers(&[0; 4]).0, Err(SftpError::Malformed(0))));
}

#[test]
fn init_comes_first_and_once() {
    let stat = packet(17, &[&[0, 0, 0, 7][..], &string(b"/")].concat());
    assert!(matches!(answers(&stat).0, Err(SftpError::OutOfTurn(17))));
    let (ended, _) = answers(&[init(), init()].concat());
    assert!(matches!(ended, Err(SftpError::OutOfTurn(1))), "{ended:?}");
    let (ended, packets) = answers(&[init(), stat].concat());
    assert!(ended.is_ok());
    assert_eq!((packets[0][0], packets[1][0]), (2, 105), "VERSION, ATTRS");
}

#[test]
fn handles_that_were_never_given_open_nothing() {
    for handle in [&b""[..], b"1", &[0; 8], &[0xff; 8], &[0; 9]] {
        let close = packet(4, &[&[0, 0, 0, 9][..], &string(handle)].concat());
        let (ended, packets) = answers(&[init(), close].concat());
        assert!(ended.is_ok());
        assert_eq!(status(&packets[1]), (9, 4), "{handle:?}");
    }
}

#[test]
fn what_is_not_known_is_unsupported() {
    let unknown = packet(99, &[0, 0, 0, 5]);
    let extended = packet(
        200,
        &[&[0, 0, 0, 6][..], &string(b"no-such@example.com")].concat(),
    );
    let (ended, packets) = answers(&[init(), unknown, extended].concat());
    assert!(ended.is_ok());
    assert_eq!((status(&packets[1]), status(&packets[2])), ((5, 8), (6, 8)));
}

#[test]
fn a_path_with_nul_is_refused() {
    let stat = packet(17, &[&[0, 0, 0, 7][..], &string(b"/\0/etc")].concat());
    let (ended, packets) = answers(&[init(), stat].concat());
    assert!(ended.is_ok());
    assert_eq!(status(&packets[1]), (7, 5));
}

#[test]
fn attributes_that_promise_more_than_there_is_are_malformed() {
    let all = [&0x8000_000f_u32.to_be_bytes()[..], &[0; 28], &[0; 4]].concat();
    let none = Attributes {
        size: Some(0),
        owner: Some((0, 0)),
        mode: Some(0),
        times: Some((0, 0)),
    };
    assert_eq!(attributes::decode(&mut Fields::of(&all)), Ok(none));
    let many = [&0x8000_0000_u32.to_be_bytes()[..], &[0xff; 4]].concat();
    assert_eq!(attributes::decode(&mut Fields::of(&many)), Err(Malformed));
}

#[test]
fn modes_and_dates_read_as_ls_writes_them() {
    for (mode, text) in [
        (0o100_644, "-rw-r--r--"),
        (0o040_755, "drwxr-xr-x"),
        (0o041_777, "drwxrwxrwt"),
        (0o104_711, "-rws--x--x"),
        (0o102_640, "-rw-r-S---"),
        (0o120_777, "lrwxrwxrwx"),
        (0o010_000, "p---------"),
    ] {
        assert_eq!(listing::mode(mode), text);
    }
    let leap = 951_782_400; // 2000-02-29T00:00:00Z
    assert_eq!(listing::date(leap, leap), "Feb 29 00:00");
    assert_eq!(listing::date(leap + 86_400, leap), "Mar  1  2000");
    assert_eq!(listing::date(0, leap), "Jan  1  1970");
    assert_eq!(listing::date(-1, leap), "Dec 31  1969");
}

#[test]
fn accounts_are_bytes_and_the_first_line_holds() {
    let passwd = b"a\xff:x:7:8:gecos:/home/a:/bin/sh\nb:x:7:7::/b:\nbroken:x\n:\nc:x:-1:0:::\n";
    let found = accounts::Accounts::parse(passwd, b"g:x:8:\nh:x:8:a,b\nz\n");
    assert_eq!(found.user(7), Some(&b"a\xff"[..]));
    assert_eq!(found.home(b"b"), Some(&b"/b"[..]));
    assert_eq!(found.group(8), Some(&b"g"[..]));
    assert_eq!((found.user(8), found.home(b"c")), (None, None));
}
