//! What the trail writes, and what it does when it cannot.

use std::io::{Read, Seek};
use std::sync::Arc;

use super::*;
use crate::model::Host;

fn scratch() -> File {
    // An unlinked file: gone with its last descriptor.
    let path = std::env::temp_dir().join(format!(
        "sandgate-audit-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let file = OpenOptions::new()
        .append(true)
        .read(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

fn text(mut file: File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

fn egress(host: &str) -> Event {
    let identity = Identity {
        session: Some(SessionId(4)),
        pid: 77,
        binary: "/usr/bin/curl".into(),
        ancestors: vec!["/usr/bin/bash".into()],
    };
    let destination = Destination {
        host: Host::parse(host).unwrap(),
        port: 443,
    };
    Event::Egress(Egress {
        session: identity.session,
        sandbox: SandboxId(3),
        login: LoginName::try_from("sandbox".to_owned()).unwrap(),
        definition: None,
        key: Some(Fingerprint("SHA256:abc".into())),
        origin: Origin::Program,
        process: Some(Process::from(&identity)),
        destination: Endpoint::from(&destination),
        addresses: vec!["203.0.113.2".parse().unwrap()],
        verdict: Verdict::Allow,
        rule: Some("api".into()),
        engine: None,
        generation: Generation(2),
        reason: None,
    })
}

#[test]
fn an_event_is_one_json_line_with_every_field() {
    let file = scratch();
    Trail::new(file.try_clone().unwrap())
        .record(&egress("example.com"))
        .unwrap();
    let text = text(file);
    assert_eq!(text.matches('\n').count(), 1);
    assert!(text.ends_with('\n'));
    let mut line: serde_json::Value = serde_json::from_str(&text).unwrap();
    let time = line.as_object_mut().unwrap().remove("time").unwrap();
    assert_eq!(
        time.as_str().unwrap().len(),
        "2026-11-21T01:24:00.123456Z".len()
    );
    assert_eq!(
        line,
        serde_json::json!({
            "kind": "egress", "session": 4, "sandbox": 3, "login": "sandbox", "definition": null, "key": "SHA256:abc", "origin": "program",
            "process": {"pid": 77, "binary": "/usr/bin/curl", "ancestors": ["/usr/bin/bash"]},
            "destination": {"host": "example.com", "port": 443}, "addresses": ["203.0.113.2"],
            "verdict": "allow", "rule": "api", "generation": 2, "reason": null,
        })
    );
}

#[test]
fn a_hostile_login_name_stays_inside_its_line() {
    let file = scratch();
    let event = Event::Login(Login {
        login: "root\n{\"kind\":\"egress\"}".into(),
        source: "192.0.2.1:9".parse().unwrap(),
        method: "publickey".into(),
        key: None,
        certificate: None,
        verdict: Verdict::Deny,
        reason: Some("no such login".into()),
    });
    Trail::new(file.try_clone().unwrap())
        .record(&event)
        .unwrap();
    let text = text(file);
    assert_eq!(text.lines().count(), 1);
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (line["kind"].as_str(), line["verdict"].as_str()),
        (Some("login"), Some("deny"))
    );
}

#[test]
fn lines_of_many_threads_never_mix() {
    let file = scratch();
    let trail = Arc::new(Trail::new(file.try_clone().unwrap()));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let trail = Arc::clone(&trail);
            std::thread::spawn(move || {
                for _ in 0..200 {
                    trail.record(&egress("example.com")).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let text = text(file);
    assert_eq!(text.lines().count(), 1600);
    let times: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["time"].to_string())
        .collect();
    assert!(times.is_sorted());
}

#[test]
fn a_full_sink_is_an_error() {
    let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
    assert!(Trail::new(full).record(&egress("example.com")).is_err());
}

#[test]
fn a_line_after_a_torn_one_starts_afresh() {
    // A non-blocking pipe with no room for a whole line takes what fits.
    let (mut reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let trail = Trail::new(File::from(std::os::fd::OwnedFd::from(writer)));
    let long = egress(&vec!["a".repeat(60); 4].join("."));
    let Event::Egress(mut egress) = long else {
        unreachable!()
    };
    egress.reason = Some("x".repeat(200_000));
    assert_eq!(
        trail
            .record(&Event::Egress(egress.clone()))
            .unwrap_err()
            .kind(),
        io::ErrorKind::WriteZero
    );
    let mut drained = vec![0; 65_536];
    reader.read_exact(&mut drained).unwrap();
    egress.reason = None;
    trail.record(&Event::Egress(egress)).unwrap();
    drop(trail);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    let last = rest.strip_prefix('\n').unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(last).is_ok());
}

#[test]
fn times_read_as_rfc_3339_in_utc() {
    let at = |seconds, micros: u32| rfc3339(UNIX_EPOCH + Duration::new(seconds, micros * 1000));
    assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
    assert_eq!(at(951_782_399, 999_999), "2000-02-28T23:59:59.999999Z");
    assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00.000000Z");
    assert_eq!(at(1_709_251_200, 0), "2024-03-01T00:00:00.000000Z");
    assert_eq!(at(4_107_542_399, 0), "2100-02-28T23:59:59.000000Z");
    assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000000Z");
}
