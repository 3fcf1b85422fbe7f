//! Which places may be forwarded to, and which listened on: sshd's permitopen and permitlisten.

use super::Invalid;

/// The longest host taken, in bytes (`NI_MAXHOST` of getnameinfo(3), with its NUL, is 1025).
const HOST_BYTES: usize = 1024;

/// A list of permitted places. An empty one permits none; that there is no list at all is for its
/// owner to say (`Option<PermitList>`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PermitList(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Tcp { host: HostPermit, port: PortPermit },
    Socket(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPermit {
    Any,
    Literal(String),
    /// `*` and `?` stand for any characters; lower case.
    Pattern(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortPermit {
    Any,
    Only(u16),
}

impl PermitList {
    /// Adds `host:port`, `[v6]:port` or `/path/of/a/socket` to what may be connected to (sshd(8),
    /// permitopen; the path is an addition). Host and port can be `*`; otherwise the host is compared with
    /// what the client asks for as it stands, letter by letter: no pattern, no look-up.
    pub fn open(&mut self, text: &str) -> Result<(), Invalid> {
        if text.starts_with('/') {
            return self.socket(text);
        }
        let bad = || Invalid(format!("{text:?} is neither host:port nor a socket's path"));
        let (host, port) = split(text).ok_or_else(bad)?;
        let host = match host {
            "*" => HostPermit::Any,
            literal => HostPermit::Literal(literal.to_owned()),
        };
        self.tcp(host, port)
    }

    /// Adds `[host:]port` or `/path/of/a/socket` to what may be listened on (sshd(8), permitlisten; the
    /// path is an addition). `*` and `?` in the host match as in `sshd_config(5)`, PATTERNS, without regard
    /// to case; without a host any address is meant.
    pub fn listen(&mut self, text: &str) -> Result<(), Invalid> {
        if text.starts_with('/') {
            return self.socket(text);
        }
        if !text.contains(':') {
            return self.tcp(HostPermit::Any, text);
        }
        let bad = || {
            Invalid(format!(
                "{text:?} is neither [host:]port nor a socket's path"
            ))
        };
        let (host, port) = split(text).ok_or_else(bad)?;
        self.tcp(HostPermit::Pattern(host.to_ascii_lowercase()), port)
    }

    /// Whether the list holds this host, as the client wrote it, and port.
    pub fn allows(&self, host: &str, port: u16) -> bool {
        self.0.iter().any(|entry| match entry {
            Entry::Tcp {
                host: permitted,
                port: any_or,
            } => permitted.matches(host) && any_or.matches(port),
            Entry::Socket(_) => false,
        })
    }

    /// Whether the list holds this socket, by exactly this path.
    pub fn allows_socket(&self, path: &[u8]) -> bool {
        let permits = |entry: &Entry| matches!(entry, Entry::Socket(own) if own == path);
        self.0.iter().any(permits)
    }

    fn tcp(&mut self, host: HostPermit, port: &str) -> Result<(), Invalid> {
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = match port.parse() {
            _ if port == "*" => PortPermit::Any,
            Ok(number) if digits && number != 0 => PortPermit::Only(number),
            _ => {
                return Err(Invalid(format!(
                    "port {port:?} is neither * nor a number from 1 to 65535"
                )));
            }
        };
        self.0.push(Entry::Tcp { host, port });
        Ok(())
    }

    fn socket(&mut self, path: &str) -> Result<(), Invalid> {
        if path.contains('\0') {
            return Err(Invalid(format!("path {path:?} holds a NUL")));
        }
        self.0.push(Entry::Socket(path.as_bytes().to_vec()));
        Ok(())
    }
}

impl HostPermit {
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Literal(literal) => literal == host,
            Self::Pattern(pattern) => {
                glob(pattern.as_bytes(), host.to_ascii_lowercase().as_bytes())
            }
        }
    }
}

impl PortPermit {
    fn matches(self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Only(only) => only == port,
        }
    }
}

/// Host and port; an IPv6 address stands in brackets, and loses them.
fn split(text: &str) -> Option<(&str, &str)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:")?,
        None => text.split_once(':')?,
    };
    let fits = !host.is_empty() && host.len() <= HOST_BYTES && !host.contains(['[', ']', '/']);
    (fits && !port.contains(':')).then_some((host, port))
}

