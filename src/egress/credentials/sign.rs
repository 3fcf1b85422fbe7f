//! AWS Signature Version 4 (AWS General Reference, "Signing AWS API requests"): a request that its client
//! signed with what it has is signed anew with what the operator has.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::encoding::{Plus, decode, encode, unreserved};
use super::fields::secret_value;
use super::purse::{Fault, Purse};
use crate::policy::{Payload, Signing};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Services whose paths are encoded once in what is signed, instead of twice.
const ONCE: [&str; 4] = ["s3", "s3express", "s3-object-lambda", "s3-outposts"];

/// What of a body goes into a signature.
#[derive(Debug, Clone, Copy)]
pub(in crate::egress) enum Digested<'a> {
    /// The whole body.
    Whole(&'a [u8]),
    /// Nobody has read it.
    Unread,
}

/// A request as it is about to be sent.
pub(in crate::egress) struct Signable<'a> {
    pub(in crate::egress) method: &'a str,
    /// The Host header, or `:authority`.
    pub(in crate::egress) authority: &'a str,
    pub(in crate::egress) path: &'a str,
    pub(in crate::egress) query: Option<&'a str>,
    pub(in crate::egress) body: Digested<'a>,
}

/// A client's own signature, taken out of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::egress) struct Former {
    /// The region that it was for.
    region: Option<String>,
    /// The query without it, where it stood there.
    pub(in crate::egress) query: Option<String>,
}

/// Takes a client's signature out: it is by a key that is no secret, and names placeholders in odd places.
pub(in crate::egress) fn forget(headers: &mut HeaderMap, query: Option<&str>) -> Former {
    let stated = headers.remove(AUTHORIZATION);
    headers.remove(DATE);
    headers.remove(TOKEN);
    let stated = stated.as_ref().and_then(|value| value.to_str().ok());
    let mut scope = stated
        .and_then(|text| text.split_once("Credential="))
        .map(|(_, scope)| scope.to_owned());
    let mut kept = Vec::new();
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "X-Amz-Credential" => {
                let decoded = decode(value.as_bytes(), Plus::Plus);
                scope = Some(String::from_utf8_lossy(&decoded).into_owned());
            }
            "X-Amz-Algorithm"
            | "X-Amz-Date"
            | "X-Amz-Expires"
            | "X-Amz-SignedHeaders"
            | "X-Amz-Signature"
            | "X-Amz-Security-Token" => {}
            _ => kept.push(pair),
        }
    }
    // KEY/DATE/REGION/SERVICE/aws4_request; a region is letters, digits and hyphens.
    let plain = |region: &&str| {
        !region.is_empty()
            && region
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let region = scope.as_deref().and_then(|scope| scope.rsplit('/').nth(2));
    Former {
        region: region.filter(plain).map(str::to_owned),
        query: query
            .map(|_| kept.join("&"))
            .filter(|left| !left.is_empty()),
    }
}

/// Signs a request whose headers are what they will be, with the secrets AWS_ACCESS_KEY_ID,
/// AWS_SECRET_ACCESS_KEY and, where there is one, AWS_SESSION_TOKEN.
pub(in crate::egress) fn sign(
    request: &Signable<'_>,
    headers: &mut HeaderMap,
    signing: &Signing,
    former: &Former,
    purse: &mut Purse,
) -> Result<(), Fault> {
    let region = signing.region.as_ref().or(former.region.as_ref());
    let region = region.ok_or_else(|| {
        Fault::Unavailable(
            "the client's signature names no region; add `signing_region` to the endpoint"
                .to_owned(),
        )
    })?;
    let key = purse.secret("AWS_ACCESS_KEY_ID")?;
    let secret = purse.secret("AWS_SECRET_ACCESS_KEY")?;
    if let Some(token) = purse.secret_if_any("AWS_SESSION_TOKEN")? {
        headers.insert(TOKEN, secret_value(token.expose())?);
    }
    let hash = payload(headers, request.body, signing.payload)?;
    headers.insert(HASH, text(&hash)?);
    let keys = Keys {
        id: key.expose(),
        secret: secret.expose(),
    };
    let scope = Scope {
        service: &signing.service,
        region,
        now: SystemTime::now(),
    };
    let value = scope.authorize(request, headers, &hash, &keys)?;
    headers.insert(AUTHORIZATION, secret_value(value.as_bytes())?);
    Ok(())
}

