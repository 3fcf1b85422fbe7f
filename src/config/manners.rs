//! How connections are received, watched and ended: bounds for strangers, penalties, time-outs, texts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::channel::{self, ChannelKind, ChannelsFile};
use super::text::wrong;
use super::unwelcome::Unwelcome;
use crate::yaml::Fault;

/// The longest text shown to clients, in bytes.
pub const TEXT_BYTES: u64 = 128 * 1024;

/// The longest time taken anywhere: 30 days, in seconds.
const LONGEST: u64 = 30 * 24 * 3600;

/// How connections are received, watched and ended.
#[derive(Debug, Clone)]
pub struct Manners {
    /// Bounds on connections that have not logged in.
    pub startups: Startups,
    /// What sources pay for failures; `None` where the operator wants none.
    pub penalties: Option<Penalties>,
    /// With whom nobody talks.
    pub refuse: Unwelcome,
    /// When connections and what runs on them are ended.
    pub timeouts: Timeouts,
    /// When new keys are exchanged.
    pub rekey: Rekey,
    /// A text shown before the login (RFC 4252 §5.4).
    pub banner: Option<PathBuf>,
    /// A text shown on the terminal of an interactive shell.
    pub motd: Option<PathBuf>,
    /// How long sessions may go on after SIGTERM.
    pub drain: Duration,
}

/// Bounds on connections that have not logged in (sshd_config(5), MaxStartups and PerSourceMaxStartups).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Startups {
    /// From this many on, new ones are dropped at random.
    pub start: usize,
    /// How probably at `start`, in percent; grows to 100 at `full`.
    pub rate: u64,
    /// From this many on, every new one is dropped.
    pub full: usize,
    /// The most of one source.
    pub per_source: usize,
    /// How many leading bits of an IPv4 address are one source (PerSourceNetBlockSize).
    pub ipv4_prefix: u8,
    /// The same for IPv6.
    pub ipv6_prefix: u8,
}

impl Default for Startups {
    fn default() -> Self {
        Self {
            start: 64,
            rate: 30,
            full: 256,
            per_source: 32,
            ipv4_prefix: 32,
            ipv6_prefix: 64,
        }
    }
}

impl Startups {
    /// The network that counts as this address's source.
    pub fn source(&self, address: IpAddr) -> IpNet {
        let address = address.to_canonical();
        let bits = match address {
            IpAddr::V4(_) => self.ipv4_prefix,
            IpAddr::V6(_) => self.ipv6_prefix,
        };
        // A prefix longer than its address is refused when the configuration is read.
        IpNet::new(address, bits).map_or_else(|_| address.into(), |net| net.trunc())
    }
}

/// What a source pays for failures (sshd_config(5), PerSourcePenalties): the times add up, up to `max`;
/// from `min` on the source is refused until they have passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Penalties {
    /// It tried to log in and could not.
    pub authfail: Duration,
    /// It went away without trying.
    pub noauth: Duration,
    /// It let its time to log in pass.
    pub grace_exceeded: Duration,
    /// It is one with whom nobody talks (`refuse`).
    pub refused: Duration,
    /// Its connection broke the server's task.
    pub crash: Duration,
    /// Less than this is not yet enforced.
    pub min: Duration,
    /// The most that can add up.
    pub max: Duration,
    /// Sources that never pay.
    pub exempt: Vec<IpNet>,
}

/// When connections and what runs on them are ended. `None` is never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// How often a silent client is asked whether it is there (ClientAliveInterval).
    pub alive_interval: Option<Duration>,
    /// How many unanswered questions end the connection (ClientAliveCountMax).
    pub alive_count: usize,
    /// How long a session or forward may carry nothing either way (ChannelTimeout).
    pub idle: Option<Duration>,
    /// What holds instead of that for channels of these kinds.
    pub channels: BTreeMap<ChannelKind, Option<Duration>>,
    /// How long all of a connection's together may (ChannelTimeout, `global`).
    pub all_idle: Option<Duration>,
    /// How long a connection may have no session and no forward (UnusedConnectionTimeout).
    pub unused: Option<Duration>,
    /// How long a connection may last at all.
    pub age: Option<Duration>,
    /// How long before that its terminals are warned.
    pub warning: Duration,
}

