//! Codes that change every thirty seconds (TOTP, RFC 6238): secrets, and the judge of what is typed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::{constant_time, digest, hmac};

use crate::model::LoginName;

/// How long a code lasts, in seconds (RFC 6238 §4.1).
const STEP: u64 = 30;

/// The shortest secret, in bytes (RFC 4226 §4, R6).
const SHORTEST: usize = 16;

/// Wrong codes that a login may be told before it has to wait, and how long it then takes to get another
/// try. Three of a million codes are right at a time: who has the key and never stops guessing needs more
/// than ten years for an even chance.
const TRIES: u32 = 5;
const NEXT_TRY: Duration = Duration::from_secs(30 * 60);

/// One secret, shared with somebody's device. Shown by nothing.
struct Secret {
    key: hmac::Key,
    /// Its name in the ledger.
    digest: [u8; 32],
    /// 6 or 8.
    digits: u32,
}

/// The secrets of a login.
pub struct Secrets(Vec<Secret>);

/// A line that is no secret. It never repeats the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct SecretError {
    line: usize,
    problem: &'static str,
}

impl Secrets {
    /// Reads a file of secrets: on each line one in base32 (RFC 4648 §6), or an `otpauth://totp/` URI. Blank
    /// lines and those that begin with `#` count for nothing; anything else that is no secret is an error.
    pub fn parse(text: &[u8]) -> Result<Self, SecretError> {
        let mut secrets = Vec::new();
        let mut last = 1;
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            last = index + 1;
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let secret = str::from_utf8(line)
                .map_err(|_| "is no text")
                .and_then(Secret::parse);
            secrets.push(secret.map_err(|problem| SecretError {
                line: last,
                problem,
            })?);
        }
        if secrets.is_empty() {
            let problem = "there is no secret; make one: head -c20 /dev/urandom | base32";
            return Err(SecretError {
                line: last,
                problem,
            });
        }
        Ok(Self(secrets))
    }
}

impl Secret {
    fn parse(line: &str) -> Result<Self, &'static str> {
        let (mut algorithm, mut digits, mut encoded) =
            (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, 6, None);
        if line
            .get(..8)
            .is_some_and(|start| start.eq_ignore_ascii_case("otpauth:"))
        {
            let (kind, parameters) = line.split_once('?').ok_or("the URI lacks ?secret=")?;
            if !kind.starts_with("otpauth://totp/") {
                return Err("the URI is none of otpauth://totp/");
            }
            for parameter in parameters.split('&') {
                match parameter.split_once('=') {
                    Some(("secret", value)) => encoded = Some(value),
                    Some(("digits", "6")) => digits = 6,
                    Some(("digits", "8")) => digits = 8,
                    Some(("digits", _)) => return Err("digits are 6 or 8"),
                    Some(("period", period)) if period != "30" => {
                        return Err("the period is 30 seconds");
                    }
                    Some(("algorithm", "SHA256")) => algorithm = hmac::HMAC_SHA256,
                    Some(("algorithm", "SHA512")) => algorithm = hmac::HMAC_SHA512,
                    Some(("algorithm", other)) if other != "SHA1" => {
                        return Err("the algorithm is SHA1, SHA256 or SHA512");
                    }
                    // What is so without being said; issuer, pictures and the like.
                    _ => {}
                }
            }
        } else {
            encoded = Some(line);
        }
        let bytes = base32(encoded.ok_or("the URI lacks secret=")?)
            .ok_or("is neither base32 nor an otpauth:// URI")?;
        if bytes.len() < SHORTEST {
            return Err(
                "the secret has less than 128 bits; make one: head -c20 /dev/urandom | base32",
            );
        }
        let mut name = [0; 32];
        name.copy_from_slice(digest::digest(&digest::SHA256, &bytes).as_ref());
        Ok(Self {
            key: hmac::Key::new(algorithm, &bytes),
            digest: name,
            digits,
        })
    }

    /// The code of a step (RFC 4226 §5.3).
    fn code(&self, step: u64) -> String {
        let tag = hmac::sign(&self.key, &step.to_be_bytes());
        let tag = tag.as_ref();
        let offset = usize::from(tag.last().map_or(0, |last| last & 0xf));
        let word = match tag.get(offset..offset + 4) {
            Some(&[a, b, c, d]) => u32::from_be_bytes([a & 0x7f, b, c, d]),
            // No tag is shorter than 20 bytes.
            _ => 0,
        };
        let width = self.digits as usize;
        format!("{:0width$}", word % 10_u32.pow(self.digits))
    }
}

