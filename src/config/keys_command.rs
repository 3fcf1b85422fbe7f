//! A program that knows a login's keys: AuthorizedKeysCommand of sshd_config(5).

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::yaml::Fault;

/// The longest that the program may take, in seconds.
const LONGEST: u64 = 60;

/// A program whose output is taken as an authorized_keys file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysCommand {
    /// Its absolute path.
    pub program: PathBuf,
    /// Its arguments after its name.
    pub arguments: Vec<Argument>,
    /// Whose account runs it.
    pub user: String,
    /// After this it is killed, and the login refused.
    pub timeout: Duration,
}

/// One argument, which is filled in for each login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Token(Token),
}

/// What stands for something of the login (sshd_config(5), TOKENS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Login,
    Key,
    Kind,
    Fingerprint,
}

/// What is filled in.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// `%u`: the login.
    pub login: &'a str,
    /// `%k`: the key or certificate, base64.
    pub key: &'a str,
    /// `%t`: its type.
    pub kind: &'a str,
    /// `%f`: the key's SHA-256 fingerprint.
    pub fingerprint: &'a str,
}

impl Argument {
    fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut plain) = (Vec::new(), String::new());
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                plain.push(character);
                continue;
            }
            let token = match characters.next() {
                Some('%') => {
                    plain.push('%');
                    continue;
                }
                Some('u') => Token::Login,
                Some('k') => Token::Key,
                Some('t') => Token::Kind,
                Some('f') => Token::Fingerprint,
                _ => {
                    return Err(format!(
                        "{text:?} holds a % that is none of %u, %k, %t, %f and %%"
                    ));
                }
            };
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Token(token));
        }
        pieces.push(Piece::Text(plain));
        Ok(Self(pieces))
    }

    /// The argument for this login and key.
    pub fn fill(&self, offered: &Offered<'_>) -> String {
        let piece = |piece: &Piece| -> String {
            match piece {
                Piece::Text(text) => text.clone(),
                Piece::Token(Token::Login) => offered.login.to_owned(),
                Piece::Token(Token::Key) => offered.key.to_owned(),
                Piece::Token(Token::Kind) => offered.kind.to_owned(),
                Piece::Token(Token::Fingerprint) => offered.fingerprint.to_owned(),
            }
        };
        self.0.iter().map(piece).collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysCommandFile {
    program: Spanned<Vec<Spanned<String>>>,
    user: String,
    timeout: Option<Spanned<u64>>,
}

/// A program with its arguments; otherwise which word is wrong, and the mend.
fn parse<'a>(
    mut words: impl Iterator<Item = &'a str>,
) -> Result<(PathBuf, Vec<Argument>), (usize, String)> {
    let program = words
        .next()
        .filter(|first| first.starts_with('/'))
        .ok_or((0, "begin with the program's absolute path".to_owned()))?;
    let argument = |(index, word)| Argument::parse(word).map_err(|problem| (index + 1, problem));
    let mut arguments: Vec<Argument> = words.enumerate().map(argument).collect::<Result<_, _>>()?;
    if arguments.is_empty() {
        arguments.push(Argument(vec![Piece::Token(Token::Login)]));
    }
    Ok((program.into(), arguments))
}

impl KeysCommand {
    /// As sshd_config(5) has it: a program that may take as long as any here.
    pub(super) fn of<'a>(words: impl Iterator<Item = &'a str>, user: &str) -> Result<Self, String> {
        let (program, arguments) = parse(words).map_err(|(_, problem)| problem)?;
        Ok(Self {
            program,
            arguments,
            user: user.to_owned(),
            timeout: Duration::from_secs(LONGEST),
        })
    }
}

pub(super) fn check(file: KeysCommandFile) -> Result<KeysCommand, Fault> {
    let words = file.program.value.iter().map(|word| word.value.as_str());
    let (program, arguments) = parse(words).map_err(|(at, problem)| {
        let word = file.program.value.get(at);
        let place = word.map_or(file.program.referenced, |word| word.referenced);
        Fault::at(place, problem)
    })?;
    let timeout = match file.timeout {
        Some(timeout) if timeout.value == 0 || timeout.value > LONGEST => {
            let problem = format!("{} is out of range: 1 to {LONGEST} seconds", timeout.value);
            return Err(Fault::at(timeout.referenced, problem));
        }
        Some(timeout) => timeout.value,
        None => 5,
    };
    Ok(KeysCommand {
        program,
        arguments,
        user: file.user,
        timeout: Duration::from_secs(timeout),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_filled_in_and_nothing_else_is() {
        let offered = Offered {
            login: "ann",
            key: "AAAA%u",
            kind: "ssh-ed25519",
            fingerprint: "SHA256:x",
        };
        for (text, filled) in [
            ("%u", "ann"),
            ("--key=%t %k", "--key=ssh-ed25519 AAAA%u"),
            ("%f%%u", "SHA256:x%u"),
            ("", ""),
        ] {
            assert_eq!(Argument::parse(text).unwrap().fill(&offered), filled);
        }
        for text in ["%", "%h", "a%"] {
            assert!(Argument::parse(text).is_err(), "{text}");
        }
    }
}
