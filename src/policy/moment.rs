//! Moments as people write them into `authorized_keys`, in seconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

/// The furthest that a clock on Earth is ahead of UTC: UTC+14 (Line Islands), in seconds.
const EASTMOST: u64 = 14 * 3600;

/// Now. A clock that stands before 1970 says nothing of what has expired: it reads as the end of time.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(u64::MAX, |since| since.as_secs())
}

/// Reads `YYYYMMDD[HHMM[SS]][Z]` (sshd(8), expiry-time). Without `Z` sshd means its host's own time, which
/// this process cannot know (zone files are closed to it): the moment at which that time has come first
/// anywhere is taken, so that nothing ever lasts longer than was meant.
pub(super) fn parse(text: &[u8]) -> Option<u64> {
    let (digits, ahead) = match text {
        [digits @ .., b'Z' | b'z'] => (digits, 0),
        digits => (digits, EASTMOST),
    };
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let part = |from: usize, length: usize| {
        let digits = digits.get(from..from + length);
        let value = |digits: &[u8]| {
            digits
                .iter()
                .fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))
        };
        digits.map_or(0, value)
    };
    let (year, month, day) = (part(0, 4), part(4, 2), part(6, 2));
    let (hour, minute, second) = (part(8, 2), part(10, 2), part(12, 2));
    let real = year >= 1970
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !real {
        return None;
    }
    let days = (1970..year).map(days_of_year).sum::<u64>()
        + (1..month).map(|month| days_of(year, month)).sum::<u64>()
        + (day - 1);
    Some((((days * 24 + hour) * 60 + minute) * 60 + second).saturating_sub(ahead))
}

fn is_leap(year: u64) -> bool {
    (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
}

fn days_of_year(year: u64) -> u64 {
    365 + u64::from(is_leap(year))
}

fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_date_1() {
        // date -u -d '2026-11-21 04:47:16' +%s
        for (text, seconds) in [
            ("19700101Z", 0),
            ("20000229Z", 951_782_400),
            ("20261121044716Z", 1_795_236_436),
            ("202611210447z", 1_795_236_420),
            ("21000301Z", 4_107_542_400),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(seconds), "{text}");
        }
    }

    #[test]
    fn without_a_zone_the_earliest_reading_counts() {
        let stated = parse(b"20261121Z").unwrap();
        assert_eq!(parse(b"20261121"), Some(stated - EASTMOST));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "Z",
            "2026",
            "20261301Z",
            "20260230Z",
            "20260101240000Z",
            "202601011260Z",
            "20260101 Z",
            "2026010112Z",
            "19691231Z",
            "+0260101Z",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
