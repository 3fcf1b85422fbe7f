//! A file's line in a listing, as `ls -l` writes it: clients show it and do not read it.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Stat};

use super::accounts::Accounts;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Half a year in seconds: what is older, or to come, shows its year instead of its hour (ls(1)).
const RECENT: i64 = 365 * 86_400 / 2;

/// The line for `name`; times are UTC.
pub(super) fn line(name: &[u8], stat: &Stat, accounts: &Accounts) -> Vec<u8> {
    let column = |name: Option<&[u8]>, id: u32| {
        let text = name.map(|name| String::from_utf8_lossy(name).into_owned());
        text.unwrap_or_else(|| id.to_string())
    };
    let mut line = format!(
        "{} {:>3} {:<8} {:<8} {:>8} {} ",
        mode(stat.st_mode),
        stat.st_nlink,
        column(accounts.user(stat.st_uid), stat.st_uid),
        column(accounts.group(stat.st_gid), stat.st_gid),
        stat.st_size,
        date(stat.st_mtime, now()),
    )
    .into_bytes();
    line.extend_from_slice(name);
    line
}

/// strmode(3).
pub(super) fn mode(mode: u32) -> String {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::RegularFile => '-',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Unknown => '?',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| {
        i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
    })
}

pub(super) fn date(time: i64, now: i64) -> String {
    let (days, second) = (time.div_euclid(86_400), time.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let month = MONTHS.get(month).copied().unwrap_or("???");
    if time <= now && time > now.saturating_sub(RECENT) {
        let (hour, minute) = (second / 3600, second / 60 % 60);
        format!("{month} {day:>2} {hour:02}:{minute:02}")
    } else {
        format!("{month} {day:>2} {year:>5}")
    }
}

/// Year, month from 0 and day of a day since 1970, in the Gregorian calendar: a 400-year era has 146,097
/// days, and with years that begin in March a leap day is a year's last.
fn civil(days: i64) -> (i64, usize, i64) {
    let shifted = days.saturating_add(719_468);
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    // March is 0 here.
    let year = year + era * 400 + i64::from(month >= 10);
    (year, usize::try_from((month + 2) % 12).unwrap_or(0), day)
}
