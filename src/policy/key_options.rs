//! The options before a key in `authorized_keys` (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").

use std::net::IpAddr;

use super::grants::Grants;
use super::moment;
use super::sources::Sources;
use crate::model::PermitList;

/// The most variables that one line may set, and the most bytes of each with its name.
const VARIABLES: usize = 64;
const VARIABLE_BYTES: usize = 32 * 1024;

/// What a line says of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    /// What the key may be used for.
    pub(super) grants: Grants,
    /// The key signs certificates and logs nobody in itself.
    pub(super) authority: bool,
    /// The only places that its holder may come from; `None` is any.
    pub(super) sources: Option<Sources>,
    /// When it ends, in seconds since 1970.
    pub(super) expires: Option<u64>,
    /// Whom an authority's certificates have to name; `None` is the login.
    pub(super) principals: Option<Vec<Vec<u8>>>,
    /// What a security key has to attest.
    pub(super) presence: Presence,
    /// What stands behind the key, if it is UTF-8.
    pub(super) comment: Option<String>,
}

/// What a security key's signature has to say of the person behind it (OpenSSH's PROTOCOL.u2f).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Presence {
    /// Somebody touched it.
    pub(super) touch: bool,
    /// It knew who: a PIN, or a finger.
    pub(super) verify: bool,
}

/// Why options were not taken, and with them their line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No option has this name.
    #[error("unknown option \"{0}\"")]
    Unknown(String),
    /// A value lacks its quotes, or there is no comma between two options.
    #[error("option \"{0}\" is not written as name=\"value\"")]
    Syntax(String),
    /// The option's value is none.
    #[error("option \"{0}\": {1}")]
    Value(&'static str, String),
    /// The option stands twice.
    #[error("option \"{0}\" stands twice")]
    Twice(&'static str),
}

impl Options {
    /// Those of a line without options.
    pub(super) fn none() -> Self {
        Self {
            grants: Grants::full(),
            authority: false,
            sources: None,
            expires: None,
            principals: None,
            presence: Presence {
                touch: true,
                verify: false,
            },
            comment: None,
        }
    }

    /// Those of an authority that the operator trusts: what is to be touched is for its certificates to say.
    pub(super) fn authority() -> Self {
        let mut options = Self::none();
        options.authority = true;
        options.presence.touch = false;
        options
    }

    /// Reads the options of a line; later ones go over earlier ones, as in sshd.
    pub(super) fn read(mut self, text: &[u8]) -> Result<Self, OptionError> {
        let mut rest = text;
        loop {
            let (Item { name, value }, after) = next(rest)?;
            match value {
                None => self.flag(&name)?,
                Some(value) => self.value(&name, value)?,
            }
            match after {
                [] => return Ok(self),
                [b',', more @ ..] => rest = more,
                _ => return Err(OptionError::Syntax(name)),
            }
        }
    }

    /// Whether somebody may come from there, now.
    pub(super) fn admits(&self, source: IpAddr, now: u64) -> Result<(), Unfit> {
        if self.sources.as_ref().is_some_and(|list| !list.hold(source)) {
            return Err(Unfit::Source);
        }
        if self.expires.is_some_and(|end| now >= end) {
            return Err(Unfit::Expired);
        }
        Ok(())
    }

    fn flag(&mut self, name: &str) -> Result<(), OptionError> {
        let (positive, plain) = match name.strip_prefix("no-") {
            Some(plain) => (false, plain),
            None => (true, name),
        };
        let grants = &mut self.grants;
        match plain {
            "restrict" if positive => {
                grants.terminal = false;
                grants.forwarding = false;
                grants.agent = false;
            }
            "cert-authority" if positive => self.authority = true,
            "pty" => grants.terminal = positive,
            "port-forwarding" => grants.forwarding = positive,
            "agent-forwarding" => grants.agent = positive,
            // Neither is there to be had, whatever a line says.
            "x11-forwarding" | "user-rc" => {}
            "touch-required" => self.presence.touch = positive,
            "verify-required" => self.presence.verify = positive,
            _ => return Err(OptionError::Unknown(name.to_owned())),
        }
        Ok(())
    }

    fn value(&mut self, name: &str, value: Vec<u8>) -> Result<(), OptionError> {
        match name {
            "command" => once("command", &mut self.grants.command, command(value)?),
            "from" => {
                let list =
                    Sources::patterns(&value).map_err(|e| OptionError::Value("from", e.0))?;
                once("from", &mut self.sources, list)
            }
            "principals" => {
                let names = value.split(|&byte| byte == b',').map(<[u8]>::to_vec);
                once("principals", &mut self.principals, names.collect())
            }
            "expiry-time" => {
                let end = moment::parse(&value).ok_or_else(|| {
                    let problem = "is no moment; write YYYYMMDD[HHMM[SS]]Z".to_owned();
                    OptionError::Value("expiry-time", problem)
                })?;
                self.expires = Some(self.expires.map_or(end, |earlier| earlier.min(end)));
                Ok(())
            }
            "environment" => self.variable(&value),
            "permitopen" => permit(
                "permitopen",
                &mut self.grants.open,
                &value,
                PermitList::open,
            ),
            "permitlisten" => permit(
                "permitlisten",
                &mut self.grants.listen,
                &value,
                PermitList::listen,
            ),
            // It chooses the number of a device that nobody gets.
            "tunnel" => Ok(()),
            _ => Err(OptionError::Unknown(name.to_owned())),
        }
    }

    fn variable(&mut self, text: &[u8]) -> Result<(), OptionError> {
        let wrong = |problem: &str| OptionError::Value("environment", problem.to_owned());
        let equals = text.iter().position(|&byte| byte == b'=');
        let (name, value) = equals
            .and_then(|place| text.split_at_checked(place))
            .ok_or_else(|| wrong("is not NAME=value"))?;
        let value = value.strip_prefix(b"=").unwrap_or_default();
        let good = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        if name.is_empty() || !name.iter().all(good) || name.iter().all(u8::is_ascii_digit) {
            return Err(wrong("names no variable (letters, digits and '_')"));
        }
        let variables = &mut self.grants.environment;
        if value.contains(&0) || text.len() > VARIABLE_BYTES || variables.len() == VARIABLES {
            return Err(wrong("holds a NUL, more than 32 KiB or is the 65th"));
        }
        // As in sshd the first of two wins.
        if !variables.iter().any(|(known, _)| known == name) {
            variables.push((name.to_vec(), value.to_vec()));
        }
        Ok(())
    }
}

/// Why a line does not admit whoever holds its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    Source,
    Expired,
}

