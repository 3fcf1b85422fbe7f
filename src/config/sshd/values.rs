//! The forms of values in sshd_config(5), each read in full before anything is made of it.

use std::time::Duration;

use super::algorithms::{self, Kind};
use super::lexer::Line;

/// What may stand after a keyword.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// One of these words, in any case.
    Word(&'static [&'static str]),
    /// A decimal number.
    Number,
    /// sshd_config(5), TIME FORMATS.
    Time,
    /// A time, or `none`.
    TimeOrNone,
    /// One argument.
    One,
    /// Any number of arguments.
    Many,
    /// The rest of the line as it stands.
    Rest,
    /// A list of algorithms.
    Algorithms(Kind),
}

/// `yes` or `no`.
pub(super) const FLAG: Form = Form::Word(&["yes", "no"]);

impl Form {
    /// Whether a line has this form; otherwise what is wrong, in sshd's words where it has some.
    pub(super) fn check(self, line: &Line) -> Result<(), String> {
        match self {
            Self::Many | Self::Rest => Ok(()),
            Self::Word(words) => word(words, one(line)?).map(drop),
            Self::Number => number(one(line)?).map(drop),
            Self::TimeOrNone if one(line)?.eq_ignore_ascii_case("none") => Ok(()),
            Self::Time | Self::TimeOrNone => time(one(line)?).map(drop),
            Self::One => one(line).map(drop),
            Self::Algorithms(kind) => algorithms::select(kind, one(line)?).map(drop),
        }
    }
}

/// The only argument.
pub(super) fn one(line: &Line) -> Result<&str, String> {
    match line.arguments.as_slice() {
        [only] => Ok(only),
        _ => Err(format!(
            "keyword {} extra arguments at end of line",
            line.keyword
        )),
    }
}

/// One of these words, as the list has it.
pub(super) fn word(words: &[&'static str], text: &str) -> Result<&'static str, String> {
    let found = words.iter().find(|word| word.eq_ignore_ascii_case(text));
    found.copied().ok_or_else(|| {
        let words = words.join(", ");
        format!("unsupported option \"{text}\"; write one of {words}")
    })
}

/// A decimal number.
pub(super) fn number(text: &str) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| format!("integer value {text} is invalid"))
}

/// A number within bounds.
pub(super) fn bounded(text: &str, least: u64, most: u64) -> Result<usize, String> {
    let number = number(text)?;
    let within = (least..=most).contains(&number);
    within
        .then(|| usize::try_from(number).ok())
        .flatten()
        .ok_or_else(|| format!("refused: {number} is out of range: {least} to {most}"))
}

/// Seconds, or numbers with a unit each (`s m h d w`) that add up: `1h30m`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid time value \"{text}\"; write one like 90, 10m or 1h30m");
    let (mut total, mut count) = (0_u64, None::<u64>);
    let mut add = |count: u64, unit: u64| {
        let seconds = count.checked_mul(unit)?;
        total = total.checked_add(seconds)?;
        Some(())
    };
    for c in text.chars() {
        let unit = match c.to_ascii_lowercase() {
            '0'..='9' => {
                let digit = u64::from(c.to_digit(10).unwrap_or_default());
                let longer = count.unwrap_or(0).checked_mul(10);
                count = Some(
                    longer
                        .and_then(|n| n.checked_add(digit))
                        .ok_or_else(wrong)?,
                );
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            'w' => 7 * 24 * 3600,
            _ => return Err(wrong()),
        };
        add(count.take().ok_or_else(wrong)?, unit).ok_or_else(wrong)?;
    }
    if let Some(seconds) = count {
        add(seconds, 1).ok_or_else(wrong)?;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    Ok(Duration::from_secs(total))
}

/// Whether a name matches a pattern of `*` and `?` (ssh_config(5), PATTERNS).
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut pattern_left = pattern.chars();
    match pattern_left.next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = pattern_left.as_str();
            let mut ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.any(|at| name.get(at..).is_some_and(|name| matches(rest, name)))
        }
        Some(wanted) => {
            let mut name_left = name.chars();
            name_left.next().is_some_and(|c| {
                (wanted == '?' || wanted == c) && matches(pattern_left.as_str(), name_left.as_str())
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_manual() {
        for (text, seconds) in [
            ("600", 600),
            ("10m", 600),
            ("1h30m", 5400),
            ("1W2d", 777_600),
            ("1h30", 3630),
            ("0", 0),
        ] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "h",
            "1x",
            "-1",
            "1h-",
            "99999999999999999999",
            "9999999999999999w",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_have_digits_alone() {
        assert_eq!(number("022"), Ok(22));
        for text in ["", "+1", "1 ", "0x1", "99999999999999999999"] {
            assert!(number(text).is_err(), "{text}");
        }
        assert_eq!(bounded("7", 1, 7), Ok(7));
        assert!(bounded("8", 1, 7).is_err());
    }

    #[test]
    fn patterns_have_stars_and_question_marks() {
        for (pattern, name) in [
            ("*", ""),
            ("a*", "abc"),
            ("*c", "abc"),
            ("a?c", "abc"),
            ("a**c", "ac"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("", "a"), ("a", ""), ("a?", "a"), ("*b", "abc")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
