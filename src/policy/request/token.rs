//! GraphQL's lexical tokens (October 2021 edition, §2.1).

/// Tokens of a document. A body of 64 KiB could have as many as it has bytes.
const MAX_TOKENS: usize = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A punctuator of one character.
    Sign(char),
    /// `...`
    Spread,
    Name(&'a str),
    /// A number or a string; which one is never asked.
    Literal,
}

/// The tokens of a text, read from the left.
pub(super) struct Tokens<'a> {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token<'a>>>,
}

impl<'a> Tokens<'a> {
    pub(super) fn of(text: &'a str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut rest = ignored(text)?;
        while !rest.is_empty() {
            if tokens.len() == MAX_TOKENS {
                return Err(format!("the document has more than {MAX_TOKENS} tokens"));
            }
            let (token, after) = token(rest).ok_or("the document holds what is no token")?;
            tokens.push(token);
            rest = ignored(after)?;
        }
        Ok(Self {
            tokens: tokens.into_iter().peekable(),
        })
    }

    pub(super) fn peek(&mut self) -> Option<Token<'a>> {
        self.tokens.peek().copied()
    }

    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        self.tokens.next()
    }

    /// Takes the next token if it is this one.
    pub(super) fn take(&mut self, token: Token<'_>) -> bool {
        self.tokens.next_if(|next| *next == token).is_some()
    }
}

/// What follows white space, commas, comments and byte order marks.
fn ignored(mut text: &str) -> Result<&str, String> {
    loop {
        text = text.trim_start_matches(['\u{feff}', '\t', ' ', '\n', '\r', ',']);
        let Some(comment) = text.strip_prefix('#') else {
            return Ok(text);
        };
        let end = comment.find(['\n', '\r']).unwrap_or(comment.len());
        let (comment, rest) = comment.split_at_checked(end).unwrap_or((comment, ""));
        // The edition of 2015 ended a comment at these separators, too.
        if comment.contains(|c: char| matches!(c, '\u{2028}' | '\u{2029}') || is_odd(c)) {
            return Err("a comment of the document holds a character that may end it".to_owned());
        }
        text = rest;
    }
}

/// Controls, which no source character is (§2.1.1).
fn is_odd(c: char) -> bool {
    c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r')
}

fn token(text: &str) -> Option<(Token<'_>, &str)> {
    if let Some(rest) = text.strip_prefix("...") {
        return Some((Token::Spread, rest));
    }
    let first = text.chars().next()?;
    match first {
        '!' | '$' | '&' | '(' | ')' | ':' | '=' | '@' | '[' | ']' | '{' | '|' | '}' => {
            Some((Token::Sign(first), text.get(1..)?))
        }
        'A'..='Z' | 'a'..='z' | '_' => {
            let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
            let (name, rest) = text.split_at_checked(end)?;
            Some((Token::Name(name), rest))
        }
        '-' | '0'..='9' => Some((Token::Literal, number(text)?)),
        '"' => {
            let rest = match text.strip_prefix("\"\"\"") {
                Some(block) => self::block(block),
                None => string(text.get(1..)?),
            };
            Some((Token::Literal, rest?))
        }
        _ => None,
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// What follows a number. Neither a name nor a point may stand right behind it (§2.9.1).
fn number(text: &str) -> Option<&str> {
    let digits = |text: &'_ str| -> Option<usize> {
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        (end > 0).then_some(end)
    };
    let mut rest = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(rest)?;
    if whole > 1 && rest.starts_with('0') {
        return None;
    }
    rest = rest.get(whole..)?;
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.get(digits(fraction)?..)?;
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        rest = exponent.get(digits(exponent)?..)?;
    }
    (!rest.starts_with(|c: char| is_name(c) || c == '.')).then_some(rest)
}

/// What follows a string whose opening quote is taken.
fn string(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some(chars.as_str()),
            '\\' => escape(&mut chars)?,
            '\n' | '\r' | '\u{2028}' | '\u{2029}' => return None,
            odd if is_odd(odd) => return None,
            _ => {}
        }
    }
}

/// Takes what a backslash begins (§2.9.4).
fn escape(chars: &mut std::str::Chars<'_>) -> Option<()> {
    match chars.next()? {
        '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => Some(()),
        'u' => (0..4)
            .all(|_| chars.next().is_some_and(|c| c.is_ascii_hexdigit()))
            .then_some(()),
        _ => None,
    }
}

/// What follows a block string whose opening quotes are taken.
fn block(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let at = rest.find("\"\"\"")?;
        let (inside, after) = rest.split_at_checked(at)?;
        if inside.contains(is_odd) {
            return None;
        }
        let after = after.get(3..)?;
        if !inside.ends_with('\\') {
            return Some(after);
        }
        rest = after;
    }
}
