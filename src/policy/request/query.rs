//! A request's query parameters.

use std::collections::BTreeMap;

/// Pairs that are told apart; who needs more has them in a body.
const MAX_PAIRS: usize = 256;

/// Every value of every key, decoded (WHATWG URL §5.1). `None` where servers disagree on what stands
/// there: `;`, which some split at, broken encoding, bytes that are no UTF-8, controls, a fragment.
pub(in crate::policy) fn parameters(query: &str) -> Option<BTreeMap<String, Vec<String>>> {
    let mut parameters = BTreeMap::<String, Vec<String>>::new();
    for (count, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        if count == MAX_PAIRS {
            return None;
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        parameters
            .entry(decoded(key)?)
            .or_default()
            .push(decoded(value)?);
    }
    Some(parameters)
}

fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || u8::try_from(char::from(bytes.next()?).to_digit(16)?).ok();
                digit()? << 4 | digit()?
            }
            b'+' => b' ',
            b';' | b'#' => return None,
            plain => plain,
        };
        if byte.is_ascii_control() && byte != b'\t' && byte != b'\n' && byte != b'\r' {
            return None;
        }
        out.push(byte);
    }
    String::from_utf8(out).ok()
}
