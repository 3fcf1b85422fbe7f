//! What it takes to log in: AuthenticationMethods, of keys and of codes.

use std::path::Path;

use super::lexer::Line;
use super::settings::{Fault, Settings};
use crate::config::{Chains, Method, authentication};

/// Every method that OpenSSH knows (auth2.c).
const KNOWN: &[&str] = &[
    "none",
    "publickey",
    "gssapi-keyex",
    "gssapi-with-mic",
    "password",
    "keyboard-interactive",
    "hostbased",
];

/// The chains of one login, whose codes are made from what is in `codes`.
pub(super) fn chains(settings: &Settings, codes: Option<&Path>) -> Result<Chains, Fault> {
    let chains = settings.first("AuthenticationMethods", read)?;
    let asked = chains.ask_for(Method::KeyboardInteractive);
    let said = |name| {
        let line = settings.every(name).first();
        line.map(|setting| setting.line.rest.to_ascii_lowercase())
    };
    let interactive = said("KbdInteractiveAuthentication");
    let (keyword, problem) = match (asked, codes, interactive.as_deref()) {
        (true, _, Some("no")) => (
            "AuthenticationMethods",
            "keyboard-interactive is disabled; write `KbdInteractiveAuthentication yes`",
        ),
        (true, None, _) => (
            "AuthenticationMethods",
            "refused: a code is asked for and none can be made; name a file of secrets by SandboxCodes",
        ),
        (false, Some(_), _) => (
            "SandboxCodes",
            "refused: no code is asked for; write `AuthenticationMethods publickey,keyboard-interactive`",
        ),
        (false, None, Some("yes")) => (
            "KbdInteractiveAuthentication",
            "refused: a code alone is no login; write no, or SandboxCodes and \
             `AuthenticationMethods publickey,keyboard-interactive`",
        ),
        _ => return Ok(chains),
    };
    Err(settings.fault(keyword, problem))
}

fn read(line: &Line) -> Result<Chains, String> {
    let words = || line.arguments.iter().map(String::as_str);
    if words().any(|word| word.eq_ignore_ascii_case("any")) {
        return match line.arguments.len() {
            1 => Ok(Chains::default()),
            _ => Err("\"any\" must appear alone in AuthenticationMethods".to_owned()),
        };
    }
    for method in words().flat_map(|word| word.split(',')) {
        let name = method.split_once(':').map_or(method, |(name, _)| name);
        if !KNOWN.contains(&name) {
            return Err("invalid authentication method list.".to_owned());
        }
    }
    authentication::parse(words()).map_err(|problem| format!("refused: {problem}"))
}
