//! Every place in which a placeholder may stand, and those in which it may not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::config::{Injection, Piece, Provider};
use crate::egress::credentials::{Bindings, Claim, Form, Secrets, Values};
use crate::model::{Destination, Host, Kind, Place, ProviderName, Secret, SecretKey};

/// A purse for `/api/x` at one of two hosts, with secrets of one provider that is bound to the first.
fn purse(host: &str, provider: Option<&str>) -> Result<Purse, Fault> {
    let name = |text: &str| text.to_owned();
    let key = |text: &str| SecretKey::try_from(name(text)).unwrap();
    let own = ProviderName::try_from(name("own")).unwrap();
    let kind = Kind {
        login: name("a").try_into().unwrap(),
        definition: None,
    };
    let mut secrets = BTreeMap::new();
    for (name, value) in [
        ("TOKEN", "t0k:en&\"\\"),
        ("PLAIN", "abc"),
        ("SLASH", "a/b"),
        ("DOTS", ".."),
        ("BYTES", "\u{e4}"),
    ] {
        let secret = Secret::new(Zeroizing::new(value.into())).unwrap_or_else(|e| panic!("{e}"));
        secrets.insert(key(name), Arc::new(secret));
    }
    let places = [Place::parse("bound.example", BTreeSet::from([443]), "/api/**").unwrap()];
    let store = Arc::new(Secrets::default());
    store.replace(Values::from([(own.clone(), secrets)]));
    let bound = Provider {
        secrets: BTreeMap::new(),
        directory: Some("/d".into()),
        places: places.to_vec(),
        inject: vec![Injection {
            header: "x-key".to_owned(),
            pieces: vec![Piece::Text("k ".to_owned()), Piece::Secret(key("PLAIN"))],
        }],
    };
    store.bind(Bindings {
        providers: BTreeMap::from([(own.clone(), bound)]),
        kinds: BTreeMap::from([(kind.clone(), vec![own])]),
    });
    let claim = Claim {
        secrets: store,
        kind,
        destination: Destination {
            host: Host::parse(host).unwrap(),
            port: 443,
        },
        path: "/api/x".to_owned(),
        provider: provider.map(name),
    };
    claim.open()
}

fn bound() -> Purse {
    purse("bound.example", None).unwrap()
}