/// `match_pattern` of OpenSSH: `*` is any number of bytes, `?` is one. Without recursion: a failed match
/// goes on from the last `*`, which eats one byte more.
pub(crate) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text, mut last) = (pattern, text, None);
    loop {
        match (pattern, text) {
            ([], []) => return true,
            ([b'*', rest @ ..], _) => {
                last = Some((rest, text));
                pattern = rest;
            }
            ([b'?', rest @ ..], [_, tail @ ..]) => (pattern, text) = (rest, tail),
            ([one, rest @ ..], [same, tail @ ..]) if one == same => (pattern, text) = (rest, tail),
            _ => match last {
                Some((rest, [_, tail @ ..])) => {
                    last = Some((rest, tail));
                    (pattern, text) = (rest, tail);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(entries: &[&str]) -> PermitList {
        let mut list = PermitList::default();
        for entry in entries {
            list.open(entry).unwrap();
        }
        list
    }

    fn listen(entries: &[&str]) -> PermitList {
        let mut list = PermitList::default();
        for entry in entries {
            list.listen(entry).unwrap();
        }
        list
    }

    #[test]
    fn an_empty_list_permits_nothing() {
        let none = PermitList::default();
        assert!(!none.allows("localhost", 80));
        assert!(!none.allows_socket(b"/tmp/s"));
    }

    #[test]
    fn permitopen_compares_letter_by_letter() {
        let list = open(&["192.0.2.1:80", "[::1]:8080", "db.example:5432"]);
        for (host, port, expected) in [
            ("192.0.2.1", 80, true),
            ("192.0.2.1", 81, false),
            ("192.0.2.10", 80, false),
            ("::1", 8080, true),
            ("0:0:0:0:0:0:0:1", 8080, false),
            ("db.example", 5432, true),
            ("DB.example", 5432, false),
            ("db.example.", 5432, false),
            ("other.example", 5432, false),
        ] {
            assert_eq!(list.allows(host, port), expected, "{host}:{port}");
        }
    }

    #[test]
    fn permitopen_takes_a_star_for_a_whole_host_or_port_and_no_other_pattern() {
        assert!(open(&["*:22"]).allows("anything", 22));
        assert!(!open(&["*:22"]).allows("anything", 23));
        assert!(open(&["localhost:*"]).allows("localhost", 65_535));
        assert!(!open(&["localhost:*"]).allows("127.0.0.1", 65_535));
        assert!(!open(&["*.example:22"]).allows("a.example", 22));
    }

    #[test]
    fn permitlisten_has_patterns_and_a_host_that_can_be_left_out() {
        for (entry, host, port, expected) in [
            ("8080", "", 8080, true),
            ("8080", "localhost", 8080, true),
            ("8080", "localhost", 8081, false),
            ("localhost:8080", "localhost", 8080, true),
            ("localhost:8080", "LOCALHOST", 8080, true),
            ("LocalHost:8080", "localhost", 8080, true),
            ("localhost:8080", "", 8080, false),
            ("127.0.0.*:*", "127.0.0.9", 1024, true),
            ("127.0.0.*:*", "127.0.1.9", 1024, false),
            ("127.0.0.?:*", "127.0.0.9", 1024, true),
            ("127.0.0.?:*", "127.0.0.10", 1024, false),
            ("*:9000", "", 9000, true),
            ("[::1]:9000", "::1", 9000, true),
            ("*", "localhost", 0, true),
            ("9000", "localhost", 0, false),
        ] {
            let found = listen(&[entry]).allows(host, port);
            assert_eq!(found, expected, "{entry} for {host:?}:{port}");
        }
    }

    #[test]
    fn sockets_are_permitted_by_their_path_alone() {
        let list = open(&["/run/app.sock", "*:*"]);
        assert!(list.allows_socket(b"/run/app.sock"));
        assert!(!list.allows_socket(b"/run//app.sock"));
        assert!(!list.allows_socket(b"/run/other.sock"));
        assert!(!open(&["/run/app.sock"]).allows("/run/app.sock", 1));
    }

    #[test]
    fn what_sshd_would_not_read_is_refused() {
        for entry in [
            "",
            "host",
            "host:",
            ":80",
            "host:0",
            "host:65536",
            "host:ssh",
            "host:+80",
            "::1:80",
            "[::1]",
            "[::1:80",
            "a/b:80",
            "host:80:90",
            "[]:80",
            "/a\0b",
        ] {
            assert!(PermitList::default().open(entry).is_err(), "{entry:?}");
        }
        for entry in ["", "0", "localhost:", ":80", "http", "65536", "-1", "[::1]"] {
            assert!(PermitList::default().listen(entry).is_err(), "{entry:?}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = format!("{}b", "*a".repeat(200));
        assert!(!glob(pattern.as_bytes(), "a".repeat(5000).as_bytes()));
        assert!(glob(b"*a*b*", b"xxaxxbxx"));
        assert!(glob(b"**", b""));
    }
}
