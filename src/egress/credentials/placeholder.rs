//! Placeholders: what stands for a secret in what a sandbox sends.

use std::ops::Range;

use zeroize::Zeroizing;

use super::purse::{Fault, Purse};

/// How ours begin; sessions find these in their environment.
pub(in crate::egress) const PREFIX: &str = "sandgate:";

/// All that are taken. The longer one is what OpenShell's sandboxes have.
const PREFIXES: [&str; 2] = [PREFIX, "openshell:resolve:env:"];

/// A placeholder in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// Where it stands.
    pub(super) range: Range<usize>,
    /// The key that it names.
    pub(super) key: &'a str,
}

/// The first placeholder in a text: one of the prefixes and as much of a variable's name as follows.
pub(super) fn find(text: &[u8]) -> Option<Found<'_>> {
    let mut from = 0;
    loop {
        let (start, prefix) = PREFIXES
            .iter()
            .filter_map(|prefix| Some((position(text, prefix.as_bytes(), from)?, prefix)))
            .min()?;
        let begin = start + prefix.len();
        let rest = text.get(begin..).unwrap_or_default();
        let named = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
        let length = rest.iter().take_while(named).count();
        let key = rest.get(..length).unwrap_or_default();
        let digit = key.first().is_none_or(u8::is_ascii_digit);
        match str::from_utf8(key) {
            Ok(key) if !digit => {
                return Some(Found {
                    range: start..begin + length,
                    key,
                });
            }
            // `sandgate:1.2` is an image's name and nobody's secret.
            _ => from = begin,
        }
    }
}

fn position(text: &[u8], pattern: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    let found = rest
        .windows(pattern.len())
        .position(|window| window == pattern)?;
    Some(from + found)
}

/// Puts a secret in the place of each placeholder; `None` where there is none. `encode` writes a secret as
/// what stands around it wants, `keep` the rest.
pub(super) fn fill(
    text: &[u8],
    purse: &mut Purse,
    keep: impl Fn(&[u8], &mut Vec<u8>),
    encode: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), &'static str>,
) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
    let Some(mut found) = find(text) else {
        return Ok(None);
    };
    let mut filled = Zeroizing::new(Vec::with_capacity(2 * text.len() + 1024));
    let mut rest = text;
    loop {
        keep(
            rest.get(..found.range.start).unwrap_or_default(),
            &mut filled,
        );
        let secret = purse.secret(found.key)?;
        encode(secret.expose(), &mut filled).map_err(|why| Fault::unfit(found.key, why))?;
        rest = rest.get(found.range.end..).unwrap_or_default();
        match find(rest) {
            Some(next) => found = next,
            None => break,
        }
    }
    keep(rest, &mut filled);
    Ok(Some(filled))
}

/// As it is.
pub(super) fn plain(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_a_prefix_and_a_variables_name() {
        let found = |text: &'static str| find(text.as_bytes()).map(|f| (f.range, f.key));
        assert_eq!(found("sandgate:A_1"), Some((0..12, "A_1")));
        assert_eq!(found("/botsandgate:T/x"), Some((4..14, "T")));
        assert_eq!(
            found("x openshell:resolve:env:K-1 sandgate:B"),
            Some((2..25, "K"))
        );
        assert_eq!(found("sandgate:latest"), Some((0..15, "latest")));
        assert_eq!(found("sandgate:1.2, sandgate:x"), Some((14..24, "x")));
        for text in [
            "",
            "sandgate:",
            "sandgate: A",
            "Sandgate:A",
            "openshell:resolve:A",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
