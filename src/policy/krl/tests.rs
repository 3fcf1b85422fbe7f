//! Lists built by hand, and their bounds; those of ssh-keygen are replayed with the fuzz target's seeds.

use std::path::Path;

use super::*;

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

fn section(kind: u8, body: &[u8]) -> Vec<u8> {
    [vec![kind], string(body)].concat()
}

fn list(sections: &[Vec<u8>]) -> Vec<u8> {
    let head = [
        MAGIC,
        &1_u32.to_be_bytes(),
        &[0; 24],
        &string(b""),
        &string(b"about"),
    ]
    .concat();
    [head, sections.concat()].concat()
}

fn authority(key: &[u8], sections: &[Vec<u8>]) -> Vec<u8> {
    let body = [string(key), string(b""), sections.concat()].concat();
    section(CERTIFICATES, &body)
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

fn holds(krl: &Krl, authority: &[u8], serial: u64, id: &[u8]) -> bool {
    krl.holds_certificate(&Issue {
        authority,
        serial,
        id,
    })
}

/// Everything that a list may have.
fn full() -> Vec<u8> {
    let bitmap = [numbers(&[100]), string(&[0x01, 0x00, 0x05])].concat();
    list(&[
        authority(
            b"ca",
            &[
                section(SERIAL_LIST, &numbers(&[3, 5])),
                section(SERIAL_RANGE, &numbers(&[10, 12])),
                section(SERIAL_BITMAP, &bitmap),
                section(KEY_ID, &[string(b"ann"), string(b"bob")].concat()),
                section(
                    CERTIFICATE_EXTENSION,
                    &[string(b"x"), vec![0], string(b"y")].concat(),
                ),
            ],
        ),
        authority(b"", &[section(KEY_ID, &string(b"everyones"))]),
        section(EXTENSION, &[string(b"x"), vec![0], string(b"y")].concat()),
        section(EXPLICIT_KEY, &string(b"key")),
        section(
            FINGERPRINT_SHA1,
            &string(digest::digest(&SHA1, b"one").as_ref()),
        ),
        section(
            FINGERPRINT_SHA256,
            &string(digest::digest(&digest::SHA256, b"two").as_ref()),
        ),
    ])
}

#[test]
fn each_kind_of_entry_revokes_what_it_names_and_nothing_beside_it() {
    let krl = Krl::parse(&full()).unwrap();
    for (serial, revoked) in [
        (0, false),
        (3, true),
        (4, false),
        (5, true),
        (9, false),
        (10, true),
        (12, true),
        (13, false),
        (100, true),
        (101, false),
        (102, true),
        (116, true),
        (117, false),
        (u64::MAX, false),
    ] {
        assert_eq!(holds(&krl, b"ca", serial, b"carl"), revoked, "{serial}");
        assert!(
            !holds(&krl, b"other", serial, b"carl"),
            "{serial} of another authority"
        );
    }
    assert!(holds(&krl, b"ca", 1, b"ann") && holds(&krl, b"ca", 1, b"bob"));
    assert!(!holds(&krl, b"other", 1, b"ann"));
    assert!(holds(&krl, b"ca", 1, b"everyones") && holds(&krl, b"other", 1, b"everyones"));
    for (key, revoked) in [
        ("key", true),
        ("one", true),
        ("two", true),
        ("three", false),
    ] {
        assert_eq!(krl.holds_key(key.as_bytes()), revoked, "{key}");
    }
}

#[test]
fn what_is_cut_off_or_changed_never_panics_and_a_cut_is_never_taken_for_whole() {
    let whole = full();
    for end in 0..whole.len() {
        // Between two sections an end cannot be told from the list's own.
        if let Ok(krl) = Krl::parse(&whole[..end]) {
            assert_ne!(krl, Krl::parse(&whole).unwrap(), "{end}");
        }
    }
    for place in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[place] = value;
            if let Ok(krl) = Krl::parse(&changed) {
                for serial in [0, 1, 100, u64::MAX] {
                    holds(&krl, b"ca", serial, b"ann");
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_kept_to_is_refused() {
    let extension = |critical| [string(b"x"), vec![critical], string(b"y")].concat();
    for (sections, error) in [
        (section(4, b""), KrlError::Section(4)),
        (section(99, b""), KrlError::Section(99)),
        (
            section(EXTENSION, &extension(1)),
            KrlError::Section(EXTENSION),
        ),
        (
            authority(b"", &[section(0x24, b"")]),
            KrlError::Section(0x24),
        ),
        (
            authority(b"", &[section(CERTIFICATE_EXTENSION, &extension(1))]),
            KrlError::Section(CERTIFICATE_EXTENSION),
        ),
        (
            authority(b"", &[section(SERIAL_RANGE, &numbers(&[2, 1]))]),
            KrlError::Malformed(SERIAL_RANGE),
        ),
        (
            authority(
                b"",
                &[section(
                    SERIAL_BITMAP,
                    &[numbers(&[1]), string(&[0x80])].concat(),
                )],
            ),
            KrlError::Malformed(SERIAL_BITMAP),
        ),
        (
            section(FINGERPRINT_SHA256, &string(b"short")),
            KrlError::Malformed(FINGERPRINT_SHA256),
        ),
        (section(EXPLICIT_KEY, b"\0\0\0\x09short"), KrlError::Length),
    ] {
        assert_eq!(Krl::parse(&list(&[sections])), Err(error));
    }
    let mut newer = full();
    newer[11] = 2;
    assert_eq!(Krl::parse(&newer), Err(KrlError::Version(2)));
}

#[test]
fn the_fuzz_targets_seeds_come_out_as_they_are_named() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/krl");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let taken = Krl::parse(&std::fs::read(&path).unwrap()).is_ok();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(taken, !name.starts_with("bad"), "{name}");
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
}
