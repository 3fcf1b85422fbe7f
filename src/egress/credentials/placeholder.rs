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

/// The first placeholder in a text: one of the prefixes and as much of a variable's name as follows. In time
/// that grows with the text, whatever it holds: who has it read chose it.
pub(super) fn find(text: &[u8]) -> Option<Found<'_>> {
    let mut rest = text;
    loop {
        let prefix = PREFIXES
            .iter()
            .find(|prefix| rest.starts_with(prefix.as_bytes()));
        let length = prefix.map_or(1, |prefix| prefix.len());
        let start = text.len() - rest.len();
        rest = rest.get(length..)?;
        if prefix.is_none() {
            continue;
        }
        let named = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
        let key = rest.get(..rest.iter().take_while(named).count())?;
        // `sandgate:1.2` is an image's name and nobody's secret.
        if key.first().is_some_and(|first| !first.is_ascii_digit()) {
            return Some(Found {
                range: start..start + length + key.len(),
                key: str::from_utf8(key).ok()?,
            });
        }
    }
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
