//! Signatures that AWS has published, and what is refused.

use super::*;

/// The example of the General Reference, and of its test suite.
const SUITE: Keys<'static> = Keys {
    id: b"AKIDEXAMPLE",
    secret: b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
};

/// That of "Authenticating Requests" in S3's API Reference.
const S3: Keys<'static> = Keys {
    id: b"AKIAIOSFODNN7EXAMPLE",
    secret: b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
};

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn signature(
    (service, keys, seconds): (&str, &Keys<'_>, u64),
    (method, authority, target): (&str, &str, &str),
    fields: &[(&'static str, &str)],
    hash: &str,
) -> (String, String) {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let request = Signable {
        method,
        authority,
        path,
        query,
        body: Digested::Unread,
    };
    let scope = Scope {
        service,
        region: "us-east-1",
        now: UNIX_EPOCH + Duration::from_secs(seconds),
    };
    let value = scope.authorize(&request, &mut headers, hash, keys).unwrap();
    let (_, rest) = value.split_once("SignedHeaders=").unwrap();
    let (signed, signature) = rest.split_once(", Signature=").unwrap();
    (signed.to_owned(), signature.to_owned())
}

/// 2015-08-30T12:36:00Z.
const SUITE_TIME: u64 = 1_440_938_160;
/// 2013-05-24T00:00:00Z.
const S3_TIME: u64 = 1_369_353_600;

#[test]
fn the_test_suites_requests_have_their_signatures() {
    for (method, target, fields, hash, expected) in [
        (
            "GET",
            "/",
            &[][..],
            EMPTY,
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            &[],
            EMPTY,
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "POST",
            "/",
            &[],
            EMPTY,
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "POST",
            "/",
            &[("content-type", "application/x-www-form-urlencoded")],
            "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ] {
        let asked = (method, "example.amazonaws.com", target);
        let (_, made) = signature(("service", &SUITE, SUITE_TIME), asked, fields, hash);
        assert_eq!(made, expected, "{method} {target}");
    }
}

#[test]
fn s3s_examples_have_their_signatures() {
    let fields = [("x-amz-content-sha256", EMPTY)];
    for (target, expected) in [
        (
            "/?lifecycle",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "/?max-keys=2&prefix=J",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let asked = ("GET", "examplebucket.s3.amazonaws.com", target);
        let (signed, made) = signature(("s3", &S3, S3_TIME), asked, &fields, EMPTY);
        assert_eq!(signed, "host;x-amz-content-sha256;x-amz-date");
        assert_eq!(made, expected, "{target}");
    }
}

#[test]
fn paths_are_encoded_once_for_s3_and_twice_for_others() {
    let path = |service, path| {
        let scope = Scope {
            service,
            region: "",
            now: UNIX_EPOCH,
        };
        String::from_utf8(scope.canonical_path(path)).unwrap()
    };
    assert_eq!(path("s3", "/a%20b/c:d"), "/a%20b/c%3Ad");
    assert_eq!(path("bedrock", "/a%20b/c:d"), "/a%2520b/c%253Ad");
    assert_eq!(canonical_query("b=2&a&c=%7e+x"), b"a=&b=2&c=~%2Bx");
}

#[test]
fn a_clients_signature_is_taken_out_wherever_it_stands() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=sandgate:AWS_ACCESS_KEY_ID/20250101/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=ab",
        ),
        ("x-amz-date", "20250101T000000Z"),
        ("x-amz-security-token", "sandgate:AWS_SESSION_TOKEN"),
        ("x-amz-acl", "private"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let former = forget(&mut headers, Some("list-type=2"));
    assert_eq!(former.region.as_deref(), Some("eu-west-1"));
    assert_eq!(former.query.as_deref(), Some("list-type=2"));
    assert_eq!(
        headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
        ["x-amz-acl"]
    );
    let presigned = "X-Amz-Algorithm=a&X-Amz-Credential=K%2F20250101%2Fus-east-2%2Fs3%2Faws4_request&X-Amz-Signature=x&a=b";
    let former = forget(&mut headers, Some(presigned));
    assert_eq!(former.region.as_deref(), Some("us-east-2"));
    assert_eq!(former.query.as_deref(), Some("a=b"));
    assert_eq!(forget(&mut headers, None), Former::default());
}

#[test]
fn what_is_said_of_the_body_is_what_policy_says() {
    let said = |fields: &[(&'static str, &'static str)], body, kind| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        payload(&headers, body, kind)
    };
    let streaming = [("x-amz-content-sha256", UNSIGNED_TRAILER)];
    let signed = [("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")];
    let hash = [("x-amz-content-sha256", EMPTY)];
    let whole = Digested::Whole(b"");
    assert_eq!(said(&[], whole, Payload::AsSent).unwrap(), EMPTY);
    assert_eq!(
        said(&hash, Digested::Unread, Payload::AsSent).unwrap(),
        EMPTY
    );
    assert_eq!(said(&hash, whole, Payload::Unsigned).unwrap(), UNSIGNED);
    assert_eq!(
        said(&streaming, Digested::Unread, Payload::AsSent).unwrap(),
        UNSIGNED_TRAILER
    );
    assert!(said(&streaming, whole, Payload::Body).is_err());
    assert!(said(&signed, whole, Payload::AsSent).is_err());
    assert!(said(&signed, whole, Payload::Unsigned).is_err());
    assert!(said(&[("content-encoding", "aws-chunked")], whole, Payload::Body).is_err());
    assert!(said(&[], Digested::Unread, Payload::Body).is_err());
}

#[test]
fn moments_are_written_as_signatures_want_them() {
    let at = |seconds| moment(UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(at(0), "19700101T000000Z");
    assert_eq!(at(951_827_696), "20000229T123456Z");
    assert_eq!(at(SUITE_TIME), "20150830T123600Z");
    assert_eq!(at(4_107_542_399), "21000228T235959Z");
    assert_eq!(at(4_107_542_400), "21000301T000000Z");
}
