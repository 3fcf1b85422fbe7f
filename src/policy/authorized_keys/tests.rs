//! What an `authorized_keys` file admits, and what it does not.

use super::*;

const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDscceDmMFuGdh2h5T19Mkso5ne4TFyCV45kiy00Kd2q";
const P256: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBFAENn15VaCCrKWEmbyWiHr9Gfbx\
    lNjxkJ5t4uompxMhRdydnJulBK8573l1Bnc6gItMb8KohO+Djh8LuoSyQwA=";
const P384: &str = "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBAbbruuPp863DraZi2Mga3fwJoin\
    QQo5mRET0lCh6+GAkd05O3YzM8Gr8oa0+oVUxgJsq7ZKR8NXC2Sb5TEAIyBZ/YjemnKJV6X9Mi1H2bRDL40187AZiLmGaz8aFPfG\
    hQ==";
const P521: &str = "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBACY+GDOmEpva8c9TAYOXCI/+nVw\
    hX5MnK3bVoGs+FIEI7SFbstO7horu4TYTojlGVLonPpjMS3kvuwERqJZkx3jMAHeBjW0zC3pYNaDne3M8YIfOR66+L52tkvfLkpO\
    Pi+R7xNZUqdZbVqRyiq/NpnVJk+5KTzgqkNlTHruvSE3rph4ig==";
const RSA_2048: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDA0CAlFpd4ex2ixHKh8xMA7gT2Ru8kE/mWpopuRlhEXZtg1wX2kzubWcInc+4d\
    GtAEsvg0T9//aSrcXkPdp408fdufHE6Xo9OZ7BuliWjmXycPL3lbBaiiRemEjX/YZsUE6tyOpTE1Bb7C96vx3Muvxgp7veRN494G\
    t2shQL7+jLTUOBtyPGAkVODi4hCs95k7EHynAU3bEcmPmTR+Uwzz4uoxHLtVwkOXpaUgq0Ed2rJiTMu49klYyrynWISZ29JsThsO\
    UFMRRLOPaXKpLk0hee6aIu41xh3dUblAhNSjr9ypND25ACa8thSRlEymD99GYEjMWDPp540LBEPPM1rj";
const RSA_2040: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAADIp+oK2aXJoN27FBLgPg9xtQ4O9qrote/ISajDLLBejeP99M9e2CwBhTPWkEXT\
    Y9HqcIqwsWdfdU4PDnjHE1UKZegPUUyOC/oUIXxOruo57cDd8yQgQ2AyXEdMbDq3E0kjxjLKlWSt6DvvLnD0cAJwRQsCKkQwxV6A\
    gTghh7793Gy7COM/C72CmtEZe5DW8l/LXVwlUriHJPpAgeBhVFP/s9Q/LI4Y99VfjD1ihDc+XnuenfqDP+kPNFGsy/yCCnRaHoEE\
    GSN7lyxsztL57Kj+AHRtAYuJHSzHQ4xP4yfuoefvcUJTHbvIDLqRSnmaStW2XeE/nt0ifBu6ke+VkBU=";
const DSA: &str = "ssh-dss AAAAB3NzaC1kc3MAAACBAODBgPGf1aadsdG7Dw21O7TtOWsifRTmDYPaPYBb7NP2Z2dEZ2VFgHwIm31jaXD9U6CxFksH\
    plj2K4IRkMBBNZgFl51yXfVN1n7FkWebMYkT9Q6OTUC4ctT2yKTllmmh8QdgXtc86cX9QNvBa7QOz+01hnwWE/ELUB1udjDm5x1J\
    AAAAFQCxtrtpf837UqMU7rOoAa8yrxRJ/QAAAIAZVxHtmduhHjatf6E4ycqkryKScjQ+WF/y1DP11dlcjSU3Mtwjw2XthkFma9FF\
    Q5sZSf0tQz7i/TCOnjKpKH36pWkN6Wj294rOIlKz04vu55p93Ov6CqRLYDB+E7YQT00PkRHax+3vUlHjnlGAl8Y8hWyXKblVJ1fk\
    +D1j2+k7eAAAAIBdecDwevsuvG2JHM8vrCXHP6uJznGU/cX6hZnBnTuJh5r/uHHwaS0RY0d3PFaB83lh3CUSoqiK8pWaf82G+bFR\
    07bpm4oAp/u70Rrvx58dRQXJUkA2Eh94SeUwksvaTV3fh/t2thcENfTfYEkLQ+RTlQgb4r/pGldCv744YdA7Dg==";

fn public(line: &str) -> PublicKey {
    PublicKey::from_openssh(line).unwrap()
}

fn admits(keys: &AuthorizedKeys, line: &str) -> bool {
    keys.keys(public(line).key_data()).next().is_some()
}

fn problems(text: &str) -> Vec<(usize, Problem)> {
    AuthorizedKeys::parse(text.as_bytes())
        .warnings()
        .iter()
        .map(|w| (w.line, w.problem.clone()))
        .collect()
}

#[test]
fn each_accepted_type_is_found_and_no_other_key() {
    let keys = [ED25519, P256, P384, P521, RSA_2048];
    for listed in keys {
        let parsed = AuthorizedKeys::parse(listed.as_bytes());
        assert!(parsed.warnings().is_empty(), "{listed}");
        for offered in keys {
            assert_eq!(admits(&parsed, offered), offered == listed, "{offered}");
        }
    }
}

#[test]
fn every_line_counts_whatever_its_place() {
    let text = [ED25519, P256, RSA_2048].join("\n");
    let parsed = AuthorizedKeys::parse(text.as_bytes());
    assert!(
        [ED25519, P256, RSA_2048]
            .iter()
            .all(|line| admits(&parsed, line))
    );
    assert!(!admits(&parsed, P384));
}