fn value(text: &str) -> Result<String, Fault> {
    let filled = header(text.as_bytes(), &mut bound())?;
    Ok(filled.map_or_else(
        || "-".to_owned(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    ))
}

#[test]
fn a_header_is_a_placeholder_or_ends_in_one_after_its_scheme() {
    for (written, sent) in [
        ("sandgate:TOKEN", "t0k:en&\"\\"),
        ("openshell:resolve:env:PLAIN", "abc"),
        ("Bearer sandgate:PLAIN", "Bearer abc"),
        ("token openshell:resolve:env:PLAIN", "token abc"),
        ("Bearer abc", "-"),
        ("sandgate:1.2", "-"),
    ] {
        assert_eq!(value(written).unwrap(), sent, "{written}");
    }
    for text in [
        "x=sandgate:PLAIN",
        "sandgate:PLAIN; a",
        "a b sandgate:PLAIN",
        "sandgate:OTHER",
    ] {
        let fault = value(text).unwrap_err();
        assert!(matches!(fault, Fault::Unavailable(_)), "{text}: {fault}");
    }
}

#[test]
fn basic_has_placeholders_for_user_and_password() {
    let basic = |pair: &str| {
        let filled = value(&format!("Basic {}", BASE64.encode(pair.as_bytes())))?;
        let text = filled.strip_prefix("Basic ").unwrap().to_owned();
        Ok::<_, Fault>(String::from_utf8(BASE64.decode(text.as_bytes()).unwrap()).unwrap())
    };
    assert_eq!(
        basic("x-access-token:sandgate:TOKEN").unwrap(),
        "x-access-token:t0k:en&\"\\"
    );
    assert_eq!(basic("sandgate:PLAIN:").unwrap(), "abc:");
    assert_eq!(basic("sandgate:PLAIN:sandgate:SLASH").unwrap(), "abc:a/b");
    assert!(
        basic("sandgate:TOKEN:x").is_err(),
        "a colon in the user's name"
    );
    assert_eq!(value("Basic eDp5").unwrap(), "-");
}

#[test]
fn paths_are_resolved_segment_by_segment_and_gain_none() {
    let sent = |text: &str| path(text, &mut bound());
    assert_eq!(
        sent("/botsandgate:PLAIN/send:it%2Fnow").unwrap().as_deref(),
        Some("/botabc/send:it%2Fnow")
    );
    assert_eq!(
        sent("/a/sandgate:BYTES").unwrap().as_deref(),
        Some("/a/%C3%A4")
    );
    assert_eq!(sent("/sandgate:1/x").unwrap(), None);
    // A backslash is a separator to some.
    for text in [
        "/sandgate:SLASH",
        "/sandgate:TOKEN",
        "/sandgate:DOTS",
        "/sandgate:OTHER",
    ] {
        assert!(sent(text).is_err(), "{text}");
    }
}

#[test]
fn queries_and_forms_are_resolved_in_their_values() {
    let sent = |text: &str| query(text, &mut bound());
    assert_eq!(
        sent("a=1&key=sandgate:TOKEN&b=x+y").unwrap().as_deref(),
        Some("a=1&key=t0k%3Aen%26%22%5C&b=x+y")
    );
    assert_eq!(
        sent("key=sandgate%3APLAIN%20z").unwrap().as_deref(),
        Some("key=abc%20z")
    );
    assert_eq!(sent("a=1&&b").unwrap(), None);
    for text in ["sandgate:PLAIN=1", "sandgate%3APLAIN", "a=sandgate:OTHER"] {
        assert!(sent(text).is_err(), "{text}");
    }
}

#[test]
fn json_is_resolved_in_its_strings_and_text_as_it_is() {
    let sent = |form: Form, text: &str| {
        let filled = form.fill(text.as_bytes(), &mut bound())?;
        Ok::<_, Fault>(filled.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    assert_eq!(
        sent(
            Form::Json,
            r#"{"a": ["sandgate\u003aTOKEN", "b\"c"], "d": 1 }"#
        )
        .unwrap()
        .as_deref(),
        Some(r#"{"a": ["t0k:en&\"\\", "b\"c"], "d": 1 }"#)
    );
    assert_eq!(sent(Form::Json, r#"{"a": "\ud800"}"#).unwrap(), None);
    assert!(sent(Form::Json, "sandgate:PLAIN").is_err());
    assert!(sent(Form::Json, r#"sandgate:PLAIN "a""#).is_err());
    assert!(sent(Form::Json, r#""sandgate:PLAIN"#).is_err());
    assert_eq!(
        sent(Form::Text, "hello sandgate:PLAIN!")
            .unwrap()
            .as_deref(),
        Some("hello abc!")
    );
    assert_eq!(
        sent(Form::Pairs, "a=sandgate%3ASLASH").unwrap().as_deref(),
        Some("a=a%2Fb")
    );
    assert_eq!(
        Form::of(Some("application/vnd.x+JSON; charset=utf-8")),
        Some(Form::Json)
    );
    assert_eq!(Form::of(Some("application/octet-stream")), None);
    assert_eq!(Form::of_message(" [1]"), Form::Json);
}

#[test]
fn a_request_that_names_a_secret_all_over_is_refused_in_time() {
    let begun = std::time::Instant::now();
    let many = "sandgate:TOKEN ".repeat(200_000);
    let fault = Form::Text.fill(many.as_bytes(), &mut bound()).err();
    assert!(matches!(fault, Some(Fault::TooLong(_))), "{fault:?}");
    let none = "sandgate:1".repeat(200_000);
    assert!(
        Form::Text
            .fill(none.as_bytes(), &mut bound())
            .is_ok_and(|filled| filled.is_none())
    );
    let took = begun.elapsed();
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_secret_goes_nowhere_but_where_its_provider_is_bound() {
    let mut elsewhere = purse("other.example", None).unwrap();
    let fault = header(b"sandgate:PLAIN", &mut elsewhere).unwrap_err();
    assert!(matches!(fault, Fault::Mismatch(_)), "{fault}");
    assert!(!fault.to_string().contains("abc"));
    assert!(elsewhere.inject().unwrap().is_empty());
    let mut here = bound();
    let injected = here.inject().unwrap();
    assert_eq!(
        (injected[0].0.as_str(), injected[0].1.as_slice()),
        ("x-key", &b"k abc"[..])
    );
    assert_eq!(here.used(), ["PLAIN"]);
    assert!(matches!(
        purse("bound.example", Some("else")),
        Err(Fault::Unavailable(_))
    ));
    assert!(matches!(
        purse("other.example", Some("own")),
        Err(Fault::Mismatch(_))
    ));
    assert!(purse("bound.example", Some("own")).is_ok());
}
