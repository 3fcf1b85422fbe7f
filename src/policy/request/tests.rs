//! Paths, queries and bodies as rules see them.

use super::graphql::{Asked, Frame};
use super::rpc::Message;
use super::*;

/// xorshift64: the same texts at each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    fn text(&mut self, pieces: &[&str], longest: usize) -> String {
        let count = self.below(longest);
        (0..count)
            .map(|_| pieces[self.below(pieces.len())])
            .collect()
    }
}

const PIECES: [&str; 30] = [
    "/", "/", "/", ".", "..", "%2e", "%2E", "%2f", "%5c", "\\", ";", ";x", "%3b", "%", "%25",
    "252e", "2f", "a", "B", "~", "%41", "%c3%a9", "é", "%00", "%0a", "#", "?", " ", "//", "..;",
];

#[test]
fn paths_come_out_as_the_schema_has_them() {
    let list = include_str!("../../../tests/policy-cases/paths.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(list).unwrap();
    assert!(cases.len() >= 19);
    for case in cases {
        let open = case["allow_encoded_slash"] == true;
        let path = canonical(case["input"].as_str().unwrap());
        let path = path.ok().filter(|path| open || !has_encoded_slash(path));
        assert_eq!(
            path.as_deref(),
            case["canonical"].as_str(),
            "{}",
            case["id"]
        );
    }
}

#[test]
fn a_path_keeps_what_it_means_and_nothing_else() {
    for (raw, expected) in [
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/a/", "/a/"),
        ("/;x/a", "/a"),
        ("/a%20b", "/a%20b"),
        ("/a b", "/a%20b"),
        ("/%7Euser", "/~user"),
        ("HTTP://host/a", "/a"),
        ("http://host/a/../b", "/b"),
        ("/x%5Cy", "/x%5Cy"),
    ] {
        assert_eq!(canonical(raw).as_deref(), Ok(expected), "{raw}");
    }
    for (raw, expected) in [
        ("*", PathError::Form),
        ("a/b", PathError::Form),
        ("ftp://host/a", PathError::Form),
        ("/a?b", PathError::Delimiter),
        ("/a%0", PathError::Percent),
        ("/a%+1", PathError::Percent),
        ("/a%7f", PathError::Control),
        ("/a;%00", PathError::Control),
        ("/a/..%5Cb", PathError::HiddenDots),
        ("/a\\..\\b", PathError::HiddenDots),
        ("/a/.%2f", PathError::HiddenDots),
    ] {
        assert_eq!(canonical(raw), Err(expected), "{raw}");
    }
    assert_eq!(
        canonical(&format!("/{}", " ".repeat(2000))),
        Err(PathError::TooLong)
    );
}

/// What a server could make of a path that reads it once more, or decodes it once: never another one.
#[test]
fn a_canonical_path_is_its_own_form_and_leads_nowhere_else() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut accepted = 0;
    for _ in 0..50_000 {
        let raw = format!("/{}", random.text(&PIECES, 14));
        let Ok(path) = canonical(&raw) else { continue };
        accepted += 1;
        assert_eq!(canonical(&path).as_ref(), Ok(&path), "{raw}");
        assert!(
            path.starts_with('/') && !path.contains("//"),
            "{raw} {path}"
        );
        assert!(
            path.split(['/', '\\']).all(|s| s != "." && s != ".."),
            "{raw} {path}"
        );
        assert!(
            !path.contains([';', '#', '?', ' ', '\\']) && path.is_ascii(),
            "{raw} {path}"
        );
        let decoded = decoded_once(&path);
        let depth = decoded.split(['/', '\\']).all(|s| s != "." && s != "..");
        assert!(
            depth && !decoded.contains(|c: char| c.is_ascii_control()),
            "{raw} {path}"
        );
    }
    assert!(accepted > 5_000, "{accepted}");
}

