//! How connections are received, watched and ended, in sshd's words.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::channels;
use super::lexer::Line;
use super::mapping::path_or_none;
use super::settings::{Fault, Settings};
use super::values::{bounded, number, one, time, word};
use crate::config::manners::{self, Manners, Penalties, Rekey, Startups, Timeouts};

/// What PrintMotd shows (sshd_config(5)).
const MOTD: &str = "/etc/motd";

pub(super) fn manners(settings: &Settings) -> Result<Manners, Fault> {
    let motd = settings.first("PrintMotd", |line| word(&["yes", "no"], one(line)?))?;
    Ok(Manners {
        startups: startups(settings)?,
        penalties: penalties(settings)?,
        timeouts: timeouts(settings)?,
        rekey: settings.first("RekeyLimit", rekey)?,
        banner: settings.first("Banner", path_or_none)?,
        motd: (motd == "yes").then(|| PathBuf::from(MOTD)),
        ..manners::default()
    })
}

fn startups(settings: &Settings) -> Result<Startups, Fault> {
    let (start, rate, full) = settings.first("MaxStartups", max_startups)?;
    let per_source = settings.first("PerSourceMaxStartups", |line| match one(line)? {
        none if none.eq_ignore_ascii_case("none") => Ok(usize::MAX),
        most => bounded(most, 1, 65_536),
    })?;
    let (ipv4_prefix, ipv6_prefix) = settings.first("PerSourceNetBlockSize", |line| {
        let text = one(line)?;
        let (four, six) = text.split_once(':').unwrap_or((text, "128"));
        let bits = |text, most| {
            let bits = bounded(text, 1, most)?;
            u8::try_from(bits).map_err(|e| e.to_string())
        };
        Ok((bits(four, 32)?, bits(six, 128)?))
    })?;
    Ok(Startups {
        start,
        rate,
        full,
        per_source,
        ipv4_prefix,
        ipv6_prefix,
    })
}

/// `start:rate:full`, or one number from which on everybody is dropped.
fn max_startups(line: &Line) -> Result<(usize, u64, usize), String> {
    let text = one(line)?;
    let wrong = || format!("Invalid MaxStartups spec {text}; write one like 10:30:100");
    let parts = text
        .split(':')
        .map(|part| number(part).map_err(|_| wrong()));
    let parts: Vec<u64> = parts.collect::<Result<_, _>>()?;
    let (start, rate, full) = match parts.as_slice() {
        [full] => (*full, 100, *full),
        [start, rate, full] => (*start, *rate, *full),
        _ => return Err(wrong()),
    };
    if start == 0 || start > full || !(1..=100).contains(&rate) {
        return Err(wrong());
    }
    let bounded = |number: u64| bounded(&number.to_string(), 1, 65_536);
    Ok((bounded(start)?, rate, bounded(full)?))
}

/// `no`, `yes`, or times for each offence.
fn penalties(settings: &Settings) -> Result<Option<Penalties>, Fault> {
    let exempt = settings.first("PerSourcePenaltyExemptList", |line| {
        let nets = one(line)?
            .split(',')
            .filter(|text| !text.eq_ignore_ascii_case("none"));
        nets.map(network).collect::<Result<Vec<_>, _>>()
    })?;
    settings.first("PerSourcePenalties", |line| {
        let mut penalties = Penalties {
            exempt,
            ..manners::default_penalties()
        };
        for word in &line.arguments {
            match word.to_ascii_lowercase().as_str() {
                "yes" => {}
                "no" => return Ok(None),
                word => {
                    let (offence, length) = word.split_once(':').ok_or_else(|| {
                        format!(
                            "refused: {word}: write yes, no, or offences with times, as authfail:5s"
                        )
                    })?;
                    *penalty(&mut penalties, offence)? = time(length)?;
                }
            }
        }
        if penalties.min > penalties.max {
            return Err("refused: max is at least min, or no source would ever pay".to_owned());
        }
        Ok(Some(penalties))
    })
}

fn penalty<'a>(penalties: &'a mut Penalties, offence: &str) -> Result<&'a mut Duration, String> {
    Ok(match offence {
        "authfail" => &mut penalties.authfail,
        "noauth" => &mut penalties.noauth,
        "grace-exceeded" => &mut penalties.grace_exceeded,
        "refuseconnection" => &mut penalties.refused,
        "crash" => &mut penalties.crash,
        "min" => &mut penalties.min,
        "max" => &mut penalties.max,
        other => {
            return Err(format!(
                "refused: {other}: there are authfail, noauth, grace-exceeded, refuseconnection, crash, min and max"
            ));
        }
    })
}

fn network(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>();
    net.or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("{text:?} is no address and no network; write one like 10.0.0.0/8"))
}

/// Where sshd would never ask a silent client, it is asked as without a word of the operator's.
fn timeouts(settings: &Settings) -> Result<Timeouts, Fault> {
    let mut timeouts = manners::default().timeouts;
    if !settings.every("ClientAliveInterval").is_empty() {
        let every = settings.first("ClientAliveInterval", |line| time(one(line)?))?;
        timeouts.alive_interval = Some(every).filter(|every| !every.is_zero());
        timeouts.alive_count = 3;
    }
    if !settings.every("ClientAliveCountMax").is_empty() {
        timeouts.alive_count =
            settings.first("ClientAliveCountMax", |line| bounded(one(line)?, 1, 1000))?;
    }
    timeouts.unused = settings.first("UnusedConnectionTimeout", |line| match one(line)? {
        none if none.eq_ignore_ascii_case("none") => Ok(None),
        text => Ok(Some(time(text)?).filter(|limit| !limit.is_zero())),
    })?;
    settings.first("ChannelTimeout", |line| {
        channels::times(line, &mut timeouts)
    })?;
    Ok(timeouts)
}

/// Never later than a file says, and at the latest after what no sandgate.yaml goes beyond.
fn rekey(line: &Line) -> Result<Rekey, String> {
    let mut rekey = manners::default().rekey;
    let (bytes, seconds) = rekey_limit(line)?;
    if bytes != 0 {
        rekey.bytes = bounded(&bytes.min(16 << 30).to_string(), 16, 16 << 30)?;
    }
    if seconds != 0 {
        rekey.time = Duration::from_secs(seconds.min(24 * 3600));
    }
    Ok(rekey)
}

/// `default` or bytes with K, M or G; then `none` or a time. 0 is what holds without a word.
pub(super) fn rekey_limit(line: &Line) -> Result<(u64, u64), String> {
    let (bytes, length) = match line.arguments.as_slice() {
        [bytes] => (bytes, None),
        [bytes, length] => (bytes, Some(length)),
        _ => {
            return Err(format!(
                "keyword {} extra arguments at end of line",
                line.keyword
            ));
        }
    };
    let bytes = if bytes.eq_ignore_ascii_case("default") {
        0
    } else {
        let (digits, unit) = match bytes.to_ascii_uppercase().chars().last() {
            Some('K') => (bytes.get(..bytes.len() - 1), 1 << 10),
            Some('M') => (bytes.get(..bytes.len() - 1), 1 << 20),
            Some('G') => (bytes.get(..bytes.len() - 1), 1 << 30),
            _ => (bytes.get(..), 1),
        };
        number(digits.unwrap_or_default())?.saturating_mul(unit)
    };
    if (1..16).contains(&bytes) {
        return Err("RekeyLimit too small; write at least 16".to_owned());
    }
    let length = length.filter(|text| !text.eq_ignore_ascii_case("none"));
    let seconds = length.map_or(Ok(Duration::ZERO), |text| time(text))?;
    Ok((bytes, seconds.as_secs()))
}