/// What the signature says of the body, in the form of `x-amz-content-sha256`.
fn payload(headers: &HeaderMap, body: Digested<'_>, payload: Payload) -> Result<String, Fault> {
    let refuse = |problem: &str| Err(Fault::Unavailable(problem.to_owned()));
    let stated = match headers.get(HASH).map(HeaderValue::to_str).transpose() {
        Ok(stated) => stated.unwrap_or_default(),
        Err(_) => return refuse("x-amz-content-sha256 is no text"),
    };
    let chunked = headers.get_all(CONTENT_ENCODING).iter().any(|coding| {
        let mut codings = coding.as_bytes().split(|byte| *byte == b',');
        codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"aws-chunked"))
    });
    if stated.starts_with("STREAMING-") || chunked {
        // Each chunk of the other streaming forms is signed by the client's key.
        return match (stated == UNSIGNED_TRAILER, payload) {
            (true, Payload::AsSent | Payload::Unsigned) => Ok(UNSIGNED_TRAILER.to_owned()),
            _ => refuse(
                "a body in chunks can't be signed anew so; have the client send it whole (AWS_REQUEST_CHECKSUM_CALCULATION=when_required)",
            ),
        };
    }
    let digest = |bytes| hex(digest::digest(&digest::SHA256, bytes).as_ref());
    let is_hash = stated.len() == 64 && stated.bytes().all(|b| b.is_ascii_hexdigit());
    match (payload, body) {
        (Payload::Unsigned, _) => Ok(UNSIGNED.to_owned()),
        (Payload::AsSent, _) if stated == UNSIGNED || is_hash => Ok(stated.to_ascii_lowercase())
            .map(|lower| if is_hash { lower } else { UNSIGNED.to_owned() }),
        (Payload::AsSent | Payload::Body, Digested::Whole(bytes)) => Ok(digest(bytes)),
        (Payload::AsSent | Payload::Body, Digested::Unread) => refuse("the body was not read"),
    }
}

/// Whether a signature needs the whole body, which has to be read for it.
pub(in crate::egress) fn needs_body(headers: &HeaderMap, signing: &Signing) -> bool {
    match signing.payload {
        Payload::Body => true,
        Payload::AsSent => !headers.contains_key(HASH),
        Payload::Unsigned => false,
    }
}

/// The operator's keys.
struct Keys<'a> {
    id: &'a [u8],
    secret: &'a [u8],
}

/// What a signature is for.
struct Scope<'a> {
    service: &'a str,
    region: &'a str,
    now: SystemTime,
}