fn decoded_once(path: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' {
            let pair = [bytes.next().unwrap(), bytes.next().unwrap()];
            u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap()
        } else {
            byte
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn a_query_is_read_in_one_way_or_not_at_all() {
    let read = |query: &str| query::parameters(query);
    let pairs = read("a=1&a=2&b&%63=x+y%2B&&=").unwrap();
    assert_eq!(pairs["a"], ["1", "2"]);
    assert_eq!(
        (&pairs["b"][..], &pairs["c"][..]),
        (&[String::new()][..], &["x y+".to_owned()][..])
    );
    for odd in ["a=1;b=2", "a=%zz", "a=%4", "a=%ff", "a=%00", "a#b"] {
        assert_eq!(read(odd), None, "{odd}");
    }
    assert!(read(&"a&".repeat(256)).is_some() && read(&"a&".repeat(257)).is_none());
}

fn operation(text: &str) -> Result<Operation, String> {
    document::operation(text, None)
}

fn fields(text: &str) -> Vec<String> {
    operation(text)
        .unwrap_or_else(|e| panic!("{text}: {e}"))
        .fields
        .into_iter()
        .collect()
}

#[test]
fn root_fields_are_found_wherever_they_hide() {
    for (text, expected) in [
        ("{a}", vec!["a"]),
        (
            "{ alias: real(x: \"}\", y: {z: [1, -2.5e3]}) @skip(if: $v) { inner } b }",
            vec!["b", "real"],
        ),
        (
            "query Q($v: [Int!]! = [1] @d) @live { ... { a } ... on Query @x { b ...F } }\nfragment F on Query { c ...G } fragment G on Query { d ...F }",
            vec!["a", "b", "c", "d"],
        ),
        ("{ a # } b\r c }", vec!["a", "c"]),
        (
            "\u{feff}{ a(text: \"\"\" \\\"\"\" } \"\"\") , b }",
            vec!["a", "b"],
        ),
        ("{ a(s: \"\\\" } \\u0041\") }", vec!["a"]),
        (
            "{ query mutation: fragment on }",
            vec!["fragment", "on", "query"],
        ),
    ] {
        assert_eq!(fields(text), expected, "{text}");
    }
    let several = "query A { a } mutation B { b } ";
    assert!(operation(several).is_err());
    let chosen = document::operation(several, Some("B")).unwrap();
    assert_eq!(
        (chosen.kind, chosen.name.as_deref()),
        (Kind::Mutation, Some("B"))
    );
    assert!(document::operation(several, Some("C")).is_err());
}

#[test]
fn a_document_that_is_not_understood_whole_is_refused() {
    for text in [
        "",
        "{",
        "{}",
        "{a",
        "a",
        "{a}}",
        "query",
        "query {}",
        "{a(}",
        "{a([)]}",
        "{a(x: \"\n\")}",
        "{a(x: \"\\x\")}",
        "{a(x: 01)}",
        "{a(x: 1b)}",
        "{a(x: \"\"\" )}",
        "{...}",
        "{...F}",
        "fragment F on Query {a}",
        "{a} {b}",
        "query A{a} query A{b}",
        "{a} query A{b}",
        "{...F} fragment F on Q {a} fragment F on Q {b}",
        "fragment on on Q {a} {b}",
        "type Query { a: Int }",
        "{ a\u{a0}b }",
        "{ a # \u{2028} b }",
        "{a:}",
        "{a @}",
        "{ .. a }",
    ] {
        assert!(operation(text).is_err(), "{text}");
    }
    assert!(operation(&"{a".repeat(101)).is_err());
    assert!(operation(&format!("{}{}", "{a".repeat(100), "}".repeat(100))).is_ok());
    assert!(operation(&format!("{{{}}}", "a ".repeat(20_000))).is_err());
}

#[test]
fn an_envelope_that_servers_read_differently_is_refused() {
    let one = |body: &str| graphql::body(body.as_bytes());
    assert!(
        one(r#"{"query": "{a}", "variables": {"A": 1, "a": 2}, "operationName": null}"#).is_ok()
    );
    assert_eq!(
        one(r#"[{"query": "{a}"}, {"query": "{b}"}]"#)
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        one(r#"{"id": "abc"}"#).unwrap(),
        [Asked::Stored("abc".to_owned())]
    );
    let hashed = r#"{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "ab"}}}"#;
    assert_eq!(one(hashed).unwrap(), [Asked::Stored("ab".to_owned())]);
    for body in [
        r#"{"query": "{a}", "query": "{b}"}"#,
        r#"{"query": "{a}", "Query": "{b}"}"#,
        r#"{"QUERY": "{a}"}"#,
        r#"{"query": "{a}", "documentId": "b"}"#,
        r#"{"id": "a", "queryId": "b"}"#,
        r#"{"query": ["{a}"]}"#,
        r#"{"query": "{a}", "extensions": {"persistedQuery": []}}"#,
        r#"{"query": "{a}", "extenſions": {}}"#,
        "[]",
        "[[]]",
        "{}",
        "1",
        "",
        "{\"query\": \"{a}\"} {}",
        "\u{feff}{\"query\": \"{a}\"}",
    ] {
        assert!(one(body).is_err(), "{body}");
    }
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    assert!(one(&deep).is_err());
    let batch = vec![r#"{"query": "{a}"}"#; 65].join(",");
    assert!(one(&format!("[{batch}]")).is_err());
}

#[test]
fn a_message_that_is_neither_call_nor_response_is_refused() {
    let one = |body: &str| rpc::body(body.as_bytes());
    let call = r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}}"#;
    assert_eq!(
        one(call).unwrap(),
        [Message::Call {
            method: "tools/call".to_owned(),
            name: Some("x".to_owned())
        }]
    );
    assert_eq!(
        one(r#"{"jsonrpc": "2.0", "id": 1, "result": {}}"#).unwrap(),
        [Message::Response]
    );
    for body in [
        r#"{"id": 1, "method": "x"}"#,
        r#"{"jsonrpc": "1.0", "method": "x"}"#,
        r#"{"jsonrpc": "2.0", "method": ""}"#,
        r#"{"jsonrpc": "2.0", "method": 1}"#,
        r#"{"jsonrpc": "2.0", "method": "x", "result": 1}"#,
        r#"{"jsonrpc": "2.0", "method": "x", "Method": "y"}"#,
        r#"{"jsonrpc": "2.0", "method": "x", "method": "y"}"#,
        r#"{"jsonrpc": "2.0", "method": "x", "params": {"name": "a", "Name": "b"}}"#,
        r#"{"jsonrpc": "2.0", "method": "x", "params": "y"}"#,
        r#"{"jsonrpc": "2.0", "result": 1}"#,
        "[]",
        "[1]",
    ] {
        assert!(one(body).is_err(), "{body}");
    }
}

#[test]
fn a_websocket_message_is_an_operation_control_or_text() {
    let frame = |text: &str| graphql::frame(text);
    let subscribe = r#"{"id": "1", "type": "subscribe", "payload": {"query": "{a}"}}"#;
    assert!(matches!(
        frame(subscribe),
        Ok(Frame::Operation(Asked::Operation(_)))
    ));
    assert_eq!(frame(r#"{"type": "ping"}"#), Ok(Frame::Control));
    assert_eq!(frame("hello"), Ok(Frame::Other));
    assert!(frame(r#"{"type": "start", "payload": {"query": "{"}}"#).is_err());
    assert!(frame(r#"{"type": "ping", "Type": "start", "payload": {"query": "{a}"}}"#).is_err());
}

/// Whatever bytes come, readers end, and a document's fields are names out of its text.
#[test]
fn random_documents_end_and_invent_nothing() {
    let pieces = [
        "{",
        "}",
        "(",
        ")",
        "...",
        "a",
        "b",
        " ",
        "query ",
        "mutation ",
        "fragment ",
        "on ",
        ":",
        "\"",
        "\"\"\"",
        "\\",
        "#",
        "\n",
        "@",
        "$",
        "1",
        "-",
        ".",
        "[",
        "]",
        "F ",
    ];
    let mut random = Random(7);
    let mut read = 0;
    for _ in 0..100_000 {
        let text = format!("{{{}}}", random.text(&pieces, 10));
        if let Ok(operation) = operation(&text) {
            read += 1;
            assert!(!operation.fields.is_empty(), "{text}");
            assert!(
                operation.fields.iter().all(|field| text.contains(field)),
                "{text}"
            );
        }
    }
    assert!(read > 300, "{read}");
}