/// Base32 with or without padding, in either case, with blanks or dashes between groups.
fn base32(text: &str) -> Option<Vec<u8>> {
    let text = text.replace("%3D", "=");
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
    for character in text.trim_end_matches('=').chars() {
        let value = match character.to_ascii_uppercase() {
            ' ' | '-' => continue,
            letter @ 'A'..='Z' => u32::from(letter) - u32::from('A'),
            digit @ '2'..='7' => u32::from(digit) - u32::from('2') + 26,
            _ => return None,
        };
        held = held << 5 | value;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

/// What each login's codes have come to: which were used, and how many were wrong. Forgotten at a restart.
#[derive(Debug, Default)]
pub struct Codes(Mutex<BTreeMap<LoginName, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    /// The last step used of each secret, by its digest.
    used: BTreeMap<[u8; 32], u64>,
    /// When all tries are there again (the generic cell rate algorithm).
    whole: Option<Instant>,
}

/// Somebody typed a login's code; only `Codes::judge` says so.
#[derive(Debug)]
pub struct RightCode(());

/// Why a code is refused, for the operator alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// It is none of those that may be typed now.
    #[error("the code is wrong")]
    Wrong,
    /// Somebody saw it being typed.
    #[error("the code was used before")]
    Used,
    /// It was not looked at.
    #[error("codes of this login are refused for {0} s more: there were too many wrong ones")]
    Throttled(u64),
}

/// A time on both clocks: codes follow the calendar's, waiting the other, which nobody sets.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Seconds since 1970.
    pub unix: u64,
    /// The same moment.
    pub instant: Instant,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        Self {
            unix: super::moment::now(),
            instant: Instant::now(),
        }
    }
}

impl Codes {
    /// Judges what was typed: a code of this step or of one beside it (RFC 6238 §5.2), none of which is taken
    /// twice, nor any before one that was taken. A wrong one costs a try, a right one gives all of them back.
    pub fn judge(
        &self,
        login: &LoginName,
        secrets: &Secrets,
        typed: &str,
        now: Moment,
    ) -> Result<RightCode, CodeError> {
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = ledger.entry(login.clone()).or_default();
        let wait = entry.whole.map_or(Duration::ZERO, |whole| {
            whole.saturating_duration_since(now.instant)
        });
        if let Some(over) = wait
            .checked_sub(NEXT_TRY * (TRIES - 1))
            .filter(|over| !over.is_zero())
        {
            return Err(CodeError::Throttled(over.as_secs() + 1));
        }
        let found = secrets.find(typed, now.unix / STEP);
        let fresh = found.filter(|(digest, step)| entry.used.get(digest) < Some(step));
        match (found, fresh) {
            (_, Some((digest, step))) => {
                entry.used.retain(|_, used| *used + 2 >= now.unix / STEP);
                entry.used.insert(digest, step);
                entry.whole = None;
                Ok(RightCode(()))
            }
            (other, None) => {
                entry.whole = Some(now.instant + wait + NEXT_TRY);
                Err(if other.is_some() {
                    CodeError::Used
                } else {
                    CodeError::Wrong
                })
            }
        }
    }
}

impl Secrets {
    /// The secret and the step that the code is of. All are looked at, and each compared to its end.
    fn find(&self, typed: &str, step: u64) -> Option<([u8; 32], u64)> {
        let typed: String = typed.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let mut found = None;
        for secret in &self.0 {
            for step in step.saturating_sub(1)..=step.saturating_add(1) {
                let code = secret.code(step);
                let same =
                    constant_time::verify_slices_are_equal(code.as_bytes(), typed.as_bytes());
                if same.is_ok() {
                    found = Some((secret.digest, step));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
