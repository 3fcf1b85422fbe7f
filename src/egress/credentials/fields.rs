//! Placeholders in a request's head: header values, path segments, values of the query.

use data_encoding::BASE64;
use hyper::header::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use super::encoding::{Plus, decode, encode, of_segments, unreserved};
use super::placeholder::{fill, find, plain};
use super::purse::{Fault, Purse};

/// Resolves the values of all headers. A placeholder is all of a value, or all that follows a scheme, or
/// stands in the user and password of `Basic` (RFC 7617).
pub(in crate::egress) fn headers(headers: &mut HeaderMap, purse: &mut Purse) -> Result<(), Fault> {
    for (name, value) in headers.iter_mut() {
        let Some(filled) = header(value.as_bytes(), purse)
            .map_err(|fault| fault_in(fault, &format!("header {name}")))?
        else {
            continue;
        };
        *value = secret_value(&filled)?;
    }
    Ok(())
}

/// A value that nobody prints or indexes (RFC 7541 §7.1.3).
pub(in crate::egress) fn secret_value(bytes: &[u8]) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_bytes(bytes).map_err(|_| {
        Fault::Unavailable("a secret holds a control character, which no header may".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn fault_in(fault: Fault, place: &str) -> Fault {
    let at = |text: String| format!("{place}: {text}");
    match fault {
        Fault::Unavailable(text) => Fault::Unavailable(at(text)),
        Fault::Mismatch(text) => Fault::Mismatch(at(text)),
        Fault::TooLong(text) => Fault::TooLong(at(text)),
    }
}

pub(super) fn header(value: &[u8], purse: &mut Purse) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
    let mut words = value.splitn(2, |byte| *byte == b' ');
    let scheme = words.next().unwrap_or_default();
    let rest = words.next().unwrap_or_default().trim_ascii();
    if scheme.eq_ignore_ascii_case(b"basic")
        && let Ok(decoded) = BASE64.decode(rest)
        && find(&decoded).is_some()
    {
        let pair = basic(&decoded, purse)?;
        let mut filled = Zeroizing::new(b"Basic ".to_vec());
        filled.extend_from_slice(Zeroizing::new(BASE64.encode(&pair)).as_bytes());
        return Ok(Some(filled));
    }
    let Some(found) = find(value) else {
        return Ok(None);
    };
    let before = value.get(..found.range.start).unwrap_or_default();
    let after = value.get(found.range.end..).unwrap_or_default();
    let alone = before.trim_ascii().is_empty() || before == [scheme, b" "].concat();
    if !alone || !after.trim_ascii().is_empty() {
        return Err(Fault::Unavailable(format!(
            "{} stands amid other text; a placeholder is all of a value, or all after a scheme",
            found.key
        )));
    }
    fill(value, purse, plain, |secret, out| {
        plain(secret, out);
        Ok(())
    })
}

/// A user and a password. The first colon divides them, so that no user may have one.
fn basic(pair: &[u8], purse: &mut Purse) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let colon = pair.iter().position(|byte| *byte == b':').unwrap_or(0);
    let user = match find(pair) {
        Some(found) if found.range.start == 0 => found.range.end,
        // Its own colon would end the user's name within it.
        Some(found) if found.range.contains(&colon) => {
            return Err(Fault::Unavailable(format!(
                "{} stands amid other text; a placeholder is all of a user's name",
                found.key
            )));
        }
        _ => colon,
    };
    let (user, password) = pair.split_at(user);
    let filled_user = fill(user, purse, plain, |secret, out| {
        if secret.contains(&b':') {
            return Err("holds a colon, which ends a user's name");
        }
        plain(secret, out);
        Ok(())
    })?;
    let filled = fill(password, purse, plain, |secret, out| {
        plain(secret, out);
        Ok(())
    })?;
    let mut both = filled_user.unwrap_or_else(|| Zeroizing::new(user.to_vec()));
    both.extend_from_slice(filled.as_deref().map_or(password, Vec::as_slice));
    Ok(both)
}

/// Resolves a canonical path; `None` where there is no placeholder in it. A secret never makes a separator
/// or a dot segment, whoever reads the path.
pub(in crate::egress) fn path(path: &str, purse: &mut Purse) -> Result<Option<String>, Fault> {
    let mut segments = Vec::new();
    let mut any = false;
    for segment in path.split('/') {
        let decoded = decode(segment.as_bytes(), Plus::Plus);
        let keep = |bytes: &[u8], out: &mut Vec<u8>| encode(bytes, out, of_segments);
        let filled = fill(&decoded, purse, keep, |secret, out| {
            if secret.contains(&b'/') || secret.contains(&b'\\') {
                return Err("holds a separator, which a path's segment may not");
            }
            encode(secret, out, unreserved);
            Ok(())
        })
        .map_err(|fault| fault_in(fault, "path"))?;
        let filled = match filled {
            Some(filled) if matches!(filled.as_slice(), b"." | b"..") => {
                let problem = "path: a secret would make a dot segment";
                return Err(Fault::Unavailable(problem.to_owned()));
            }
            Some(filled) => {
                any = true;
                String::from_utf8_lossy(&filled).into_owned()
            }
            None => segment.to_owned(),
        };
        segments.push(filled);
    }
    Ok(any.then(|| segments.join("/")))
}

/// Resolves the values of a query, which is also what a form is; `None` where there is no placeholder in it.
pub(in crate::egress) fn query(query: &str, purse: &mut Purse) -> Result<Option<String>, Fault> {
    pairs(query.as_bytes(), purse)
        .map(|filled| filled.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        .map_err(|fault| fault_in(fault, "query"))
}

pub(super) fn pairs(text: &[u8], purse: &mut Purse) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
    let mut filled = Zeroizing::new(Vec::with_capacity(2 * text.len() + 1024));
    let mut any = false;
    for (index, pair) in text.split(|byte| *byte == b'&').enumerate() {
        if index > 0 {
            filled.push(b'&');
        }
        let equals = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = pair.split_at(equals.map_or(pair.len(), |at| at + 1));
        if let Some(found) = find(&decode(name, Plus::Space)) {
            let problem = format!("{} stands in a name; only values are resolved", found.key);
            return Err(Fault::Unavailable(problem));
        }
        filled.extend_from_slice(name);
        let keep = |bytes: &[u8], out: &mut Vec<u8>| encode(bytes, out, unreserved);
        let resolved = fill(&decode(value, Plus::Space), purse, keep, |secret, out| {
            encode(secret, out, unreserved);
            Ok(())
        })?;
        any |= resolved.is_some();
        filled.extend_from_slice(resolved.as_deref().map_or(value, Vec::as_slice));
    }
    Ok(any.then_some(filled))
}

/// Whether nothing in a head names a secret, for a request that may have none.
pub(in crate::egress) fn target_names_none(target: &str, headers: &HeaderMap) -> bool {
    let quiet = |value: &HeaderValue| find(value.as_bytes()).is_none();
    find(&decode(target.as_bytes(), Plus::Space)).is_none() && headers.values().all(quiet)
}

#[cfg(test)]
mod tests;
