//! Names to addresses, exactly as judged: no search domains, hosts(5) first, then DNS.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::system_conf::parse_resolv_conf;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
/// The longest that one name may take, with all its servers and retries.
const LOOKUP_TIME: Duration = Duration::from_secs(5);
/// One server's time for one try, so that a second fits into `LOOKUP_TIME`.
const TRY_TIME: Duration = Duration::from_secs(2);

/// Why a name has no addresses, or none can have.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// One of the two files is there and cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// resolv.conf(5) names no server that can be used.
    #[error("cannot use {RESOLV_CONF}")]
    Config(#[source] NetError),
    /// No answer, or none with an address.
    #[error("{name} does not resolve")]
    Lookup {
        /// The name that was asked for.
        name: String,
        /// What the resolver said.
        source: NetError,
    },
    /// Too slow.
    #[error("{0} did not resolve within {LOOKUP_TIME:?}")]
    Timeout(String),
}

/// The host's resolver. Its files are read once; its cache keeps each answer for its TTL.
#[derive(Debug)]
pub struct Resolver {
    hosts: HashMap<String, Vec<IpAddr>>,
    dns: TokioResolver,
}

impl Resolver {
    /// From `/etc/resolv.conf` and `/etc/hosts`. Opens no socket, and needs no runtime and no file later.
    pub fn from_system() -> Result<Self, ResolveError> {
        Self::new(&read(RESOLV_CONF)?, &read(HOSTS)?)
    }

    /// From the text of resolv.conf(5) and hosts(5).
    pub fn new(resolv_conf: &str, hosts: &str) -> Result<Self, ResolveError> {
        // resolv.conf(5): without a nameserver the local machine's is asked.
        let named = resolv_conf
            .lines()
            .any(|line| line.trim_start().starts_with("nameserver"));
        let local = if named {
            ""
        } else {
            "\nnameserver 127.0.0.1\n"
        };
        let (mut config, mut options) =
            parse_resolv_conf(format!("{resolv_conf}{local}")).map_err(ResolveError::Config)?;
        config.domain = None;
        config.search.clear();
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        options.try_tcp_on_error = true;
        options.timeout = TRY_TIME;
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        Ok(Self {
            hosts: parse_hosts(hosts),
            dns: builder.build().map_err(ResolveError::Config)?,
        })
    }

    /// Every address of a name. What hosts(5) says of it is the whole answer, and DNS is not asked then.
    pub async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Some(addresses) = self.hosts.get(name.trim_end_matches('.')) {
            return Ok(addresses.clone());
        }
        let failed = |source| ResolveError::Lookup {
            name: name.to_owned(),
            source,
        };
        let mut absolute = Name::from_str_relaxed(name).map_err(|error| failed(error.into()))?;
        absolute.set_fqdn(true);
        match tokio::time::timeout(LOOKUP_TIME, self.dns.lookup_ip(absolute)).await {
            Ok(Ok(answer)) => Ok(answer.iter().collect()),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(ResolveError::Timeout(name.to_owned())),
        }
    }
}

/// A file that is not there is an empty one, as for the C library.
fn read(path: &'static str) -> Result<String, ResolveError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(ResolveError::Read { path, source }),
    }
}

/// hosts(5): an address and its names a line; names are case-insensitive and may come again.
fn parse_hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        for name in words {
            let addresses = hosts
                .entry(name.trim_end_matches('.').to_ascii_lowercase())
                .or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;

    /// A resolver made where no runtime runs, as the gate makes it before it gives up root.
    fn early(resolv_conf: &str, hosts: &str) -> Resolver {
        Resolver::new(resolv_conf, hosts).unwrap()
    }

    #[test]
    fn hosts_are_the_whole_answer_for_their_names() {
        let resolver = early(
            "",
            "203.0.113.2 up.example UP.example # note\n2001:db8::2 up.example\nnonsense x\n#1.1.1.1 y\n",
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let addresses = runtime.block_on(resolver.lookup("up.example")).unwrap();
        let expected: [IpAddr; 2] = [
            "203.0.113.2".parse().unwrap(),
            "2001:db8::2".parse().unwrap(),
        ];
        assert_eq!(addresses, expected);
        assert!(!resolver.hosts.contains_key("x") && !resolver.hosts.contains_key("y"));
    }

    /// Answers every A question with 203.0.113.9 and every other with none; tells the A questions.
    async fn name_server(socket: UdpSocket, asked: tokio::sync::mpsc::UnboundedSender<String>) {
        let mut packet = [0; 1500];
        loop {
            let (length, client) = socket.recv_from(&mut packet).await.unwrap();
            let question = &packet[..length];
            let mut name = String::new();
            let mut at = 12;
            while question[at] != 0 {
                let label = usize::from(question[at]);
                name.push_str(std::str::from_utf8(&question[at + 1..=at + label]).unwrap());
                name.push('.');
                at += label + 1;
            }
            let (kind, end) = (question[at + 2], at + 5);
            let mut answer = [
                &question[..2],
                &[0x81, 0x80, 0, 1, 0, u8::from(kind == 1), 0, 0, 0, 0],
                &question[12..end],
            ]
            .concat();
            if kind == 1 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 9]);
            }
            socket.send_to(&answer, client).await.unwrap();
            if kind == 1 {
                asked.send(name).unwrap();
            }
        }
    }

    #[test]
    fn a_name_is_asked_for_as_it_is_and_then_cached() {
        // The port of a name server cannot be said in resolv.conf(5): take 53 on an address of 127/8.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let socket = runtime
            .block_on(UdpSocket::bind("127.53.7.11:53"))
            .expect("needs root for port 53");
        let resolver = early(
            "nameserver 127.53.7.11\nsearch search.example\noptions ndots:5\n",
            "",
        );
        let (asked, mut names) = tokio::sync::mpsc::unbounded_channel();
        runtime.block_on(async {
            let server = tokio::spawn(name_server(socket, asked));
            for _ in 0..2 {
                let addresses = resolver.lookup("short_name").await.unwrap();
                assert_eq!(addresses, ["203.0.113.9".parse::<IpAddr>().unwrap()]);
            }
            server.abort();
            let mut seen = Vec::new();
            while let Some(name) = names.recv().await {
                seen.push(name);
            }
            assert_eq!(seen, ["short_name."]);
        });
    }

    #[tokio::test]
    async fn a_dead_name_server_is_an_error_in_bounded_time() {
        let resolver = early("nameserver 127.53.7.12\n", "");
        let start = tokio::time::Instant::now();
        assert!(resolver.lookup("example.com").await.is_err());
        assert!(start.elapsed() <= LOOKUP_TIME + Duration::from_secs(1));
    }
}