/// A forced command. internal-sftp is the built-in server; its arguments (`-R`: read-only) would be
/// restrictions that nobody keeps.
fn command(value: Vec<u8>) -> Result<Vec<u8>, OptionError> {
    check_command(&value)
        .map(|()| value)
        .map_err(|problem| OptionError::Value("command", problem.to_owned()))
}

/// What is wrong with a forced command, be it of a key or of a certificate.
pub(super) fn check_command(command: &[u8]) -> Result<(), &'static str> {
    match command.strip_prefix(b"internal-sftp") {
        _ if command.contains(&0) => Err("holds a NUL"),
        Some([b' ' | b'\t', ..]) => Err("internal-sftp takes no arguments here"),
        _ => Ok(()),
    }
}

fn once<T>(name: &'static str, place: &mut Option<T>, value: T) -> Result<(), OptionError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(OptionError::Twice(name)),
    }
}

fn permit(
    name: &'static str,
    list: &mut Option<PermitList>,
    value: &[u8],
    add: fn(&mut PermitList, &str) -> Result<(), crate::model::Invalid>,
) -> Result<(), OptionError> {
    let text =
        str::from_utf8(value).map_err(|_| OptionError::Value(name, "is not UTF-8".to_owned()))?;
    add(list.get_or_insert_default(), text).map_err(|e| OptionError::Value(name, e.0))
}

/// One option.
struct Item {
    /// In lower case.
    name: String,
    /// Without its quotes.
    value: Option<Vec<u8>>,
}

/// The next option and what follows it. Inside the quotes `\"` is a quote; nothing else is special
/// (sshd's `opt_dequote`).
fn next(text: &[u8]) -> Result<(Item, &[u8]), OptionError> {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    if name.is_empty() {
        let shown = text.get(..20).unwrap_or(text);
        return Err(OptionError::Syntax(shown.escape_ascii().to_string()));
    }
    let Some(mut rest) = rest.strip_prefix(b"=") else {
        return Ok((Item { name, value: None }, rest));
    };
    rest = match rest.strip_prefix(b"\"") {
        Some(rest) => rest,
        None => return Err(OptionError::Syntax(name)),
    };
    let mut value = Vec::new();
    loop {
        match rest {
            [] => return Err(OptionError::Syntax(name)),
            [b'"', after @ ..] => {
                let value = Some(value);
                return Ok((Item { name, value }, after));
            }
            [b'\\', b'"', after @ ..] => {
                value.push(b'"');
                rest = after;
            }
            [byte, after @ ..] => {
                value.push(*byte);
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests;
