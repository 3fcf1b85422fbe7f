//! What options give and take, as sshd(8) has them.

use super::*;

fn options(text: &str) -> Options {
    Options::none().read(text.as_bytes()).unwrap()
}

fn refusal(text: &str) -> OptionError {
    Options::none().read(text.as_bytes()).unwrap_err()
}

#[test]
fn flags_are_taken_in_their_order_whatever_their_case() {
    assert!(!options("restrict").grants.terminal);
    let given = options("Restrict,PTY,agent-forwarding").grants;
    assert!(given.terminal && given.agent && !given.forwarding);
    assert!(!options("pty,restrict").grants.terminal);
    assert!(options("no-pty,pty").grants.terminal);
    assert!(!options("no-port-forwarding").grants.forwarding);
    assert!(!options("no-agent-forwarding").grants.agent);
    assert_eq!(
        options("no-X11-forwarding,no-user-rc,user-rc"),
        Options::none()
    );
}

#[test]
fn a_security_key_has_to_attest_a_touch_unless_told_otherwise() {
    let presence = |text| options(text).presence;
    assert_eq!(
        (presence("pty").touch, presence("pty").verify),
        (true, false)
    );
    assert!(!presence("no-touch-required").touch);
    assert!(presence("verify-required").verify);
}

#[test]
fn values_lose_their_quotes_and_nothing_else() {
    let command = |text| options(text).grants.command.unwrap();
    assert_eq!(
        command(r#"command="a, b \"c\" \n $d""#),
        br#"a, b "c" \n $d"#
    );
    assert_eq!(command(r#"no-pty,COMMAND="""#), b"");
    let bytes = Options::none().read(b"command=\"\xff\"").unwrap();
    assert_eq!(bytes.grants.command.unwrap(), b"\xff");
}

#[test]
fn variables_are_kept_and_the_first_of_two_wins() {
    let given = options(r#"environment="A=1",environment="B=x=y",environment="A=2""#);
    let pair = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
    assert_eq!(
        given.grants.environment,
        [pair(b"A", b"1"), pair(b"B", b"x=y")]
    );
    for bad in ["A", "=1", "A-B=1", "1=1", "A=\0"] {
        refusal(&format!("environment=\"{bad}\""));
    }
    let many: Vec<String> = (0..=VARIABLES)
        .map(|n| format!("environment=\"V{n}=\""))
        .collect();
    assert!(matches!(
        refusal(&many.join(",")),
        OptionError::Value("environment", _)
    ));
}

#[test]
fn the_earliest_expiry_counts() {
    let late = options(r#"expiry-time="20990101Z""#).expires.unwrap();
    let both =
        options(r#"expiry-time="20990101Z",expiry-time="20300101Z",expiry-time="20500101Z""#);
    assert!(both.expires.unwrap() < late);
    let here = "127.0.0.1".parse().unwrap();
    assert_eq!(both.admits(here, both.expires.unwrap() - 1), Ok(()));
    assert_eq!(
        both.admits(here, both.expires.unwrap()),
        Err(Unfit::Expired)
    );
}

#[test]
fn places_to_forward_to_are_listed() {
    let given = options(r#"permitopen="a:1",permitopen="[::1]:2",permitlisten="8080""#).grants;
    let (open, listen) = (given.open.unwrap(), given.listen.unwrap());
    assert!(open.allows("a", 1) && open.allows("::1", 2) && !open.allows("b", 1));
    assert!(listen.allows("localhost", 8080) && !listen.allows("localhost", 80));
}

#[test]
fn what_is_not_understood_is_refused() {
    assert_eq!(
        refusal("no-restrict"),
        OptionError::Unknown("no-restrict".into())
    );
    assert_eq!(refusal("pty=\"1\""), OptionError::Unknown("pty".into()));
    assert_eq!(refusal("command"), OptionError::Unknown("command".into()));
    assert_eq!(
        refusal(r#"from="::1",from="::1""#),
        OptionError::Twice("from")
    );
    for bad in [
        "",
        ",",
        "pty,",
        "pty pty",
        "command=\"x",
        "command=x",
        "command=\"x\"y",
        "pty;no",
    ] {
        assert!(matches!(refusal(bad), OptionError::Syntax(_)), "{bad:?}");
    }
}
