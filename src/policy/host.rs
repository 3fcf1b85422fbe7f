//! The hosts that a rule speaks of.

use std::net::IpAddr;

use super::pattern::{Set, Token, contains, meet};

/// An endpoint's `host`.
#[derive(Debug)]
pub(super) enum HostRule {
    /// One name, in lower case.
    Name(String),
    /// One address.
    Address(IpAddr),
    /// Names by wildcard.
    Wildcard(Wildcard),
    /// Whatever resolves into `allowed_ips`: an endpoint without `host`.
    Anywhere,
}

/// A host with `*` or `**` in it.
#[derive(Debug)]
pub(super) struct Wildcard {
    shape: Shape,
    tokens: Vec<Token>,
}

/// How a name is looked up. The first two need no search.
#[derive(Debug)]
pub(super) enum Shape {
    /// `*.domain`: the names one label below it.
    Children(String),
    /// `**.domain`: all names below it.
    Below(String),
    /// Whatever else: a regular expression over lower-case names, anchored at both ends.
    Regex(String),
}

impl Wildcard {
    /// How a name is looked up.
    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }
}

const LABEL: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789-_";
const NAME: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789-_.";

impl HostRule {
    /// Reads `host` as it stands in the file. The error is the mend.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        let bare = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(&text);
        if let Ok(address) = bare.parse() {
            return Ok(Self::Address(address));
        }
        if text.ends_with('.') {
            return Err("a host with a trailing dot never matches; remove the dot".to_owned());
        }
        if let Some(odd) = text.chars().find(|c| !is_host_byte(*c)) {
            return Err(format!(
                "no host name holds {odd:?}; a host has letters, digits, `-`, `_`, `.` and `*`"
            ));
        }
        if text.len() > 253
            || text
                .split('.')
                .any(|label| label.is_empty() || label.len() > 63)
        {
            return Err("a host has labels of 1 to 63 bytes, 253 in all".to_owned());
        }
        if text.contains('*') {
            wildcard(&text).map(Self::Wildcard)
        } else {
            Ok(Self::Name(text))
        }
    }

    /// Whether this names one host and no other.
    pub(super) fn is_exact(&self) -> bool {
        matches!(self, Self::Name(_) | Self::Address(_))
    }

    /// Whether some host is meant by both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anywhere, _) | (_, Self::Anywhere) => true,
            (Self::Name(a), Self::Name(b)) => a == b,
            (Self::Address(a), Self::Address(b)) => a == b,
            (Self::Address(_), _) | (_, Self::Address(_)) => false,
            (Self::Wildcard(a), Self::Wildcard(b)) => meet(&a.tokens, &b.tokens),
            (Self::Wildcard(a), Self::Name(b)) | (Self::Name(b), Self::Wildcard(a)) => {
                meet(&a.tokens, &literal(b))
            }
        }
    }

    /// Whether every host that `other` means is meant by this one as well.
    pub(super) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anywhere, _) => true,
            (Self::Name(a), Self::Name(b)) => a == b,
            (Self::Address(a), Self::Address(b)) => a == b,
            (Self::Wildcard(a), Self::Wildcard(b)) => contains(&a.tokens, &b.tokens),
            (Self::Wildcard(a), Self::Name(b)) => contains(&a.tokens, &literal(b)),
            _ => false,
        }
    }
}

fn is_host_byte(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*')
}

fn literal(text: &str) -> Vec<Token> {
    text.bytes()
        .map(|byte| Token::One(Set::of([byte])))
        .collect()
}

/// `*` is one label, or part of one in the first; `**` is one label or more, and only the first.
fn wildcard(text: &str) -> Result<Wildcard, String> {
    let (label, name) = (
        Set::of(LABEL.iter().copied()),
        Set::of(NAME.iter().copied()),
    );
    let mut tokens = Vec::new();
    let mut regex = String::from("^");
    if text.split('.').count() < 3 {
        return Err("a wildcard of two labels or fewer would open a whole top-level domain; name the domain below it".to_owned());
    }
    for (position, part) in text.split('.').enumerate() {
        if position > 0 {
            tokens.push(Token::One(Set::of([b'.'])));
            regex.push_str("\\.");
        }
        match part {
            "*" => {
                tokens.extend([Token::One(label), Token::Many(label)]);
                regex.push_str("[^.]+");
            }
            "**" if position == 0 => {
                tokens.extend([Token::One(label), Token::Many(name)]);
                regex.push_str(".+");
            }
            _ if part.contains("**") => {
                return Err("`**` stands only as the whole first label".to_owned());
            }
            _ if position > 0 && part.contains('*') => {
                return Err(
                    "`*` inside a label stands only in the first; elsewhere it is the whole label"
                        .to_owned(),
                );
            }
            _ => {
                for byte in part.bytes() {
                    match byte {
                        b'*' => {
                            tokens.push(Token::Many(label));
                            regex.push_str("[^.]*");
                        }
                        plain => {
                            tokens.push(Token::One(Set::of([plain])));
                            regex.push(char::from(plain));
                        }
                    }
                }
            }
        }
    }
    regex.push('$');
    let shape = match text.split_once('.') {
        Some(("*", domain)) if !domain.contains('*') => Shape::Children(domain.to_owned()),
        Some(("**", domain)) if !domain.contains('*') => Shape::Below(domain.to_owned()),
        _ => Shape::Regex(regex),
    };
    Ok(Wildcard { shape, tokens })
}
