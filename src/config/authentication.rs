//! What it takes to log in: chains of methods, as sshd_config(5) has them in AuthenticationMethods.

use std::fmt;
use std::path::PathBuf;

use serde_saphyr::{Location, Spanned};

use crate::yaml::Fault;

/// The most methods of one chain, and chains of one login.
const MOST: usize = 8;

/// An authentication method (RFC 4252 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A key (RFC 4252 §7).
    PublicKey,
    /// A code (RFC 4256, RFC 6238).
    KeyboardInteractive,
}

impl Method {
    /// Every method, in the order in which clients are told of them.
    pub const ALL: [Self; 2] = [Self::PublicKey, Self::KeyboardInteractive];
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PublicKey => "publickey",
            Self::KeyboardInteractive => "keyboard-interactive",
        })
    }
}

/// Alternatives, each a chain of methods that must all succeed in their order. There is one at least, and
/// each asks for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chains(Vec<Vec<Method>>);

impl Default for Chains {
    /// A key.
    fn default() -> Self {
        Self(vec![vec![Method::PublicKey]])
    }
}

impl Chains {
    /// Each alternative.
    pub fn each(&self) -> impl Iterator<Item = &[Method]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Whether one of them asks for this.
    pub fn ask_for(&self, method: Method) -> bool {
        self.each().any(|chain| chain.contains(&method))
    }

    /// What they begin with, which every client is told.
    pub fn first(&self) -> Vec<Method> {
        let begins = |method: &Method| self.each().any(|chain| chain.first() == Some(method));
        Method::ALL.into_iter().filter(begins).collect()
    }
}

/// Chains as they stand in the file.
pub(super) type Written = Spanned<Vec<Spanned<String>>>;

/// Reads a list of chains; without one a key is enough.
pub(super) fn chains(written: Option<&Written>) -> Result<Chains, Fault> {
    let Some(list) = written else {
        return Ok(Chains::default());
    };
    if list.value.is_empty() || list.value.len() > MOST {
        let problem =
            format!("name 1 to {MOST} chains, such as \"publickey,keyboard-interactive\"");
        return Err(Fault::at(list.referenced, problem));
    }
    let read = |written: &Spanned<String>| {
        chain(&written.value).map_err(|problem| Fault::at(written.referenced, problem))
    };
    let chains: Result<_, _> = list.value.iter().map(read).collect();
    Ok(Chains(chains?))
}

/// Reads chains as sshd_config(5) has them.
pub(super) fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Result<Chains, String> {
    let chains: Vec<Vec<Method>> = words.map(chain).collect::<Result<_, _>>()?;
    match chains.len() {
        1..=MOST => Ok(Chains(chains)),
        _ => Err(format!("name 1 to {MOST} chains")),
    }
}

fn chain(written: &str) -> Result<Vec<Method>, String> {
    let mut chain = Vec::new();
    for name in written.split(',') {
        match Method::ALL.iter().find(|method| method.to_string() == name) {
            Some(method) => chain.push(*method),
            None => {
                return Err(format!(
                    "{name:?} is no method; there are publickey and keyboard-interactive, with a comma between them"
                ));
            }
        }
    }
    let codes = chain
        .iter()
        .filter(|method| **method == Method::KeyboardInteractive);
    if codes.count() > 1 {
        return Err("asks for a code twice; once proves as much".to_owned());
    }
    if !chain.contains(&Method::PublicKey) || chain.len() > MOST {
        return Err(format!(
            "a code alone can be guessed: add publickey to it, and at most {MOST} methods in all"
        ));
    }
    Ok(chain)
}

/// Whether a login's chains and its secrets fit each other: what asks for codes needs secrets, and secrets
/// that nothing asks for protect nobody.
pub(super) fn agree(
    chains: &Chains,
    written: Option<&Written>,
    secrets: Option<&Spanned<PathBuf>>,
) -> Result<(), Fault> {
    let place = written.map_or(Location::UNKNOWN, |written| written.referenced);
    match (chains.ask_for(Method::KeyboardInteractive), secrets) {
        (true, None) => Err(Fault::at(
            place,
            "asks for codes of a login without `totp_secrets`; name its file there",
        )),
        (false, Some(secrets)) => Err(Fault::at(
            secrets.referenced,
            "no code is asked for; write authentication_methods: [\"publickey,keyboard-interactive\"] beside it",
        )),
        _ => Ok(()),
    }
}

/// Whether a login begins like the one before it. Clients are told what a name begins with before they have
/// proved anything: where logins differed from other names, these could be told apart.
pub(super) fn begin_alike(
    one: &Chains,
    other: &Chains,
    written: Option<&Written>,
) -> Result<(), Fault> {
    if one.first() == other.first() {
        return Ok(());
    }
    let place = written.map_or(Location::UNKNOWN, |written| written.referenced);
    Err(Fault::at(
        place,
        "logins begin with different methods, by which strangers could tell logins from other names; begin the chains of all with the same",
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::parse;

    fn read(top: &str, one: &str, other: &str) -> Result<String, String> {
        let login = |more: &str| format!("{{authorized_keys: [a], policy: p{more}}}");
        let text = format!(
            "host_keys: [k]\n{top}\nlogins:\n  one: {}\n  other: {}\n",
            login(one),
            login(other)
        );
        parse(Path::new("sandgate.yaml"), &text)
            .map(|config| format!("{:?}", config.authentication))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn chains_secrets_and_logins_have_to_agree() {
        const CODES: &str = ", totp_secrets: s";
        const BOTH: &str =
            ", totp_secrets: s, authentication_methods: ['publickey,keyboard-interactive']";
        const CODE_FIRST: &str =
            ", totp_secrets: s, authentication_methods: ['keyboard-interactive,publickey']";
        const TOP: &str = "authentication_methods: ['publickey,keyboard-interactive']";
        for (top, one, other) in [
            ("", "", ""),
            ("", BOTH, ""),
            (TOP, CODES, CODES),
            (
                TOP,
                CODES,
                ", authentication_methods: ['publickey,publickey']",
            ),
            ("", CODE_FIRST, CODE_FIRST),
        ] {
            read(top, one, other).unwrap();
        }
        for (top, one, other, said) in [
            (TOP, CODES, "", "without `totp_secrets`"),
            ("", CODES, "", "no code is asked for"),
            ("", BOTH, CODE_FIRST, "different methods"),
            ("", CODE_FIRST, "", "different methods"),
            (
                "authentication_methods: ['publickey,keyboard-interactive,keyboard-interactive']",
                CODES,
                CODES,
                "twice",
            ),
        ] {
            let error = read(top, one, other).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