/// When the server asks for new keys (RFC 4253 §9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rekey {
    /// After this many bytes in one direction.
    pub bytes: usize,
    /// After this time.
    pub time: Duration,
}

/// The keys of `sandgate.yaml` that say so.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) startups: Option<Spanned<Startups>>,
    pub(super) penalties: Option<PenaltiesFile>,
    pub(super) refuse: Unwelcome,
    pub(super) timeouts: TimeoutsFile,
    pub(super) rekey: RekeyFile,
    pub(super) banner: Option<PathBuf>,
    pub(super) motd: Option<PathBuf>,
    pub(super) drain: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PenaltiesFile {
    #[serde(default = "enforced")]
    enforce: bool,
    authfail: Option<Spanned<u64>>,
    noauth: Option<Spanned<u64>>,
    grace_exceeded: Option<Spanned<u64>>,
    refused: Option<Spanned<u64>>,
    crash: Option<Spanned<u64>>,
    min: Option<Spanned<u64>>,
    max: Option<Spanned<u64>>,
    #[serde(default)]
    exempt: Vec<Spanned<String>>,
}

fn enforced() -> bool {
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeoutsFile {
    alive_interval: Option<Spanned<u64>>,
    alive_count: Option<Spanned<u64>>,
    idle: Option<Spanned<u64>>,
    #[serde(default)]
    channels: ChannelsFile,
    all_idle: Option<Spanned<u64>>,
    unused: Option<Spanned<u64>>,
    age: Option<Spanned<u64>>,
    warning: Option<Spanned<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RekeyFile {
    bytes: Option<Spanned<u64>>,
    seconds: Option<Spanned<u64>>,
}

pub(super) fn check(base: &Path, keys: Keys) -> Result<Manners, Fault> {
    let penalties = match &keys.penalties {
        Some(file) if !file.enforce => None,
        Some(file) => Some(check_penalties(file)?),
        None => Some(default_penalties()),
    };
    Ok(Manners {
        startups: keys
            .startups
            .as_ref()
            .map_or(Ok(Startups::default()), check_startups)?,
        penalties,
        refuse: keys.refuse,
        timeouts: check_timeouts(&keys.timeouts)?,
        rekey: check_rekey(&keys.rekey)?,
        banner: keys.banner.map(|path| base.join(path)),
        motd: keys.motd.map(|path| base.join(path)),
        drain: keys
            .drain
            .as_ref()
            .map_or(Ok(default().drain), |value| seconds(value, 0, 3600))?,
    })
}

/// What holds where the file says nothing.
pub(super) fn default() -> Manners {
    Manners {
        startups: Startups::default(),
        penalties: Some(default_penalties()),
        refuse: Unwelcome::default(),
        timeouts: Timeouts {
            // Often enough for what forgets idle connections after five minutes (many NATs), and a dead
            // client gives its sandbox back after six; a laptop may sleep for less.
            alive_interval: Some(Duration::from_secs(60)),
            alive_count: 5,
            idle: None,
            channels: BTreeMap::new(),
            all_idle: None,
            unused: None,
            age: None,
            warning: Duration::from_secs(300),
        },
        // Bytes as OpenSSH's client has it; AES-GCM and ChaCha20 bear 64 times as much (RFC 5647, 8439).
        rekey: Rekey {
            bytes: 1 << 30,
            time: Duration::from_secs(3600),
        },
        banner: None,
        motd: None,
        drain: Duration::from_secs(30),
    }
}

/// OpenSSH's.
pub(super) fn default_penalties() -> Penalties {
    Penalties {
        authfail: Duration::from_secs(5),
        noauth: Duration::from_secs(1),
        grace_exceeded: Duration::from_secs(10),
        refused: Duration::from_secs(10),
        crash: Duration::from_secs(90),
        min: Duration::from_secs(15),
        max: Duration::from_secs(600),
        exempt: Vec::new(),
    }
}

fn bounded(value: &Spanned<u64>, least: u64, most: u64) -> Result<u64, Fault> {
    if (least..=most).contains(&value.value) {
        Ok(value.value)
    } else {
        wrong(
            value.referenced,
            format!("{} is out of range: {least} to {most}", value.value),
        )
    }
}

fn seconds(value: &Spanned<u64>, least: u64, most: u64) -> Result<Duration, Fault> {
    bounded(value, least, most).map(Duration::from_secs)
}

fn check_startups(startups: &Spanned<Startups>) -> Result<Startups, Fault> {
    let Startups {
        start,
        rate,
        full,
        per_source,
        ipv4_prefix,
        ipv6_prefix,
    } = startups.value;
    if start == 0 || start > full || full > 65_536 || per_source == 0 {
        let problem =
            "start is 1 or more and at most full, full at most 65536, per_source at least 1";
        return wrong(startups.referenced, problem);
    }
    if !(1..=100).contains(&rate) {
        return wrong(startups.referenced, "rate is a percentage: 1 to 100");
    }
    if !(1..=32).contains(&ipv4_prefix) || !(1..=128).contains(&ipv6_prefix) {
        let problem = "ipv4_prefix is 1 to 32, ipv6_prefix 1 to 128";
        return wrong(startups.referenced, problem);
    }
    Ok(startups.value)
}

fn check_penalties(file: &PenaltiesFile) -> Result<Penalties, Fault> {
    let mut penalties = default_penalties();
    for (value, place) in [
        (&file.authfail, &mut penalties.authfail),
        (&file.noauth, &mut penalties.noauth),
        (&file.grace_exceeded, &mut penalties.grace_exceeded),
        (&file.refused, &mut penalties.refused),
        (&file.crash, &mut penalties.crash),
        (&file.min, &mut penalties.min),
        (&file.max, &mut penalties.max),
    ] {
        if let Some(value) = value {
            *place = seconds(value, 0, LONGEST)?;
        }
    }
    if penalties.min > penalties.max {
        let written = file.max.as_ref().or(file.min.as_ref());
        let place = written.map_or(serde_saphyr::Location::UNKNOWN, |value| value.referenced);
        return wrong(place, "max is at least min, or no source would ever pay");
    }
    for text in &file.exempt {
        penalties.exempt.push(network(text)?);
    }
    Ok(penalties)
}

/// An address, or a network of them.
pub(super) fn network(text: &Spanned<String>) -> Result<IpNet, Fault> {
    let net = text.value.parse::<IpNet>();
    let net = net.or_else(|_| text.value.parse::<IpAddr>().map(IpNet::from));
    net.or_else(|_| {
        let problem = format!(
            "{:?} is no address and no network; write one like 10.0.0.0/8",
            text.value
        );
        wrong(text.referenced, problem)
    })
}

/// 0 is never.
pub(super) fn seconds_or_never(value: &Spanned<u64>) -> Result<Option<Duration>, Fault> {
    Ok(Some(seconds(value, 0, LONGEST)?).filter(|time| !time.is_zero()))
}

fn check_timeouts(file: &TimeoutsFile) -> Result<Timeouts, Fault> {
    let mut timeouts = default().timeouts;
    for (value, place) in [
        (&file.alive_interval, &mut timeouts.alive_interval),
        (&file.idle, &mut timeouts.idle),
        (&file.all_idle, &mut timeouts.all_idle),
        (&file.unused, &mut timeouts.unused),
        (&file.age, &mut timeouts.age),
    ] {
        if let Some(value) = value {
            *place = seconds_or_never(value)?;
        }
    }
    timeouts.channels = channel::check(&file.channels)?;
    if let Some(count) = &file.alive_count {
        timeouts.alive_count = usize::try_from(bounded(count, 1, 1000)?).unwrap_or(usize::MAX);
    }
    if let Some(warning) = &file.warning {
        timeouts.warning = seconds(warning, 0, LONGEST)?;
    }
    Ok(timeouts)
}

/// 16 GiB stay below 2^32 packets of four bytes, after which a nonce would come again (RFC 4344 §3.1).
fn check_rekey(file: &RekeyFile) -> Result<Rekey, Fault> {
    let mut rekey = default().rekey;
    if let Some(bytes) = &file.bytes {
        rekey.bytes = usize::try_from(bounded(bytes, 16 << 10, 16 << 30)?).unwrap_or(usize::MAX);
    }
    if let Some(time) = &file.seconds {
        rekey.time = seconds(time, 1, 24 * 3600)?;
    }
    Ok(rekey)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(addition: &str) -> Result<Manners, String> {
        let text = format!(
            "host_keys: [k]\nlogins: {{a: {{authorized_keys: [a], policy: p}}}}\n{addition}\n"
        );
        crate::config::parse(Path::new("/etc/sandgate.yaml"), &text)
            .map(|config| config.manners)
            .map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn what_is_written_replaces_what_is_not() {
        let manners = parse(
            "startups: {start: 2}\ntimeouts: {alive_interval: 0, idle: 5}\nbanner: b\ndrain: 0",
        )
        .unwrap();
        assert_eq!((manners.startups.start, manners.startups.full), (2, 256));
        assert_eq!(manners.timeouts.alive_interval, None);
        assert_eq!(manners.timeouts.idle, Some(Duration::from_secs(5)));
        let channels = "timeouts: {idle: 5, channels: {shell: 0, direct_tcpip: 9}}";
        let timeouts = parse(channels).unwrap().timeouts;
        for (kind, seconds) in [
            (ChannelKind::Shell, None),
            (ChannelKind::DirectTcpip, Some(9)),
            (ChannelKind::Sftp, Some(5)),
        ] {
            assert_eq!(
                timeouts.of(kind),
                seconds.map(Duration::from_secs),
                "{kind:?}"
            );
        }
        assert_eq!(manners.banner, Some("/etc/b".into()));
        assert_eq!(manners.drain, Duration::ZERO);
        assert_eq!(
            parse("penalties: {enforce: false}").unwrap().penalties,
            None
        );
    }

    #[test]
    fn values_out_of_range_name_their_key() {
        for (addition, key) in [
            ("startups: {start: 9, full: 8}", "startups"),
            ("startups: {rate: 101}", "startups"),
            ("startups: {ipv4_prefix: 33}", "startups"),
            ("penalties: {exempt: [nowhere]}", "penalties.exempt[0]"),
            ("penalties: {min: 700}", "penalties.min"),
            ("timeouts: {alive_count: 0}", "timeouts.alive_count"),
            (
                "timeouts: {channels: {shell: 9999999}}",
                "timeouts.channels.shell",
            ),
            (
                "timeouts: {channels: {session: 9}}",
                "timeouts.channels.session",
            ),
            ("refuse: {sources: [nowhere]}", "refuse.sources[0]"),
            ("refuse: {logins: [root, a]}", "refuse.logins[1]"),
            ("rekey: {bytes: 1}", "rekey.bytes"),
            ("drain: 3601", "drain"),
        ] {
            let said = parse(addition).unwrap_err();
            assert!(said.contains(&format!(": {key}: ")), "{addition}: {said}");
        }
    }

    #[test]
    fn a_source_is_a_network() {
        let startups = Startups::default();
        let source = |address: &str| startups.source(address.parse().unwrap()).to_string();
        assert_eq!(source("192.0.2.1"), "192.0.2.1/32");
        assert_eq!(source("::ffff:192.0.2.1"), "192.0.2.1/32");
        assert_eq!(source("2001:db8::1:2:3:4"), "2001:db8::/64");
    }
}
