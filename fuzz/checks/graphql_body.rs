//! GraphQL bodies: what one reader of JSON takes, another takes for the same, and what changes no meaning
//! changes no reading.

use sandgate::policy::replay_request::{Asked, operations};
use serde_json::Value;

/// Whether rules could be asked about `body`.
pub(crate) fn check(body: &[u8]) -> bool {
    let Ok(asked) = operations(body) else {
        return false;
    };
    assert!(!asked.is_empty() && asked.len() <= 64);
    let value: Value = serde_json::from_slice(body).expect("JSON");
    let written = serde_json::to_vec_pretty(&value).expect("JSON");
    assert_eq!(operations(&written).as_ref(), Ok(&asked));
    let envelopes = match &value {
        Value::Array(batch) => batch.iter().collect(),
        single => vec![single],
    };
    assert_eq!(envelopes.len(), asked.len());
    for (envelope, asked) in envelopes.into_iter().zip(&asked) {
        compare(envelope, asked);
    }
    true
}

fn compare(envelope: &Value, asked: &Asked) {
    let Asked::Operation { kind, name, fields } = asked else {
        let Asked::Stored(id) = asked else {
            unreachable!()
        };
        assert!(
            envelope
                .to_string()
                .contains(&Value::from(&**id).to_string())
        );
        return;
    };
    let document = envelope["query"].as_str().expect("a document");
    assert!(!fields.is_empty(), "an operation without fields");
    for word in fields.iter().chain(name) {
        assert!(document.contains(word.as_str()), "{word} stands nowhere");
    }
    assert!(
        *kind == "query" || document.contains(kind),
        "{kind} stands nowhere"
    );
    // Ignored tokens (October 2021 edition, §2.1), and a definition that nothing uses.
    for (before, after) in [
        ("", "\n# mutation { evil }"),
        ("\u{feff}", " ,,\t"),
        ("# }\r\n, ", "\rfragment zzz on Z { evil }"),
    ] {
        if document.starts_with('\u{feff}') || document.contains("zzz") {
            continue;
        }
        let mut changed = envelope.clone();
        changed["query"] = format!("{before}{document}{after}").into();
        let again = operations(changed.to_string().as_bytes());
        // More tokens may be too many of them.
        if document.len() < 10_000 {
            assert_eq!(
                again.as_deref(),
                Ok(std::slice::from_ref(asked)),
                "{before:?} {after:?}"
            );
        }
    }
}