#[test]
fn comments_blanks_tabs_and_carriage_returns_are_tolerated() {
    let text = format!(
        "# people\r\n\r\n  \t\r\n\t{}\tann@example\r\n{P256}  bob # not a comment\r\n",
        ED25519.replace(' ', "\t")
    );
    let parsed = AuthorizedKeys::parse(text.as_bytes());
    assert_eq!(parsed.warnings(), []);
    assert!(admits(&parsed, ED25519) && admits(&parsed, P256));
}

#[test]
fn a_comment_need_not_be_utf8() {
    let text = [ED25519.as_bytes(), b" J\xfcrgen\n", P256.as_bytes()].concat();
    let parsed = AuthorizedKeys::parse(&text);
    assert_eq!(parsed.warnings(), []);
    assert!(admits(&parsed, ED25519) && admits(&parsed, P256));
}

#[test]
fn what_stands_behind_a_key_is_its_comment() {
    let bare = ED25519
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    let comment = |line: String| {
        let parsed = AuthorizedKeys::parse(line.as_bytes());
        let key = public(ED25519);
        let options = parsed.keys(key.key_data()).next().unwrap();
        options.comment.clone()
    };
    assert_eq!(comment(bare.clone()), None);
    assert_eq!(
        comment(format!("{bare} ann@example ")).unwrap(),
        "ann@example"
    );
    assert_eq!(
        comment(format!("no-pty,command=\"a b c\" {bare}  Ann B. \t# x")).unwrap(),
        "Ann B. \t# x"
    );
}

#[test]
fn a_key_with_options_is_taken_with_them() {
    let text = format!("restrict,command=\"a \\\" b\",pty\t{ED25519} me\n");
    let parsed = AuthorizedKeys::parse(text.as_bytes());
    assert_eq!(parsed.warnings(), []);
    let key = public(ED25519);
    let options = parsed.keys(key.key_data()).next().unwrap();
    assert_eq!(options.grants.command.as_deref(), Some(&b"a \" b"[..]));
    assert!(options.grants.terminal && !options.grants.forwarding);
}

#[test]
fn a_key_whose_options_are_not_understood_is_refused_with_its_line() {
    for options in [
        "restrictt",
        "command=/bin/true",
        "command=\"/bin/true",
        "from=\"10.0.0.0/33\"",
        "no-pty,",
        "no-pty no-pty",
        "command=\"echo ssh-ed25519 x\"x",
        "environment=\"1=2\"",
        "no-restrict",
        "expiry-time=\"soon\"",
        "permitopen=\"host\"",
        "command=\"internal-sftp -R\"",
    ] {
        let text = format!("# one\n{options} {ED25519}\n{P256}\n");
        let parsed = AuthorizedKeys::parse(text.as_bytes());
        assert!(!admits(&parsed, ED25519), "{options}");
        assert!(admits(&parsed, P256), "the next line still counts");
        assert_eq!(problems(&text).len(), 1, "{options}");
    }
}

#[test]
fn an_authority_logs_nobody_in_itself() {
    let text = format!("cert-authority,principals=\"a,b\" {ED25519}\n{P256}\n");
    let parsed = AuthorizedKeys::parse(text.as_bytes());
    assert!(!admits(&parsed, ED25519) && admits(&parsed, P256));
    let key = public(ED25519);
    let line = parsed.authorities(key.key_data()).next().unwrap();
    assert_eq!(line.principals, Some(vec![b"a".to_vec(), b"b".to_vec()]));
    assert!(parsed.authorities(public(P256).key_data()).next().is_none());
    let configured = AuthorizedKeys::parse_authorities(P256.as_bytes(), &["c".to_owned()]);
    assert!(!admits(&configured, P256));
    let key = public(P256);
    let line = configured.authorities(key.key_data()).next().unwrap();
    assert_eq!(line.principals, Some(vec![b"c".to_vec()]));
}

#[test]
fn a_bad_line_does_not_shadow_the_others() {
    let text = format!("{DSA}\nssh-ed25519\nssh-ed25519 AAAA!\n{ED25519}\n");
    let parsed = AuthorizedKeys::parse(text.as_bytes());
    assert!(admits(&parsed, ED25519));
    let found = problems(&text);
    assert_eq!(
        found.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert!(matches!(found[2].1, Problem::Unreadable(_)));
}

#[test]
fn a_type_that_belies_its_key_is_refused() {
    let base64 = P256.split(' ').nth(1).unwrap();
    let text = format!("ssh-ed25519 {base64}\n");
    assert!(matches!(problems(&text)[..], [(1, Problem::Unreadable(_))]));
    assert!(!admits(&AuthorizedKeys::parse(text.as_bytes()), P256));
}

#[test]
fn rsa_below_2048_bits_is_refused() {
    assert_eq!(problems(RSA_2040), [(1, Problem::Weak(2040))]);
    assert!(!admits(
        &AuthorizedKeys::parse(RSA_2040.as_bytes()),
        RSA_2040
    ));
}

#[test]
fn sha1_signatures_are_weak_and_sha2_ones_are_not() {
    assert!(!strong(&Algorithm::Rsa { hash: None }));
    assert!(!strong(&Algorithm::Dsa));
    assert!(strong(&Algorithm::Rsa {
        hash: Some(HashAlg::Sha256)
    }));
    assert!(strong(&Algorithm::Rsa {
        hash: Some(HashAlg::Sha512)
    }));
    assert!(strong(&Algorithm::Ed25519));
}

#[test]
fn an_empty_file_admits_nobody() {
    assert!(!admits(&AuthorizedKeys::parse(b""), ED25519));
}
