//! Globs, and whether two of them can match the same text.

use std::collections::HashSet;

/// A set of ASCII characters, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Set(u128);

impl Set {
    pub(super) const ALL: Self = Self(u128::MAX);

    /// What is not ASCII is not in it.
    pub(super) fn of(members: impl IntoIterator<Item = u8>) -> Self {
        Self(
            members
                .into_iter()
                .filter(u8::is_ascii)
                .fold(0, |bits, byte| bits | 1 << byte),
        )
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A piece of a glob: one character out of a set, or any number of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    One(Set),
    Many(Set),
}

impl Token {
    fn set(self) -> Set {
        match self {
            Self::One(set) | Self::Many(set) => set,
        }
    }

    fn is_many(self) -> bool {
        matches!(self, Self::Many(_))
    }
}

/// Whether some text matches both.
pub(super) fn meet(left: &[Token], right: &[Token]) -> bool {
    let mut todo = vec![(0, 0)];
    let mut seen = HashSet::new();
    while let Some((l, r)) = todo.pop() {
        if !seen.insert((l, r)) {
            continue;
        }
        match (left.get(l), right.get(r)) {
            (None, None) => return true,
            (Some(Token::Many(_)), None) => todo.push((l + 1, r)),
            (None, Some(Token::Many(_))) => todo.push((l, r + 1)),
            (None, Some(_)) | (Some(_), None) => {}
            (Some(a), Some(b)) => {
                if a.is_many() {
                    todo.push((l + 1, r));
                }
                if b.is_many() {
                    todo.push((l, r + 1));
                }
                if a.set().meets(b.set()) {
                    todo.push((l + usize::from(!a.is_many()), r + usize::from(!b.is_many())));
                }
            }
        }
    }
    false
}

/// An endpoint's `path`: `*` crosses `/`, and `X/**` includes `X`.
#[derive(Debug)]
pub(super) struct PathPattern {
    alternatives: Vec<Vec<Token>>,
    specificity: usize,
}

impl PathPattern {
    /// Reads `/...` or `**`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') && text != "**" {
            return Err("a path begins with `/`, or is `**` for every path".to_owned());
        }
        let mut alternatives = vec![tokens(text)?];
        if let Some(head) = text.strip_suffix("/**").filter(|head| !head.is_empty()) {
            alternatives.push(tokens(head)?);
        }
        let specificity = text.chars().filter(|c| *c != '*').count();
        Ok(Self {
            alternatives,
            specificity,
        })
    }

    /// Every path: what an endpoint without `path` has.
    pub(super) fn every() -> Self {
        Self {
            alternatives: vec![vec![Token::Many(Set::ALL)]],
            specificity: 0,
        }
    }

    /// The endpoint with more characters other than `*` is asked first.
    pub(super) fn specificity(&self) -> usize {
        self.specificity
    }

    /// Whether it covers a path.
    pub(super) fn covers(&self, path: &str) -> bool {
        self.alternatives
            .iter()
            .any(|tokens| covers(tokens, path.as_bytes()))
    }

    /// Whether some path matches both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.alternatives
            .iter()
            .any(|a| other.alternatives.iter().any(|b| meet(a, b)))
    }
}

/// Whether tokens match a whole text, in which `Many` stands for anything: the last one takes as
/// much as it must.
fn covers(tokens: &[Token], text: &[u8]) -> bool {
    let (mut piece, mut byte) = (0, 0);
    let mut many = None;
    while let Some(next) = text.get(byte) {
        match tokens.get(piece) {
            Some(Token::Many(_)) => {
                many = Some((piece, byte));
                piece += 1;
            }
            Some(Token::One(set)) if set.meets(Set::of([*next])) => {
                piece += 1;
                byte += 1;
            }
            _ => match many {
                Some((at, until)) => {
                    many = Some((at, until + 1));
                    piece = at + 1;
                    byte = until + 1;
                }
                None => return false,
            },
        }
    }
    tokens
        .get(piece..)
        .is_some_and(|rest| rest.iter().all(|token| token.is_many()))
}

/// Reads `*`, `?`, `[abc]`, `[a-c]`, `[!a]` and plain ASCII.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    if !text.is_ascii() {
        return Err("a path is ASCII; write other characters percent-encoded".to_owned());
    }
    let mut out = Vec::new();
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        out.push(match next {
            '*' => Token::Many(Set::ALL),
            '?' => Token::One(Set::ALL),
            '[' => {
                let (class, rest) = class(chars.as_str())?;
                chars = rest.chars();
                Token::One(class.set())
            }
            plain => Token::One(Set::of([plain as u8])),
        });
    }
    Ok(out)
}