impl Scope<'_> {
    /// Sets the date, and gives the value of Authorization. The key's id is in it: a secret, too.
    fn authorize(
        &self,
        request: &Signable<'_>,
        headers: &mut HeaderMap,
        hash: &str,
        keys: &Keys<'_>,
    ) -> Result<Zeroizing<String>, Fault> {
        let Self {
            service, region, ..
        } = self;
        let moment = moment(self.now);
        let day = moment.get(..8).unwrap_or_default();
        headers.insert(DATE, text(&moment)?);
        let (signed, canonical) = self.canonical(request, headers, hash);
        let scope = format!("{day}/{region}/{service}/aws4_request");
        let digest = hex(digest::digest(&digest::SHA256, &canonical).as_ref());
        let to_sign = format!("{ALGORITHM}\n{moment}\n{scope}\n{digest}");
        let first = Zeroizing::new([b"AWS4", keys.secret].concat());
        let mac = |key: &[u8], data: &str| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            Zeroizing::new(hmac::sign(&key, data.as_bytes()).as_ref().to_vec())
        };
        let mut key = mac(&first, day);
        for data in [region, service, "aws4_request"] {
            key = mac(&key, data);
        }
        let signature = hex(&mac(&key, &to_sign));
        let id =
            str::from_utf8(keys.id).map_err(|_| Fault::unfit("AWS_ACCESS_KEY_ID", "is no text"))?;
        Ok(Zeroizing::new(format!(
            "{ALGORITHM} Credential={id}/{scope}, SignedHeaders={signed}, Signature={signature}"
        )))
    }

    /// The names of the signed headers, and the canonical request. Signed is what nobody changes on the way:
    /// the origin, AWS's own fields, and what tells the body's type.
    fn canonical(
        &self,
        request: &Signable<'_>,
        headers: &HeaderMap,
        hash: &str,
    ) -> (String, Zeroizing<Vec<u8>>) {
        let mut lines = BTreeMap::from([("host", request.authority.as_bytes().to_vec())]);
        for name in headers.keys().map(HeaderName::as_str) {
            if name.starts_with("x-amz-") || matches!(name, "content-type" | "content-md5") {
                let values = headers.get_all(name).iter();
                let values: Vec<Vec<u8>> =
                    values.map(|value| one_spaced(value.as_bytes())).collect();
                lines.insert(name, values.join(&b','));
            }
        }
        let signed = lines.keys().copied().collect::<Vec<_>>().join(";");
        let mut out = Zeroizing::new(Vec::with_capacity(4096));
        for part in [
            request.method.as_bytes(),
            &self.canonical_path(request.path),
            &canonical_query(request.query.unwrap_or_default()),
        ] {
            out.extend_from_slice(part);
            out.push(b'\n');
        }
        for (name, value) in &lines {
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            out.extend_from_slice(value);
            out.push(b'\n');
        }
        out.extend_from_slice(format!("\n{signed}\n{hash}").as_bytes());
        (signed, out)
    }

    fn canonical_path(&self, path: &str) -> Vec<u8> {
        let spelled = spell(path);
        if ONCE.contains(&self.service) {
            return spelled.into_bytes();
        }
        let mut twice = Vec::new();
        encode(spelled.as_bytes(), &mut twice, |byte| {
            byte == b'/' || unreserved(byte)
        });
        twice
    }
}

/// A path in the one spelling in which all servers reckon its signature: what is sent must be in it, too.
pub(in crate::egress) fn spell(path: &str) -> String {
    let segment = |segment: &str| {
        let mut out = Vec::new();
        let decoded = decode(segment.as_bytes(), Plus::Plus);
        encode(&decoded, &mut out, unreserved);
        String::from_utf8_lossy(&out).into_owned()
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn canonical_query(query: &str) -> Vec<u8> {
    let part = |text: &str| {
        let mut out = Vec::new();
        encode(&decode(text.as_bytes(), Plus::Plus), &mut out, unreserved);
        out
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<_> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (part(name), part(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<_> = pairs
        .into_iter()
        .map(|(name, value)| [name, value].join(&b'='))
        .collect();
    pairs.join(&b'&')
}

/// Trimmed, with one space for several.
fn one_spaced(value: &[u8]) -> Vec<u8> {
    let words = value.split(|byte| *byte == b' ');
    let words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).collect();
    words.join(&b' ')
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn text(value: &str) -> Result<HeaderValue, Fault> {
    HeaderValue::from_str(value)
        .map_err(|_| Fault::Unavailable("a header's value can't be written".to_owned()))
}

/// `20150830T123600Z`.
fn moment(time: SystemTime) -> String {
    let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (elapsed.as_secs() / 86_400, elapsed.as_secs() % 86_400);
    // Days since the 1st of March of the year 0, in eras of 400 Gregorian years, whose leap days come last.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let day = day - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + 400 * era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests;