/// A file's glob as a regular expression: `*` and `?` stay within `/`, `**` as a whole component
/// covers any number of them (at the end at least one), `{a,b}` is either.
pub(super) fn file_regex(glob: &str) -> Result<String, String> {
    let mut out = String::from("(?s)^");
    let mut depth = 0_usize;
    let mut chars = glob.chars();
    let mut before = '/';
    while let Some(next) = chars.next() {
        match next {
            '*' if before == '/' && chars.as_str().starts_with("*/") => {
                out.push_str("(?:.*/)?");
                // Past `*/`; the component that follows begins after a `/` again.
                chars.by_ref().take(2).for_each(drop);
                continue;
            }
            '*' if before == '/' && chars.as_str() == "*" => {
                out.push_str(".+");
                break;
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' => {
                let (class, rest) = class(chars.as_str())?;
                chars = rest.chars();
                class.regex("/", &mut out);
            }
            '{' => {
                depth += 1;
                out.push_str("(?:");
            }
            '}' if depth > 0 => {
                depth -= 1;
                out.push(')');
            }
            ',' if depth > 0 => out.push('|'),
            plain => literal(plain, &mut out),
        }
        before = next;
    }
    if depth > 0 {
        return Err("`{` opens a choice that `}` never closes".to_owned());
    }
    out.push('$');
    Ok(out)
}

/// A rule's glob as a regular expression: `*`, `?` and sets stay within `stop`, `**` crosses it, `{a,b}`
/// is either, a backslash takes its meaning from what follows.
pub(super) fn glob_regex(glob: &str, stop: &str) -> Result<String, String> {
    let mut out = String::from("(?s)^");
    let mut depth = 0_usize;
    let mut chars = glob.chars();
    while let Some(next) = chars.next() {
        match next {
            '*' => {
                let rest = chars.as_str();
                let tail = rest.trim_start_matches('*');
                if tail.len() == rest.len() {
                    out.extend(["[^", stop, "]*"]);
                } else {
                    out.push_str(".*");
                }
                chars = tail.chars();
            }
            '?' => out.extend(["[^", stop, "]"]),
            '[' => {
                let (class, rest) = class(chars.as_str())?;
                chars = rest.chars();
                class.regex(stop, &mut out);
            }
            '{' => {
                depth += 1;
                out.push_str("(?:");
            }
            '}' if depth > 0 => {
                depth -= 1;
                out.push(')');
            }
            ',' if depth > 0 => out.push('|'),
            '\\' => literal(
                chars
                    .next()
                    .ok_or("a backslash at the end has nothing to mean")?,
                &mut out,
            ),
            plain => literal(plain, &mut out),
        }
    }
    if depth > 0 {
        return Err("`{` opens a choice that `}` never closes".to_owned());
    }
    out.push('$');
    Ok(out)
}

/// Appends a character that stands for itself.
fn literal(c: char, out: &mut String) {
    if c.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(c);
}

/// What stands between brackets.
struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

/// Reads a class whose `[` is already taken; returns what follows its `]`.
fn class(text: &str) -> Result<(Class, &str), String> {
    let Some((inner, rest)) = text.split_once(']') else {
        return Err("`[` opens a set that `]` never closes".to_owned());
    };
    let (negated, members) = match inner.strip_prefix(['!', '^']) {
        Some(members) => (true, members),
        None => (false, inner),
    };
    if members.is_empty() {
        return Err("a set in brackets names no character".to_owned());
    }
    let mut ranges = Vec::new();
    let mut chars = members.chars();
    while let Some(first) = chars.next() {
        let mut ahead = chars.clone();
        let last = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) => {
                chars = ahead;
                last
            }
            _ => first,
        };
        if last < first {
            return Err(format!("the range `{first}-{last}` is upside down"));
        }
        ranges.push((first, last));
    }
    Ok((Class { negated, ranges }, rest))
}

impl Class {
    fn set(&self) -> Set {
        let holds = |byte: u8| {
            self.ranges
                .iter()
                .any(|(a, z)| (*a..=*z).contains(&char::from(byte)))
        };
        Set::of((0..128).filter(|byte| holds(*byte) != self.negated))
    }

    /// Never `stop`, which only `**` crosses.
    fn regex(&self, stop: &str, out: &mut String) {
        if self.negated {
            out.extend(["[^", stop]);
        } else {
            out.push('[');
        }
        for (first, last) in &self.ranges {
            literal(*first, out);
            out.push('-');
            literal(*last, out);
        }
        if self.negated {
            out.push(']');
        } else {
            out.extend(["&&[^", stop, "]]"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths_meet(a: &str, b: &str) -> bool {
        let (a, b) = (
            PathPattern::parse(a).unwrap(),
            PathPattern::parse(b).unwrap(),
        );
        assert_eq!(a.meets(&b), b.meets(&a), "meeting is symmetric");
        a.meets(&b)
    }

    #[test]
    fn paths_meet_where_one_text_matches_both() {
        assert!(paths_meet("/v[12]", "/v[23]"));
        assert!(!paths_meet("/v[12]", "/v[34]"));
        assert!(!paths_meet("/v[!1]", "/v1"));
        assert!(paths_meet("/v[a-c]", "/v?"));
        assert!(paths_meet("/api/**", "/api"));
        assert!(!paths_meet("/api/**", "/apis"));
        assert!(paths_meet("/a*z", "/*b/z"));
        assert!(!paths_meet("/registry/**", "/api/**"));
        assert!(paths_meet("**", "/anything"));
    }

    #[test]
    fn a_broken_glob_is_refused() {
        for bad in ["/v[12", "/v[]", "/v[z-a]", "v1", "/\u{e9}"] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
        for bad in ["/usr/{bin,sbin", "/v[", "/v[]/*"] {
            assert!(file_regex(bad).is_err(), "{bad}");
        }
    }
}
