//! One try to get out, and everything that it left behind.

use serde_json::Value;

use super::support::{Arrival, Daemon, Event, Finished};

/// What one command in a sandbox did.
pub(crate) struct Attempt {
    pub(crate) session: Finished,
    /// What reached the upstream meanwhile.
    pub(crate) upstream: Vec<Arrival>,
    /// What reached the gate's own host meanwhile.
    pub(crate) host: Vec<Arrival>,
    /// The egress events that it left.
    pub(crate) events: Vec<Event>,
}

fn egress_events(daemon: &Daemon<'_>) -> Vec<Event> {
    let mut events = daemon.audit();
    events.retain(|event| event.text("/kind") == "egress");
    events
}

impl Attempt {
    /// Runs a command line in a fresh sandbox. One at a time in a world.
    pub(crate) fn make(daemon: &Daemon<'_>, line: &str) -> Self {
        let world = daemon.world;
        let (upstream, host) = (world.upstream.arrivals().len(), world.host.arrivals().len());
        let events = egress_events(daemon).len();
        let session = daemon.ssh().seconds(30).run(line);
        Self {
            session,
            upstream: world.upstream.arrivals().split_off(upstream),
            host: world.host.arrivals().split_off(host),
            events: egress_events(daemon).split_off(events),
        }
    }

    /// It reached this address and nothing else, and one event says so.
    #[track_caller]
    pub(crate) fn reached(&self, address: &str, port: u16, rule: &str) -> &Self {
        assert_eq!(self.session.code(), 0, "{}", self.session);
        let connections: Vec<_> = self
            .upstream
            .iter()
            .filter(|a| matches!(a, Arrival::Connection(..)))
            .collect();
        let wanted = Arrival::Connection(address.to_owned(), port);
        assert_eq!(connections, [&wanted], "{:?} {}", self.events, self.session);
        assert_eq!(self.host, []);
        let event = self.only_event("allow");
        assert_eq!(event.text("/rule"), rule, "{event:?}");
        self
    }

    /// The proxy refused it with 403; no server saw a connection; one event says why.
    #[track_caller]
    pub(crate) fn was_denied(&self, host: &str, port: u16) -> &Self {
        self.reached_nobody();
        let event = self.only_event("deny");
        assert_eq!(event.text("/destination/host"), host, "{event:?}");
        assert_eq!(
            event.text("/destination/port"),
            port.to_string(),
            "{event:?}"
        );
        assert!(!event.text("/reason").is_empty(), "{event:?}");
        let answer = self.answer();
        assert_eq!(answer["error"], "policy_denied", "{answer}");
        assert_eq!(answer["host"], host, "{answer}");
        assert_eq!(answer["port"], port, "{answer}");
        assert_eq!(answer["reason"], event.0["reason"], "{answer}");
        assert_eq!(answer["rule"], event.0["rule"], "{answer}");
        assert!(answer["detail"].is_string(), "{answer}");
        self
    }

    /// Nor was its name asked for: a question is a message to whoever runs the zone.
    #[track_caller]
    pub(crate) fn without_a_question(&self) {
        assert_eq!(self.upstream, []);
    }

    #[track_caller]
    pub(crate) fn reached_nobody(&self) {
        let connected = |a: &&Arrival| matches!(a, Arrival::Connection(..));
        assert_eq!(
            self.upstream.iter().find(connected),
            None,
            "{}",
            self.session
        );
        assert_eq!(self.host, [], "{}", self.session);
    }

    /// The one event, with this verdict, whole.
    #[track_caller]
    pub(crate) fn only_event(&self, verdict: &str) -> &Event {
        let [event] = &self.events[..] else {
            panic!("not one event: {:?}\n{}", self.events, self.session);
        };
        assert_eq!(event.verdict(), verdict, "{event:?}");
        assert_eq!(event.text("/login"), "sandbox", "{event:?}");
        assert!(event.text("/key").starts_with("SHA256:"), "{event:?}");
        assert!(event.text("/time").starts_with("20"), "{event:?}");
        assert!(event.0["generation"].is_u64(), "{event:?}");
        event
    }

    /// The JSON object in the output, which is where the tests' commands print an answer's body.
    #[track_caller]
    pub(crate) fn answer(&self) -> Value {
        let out = self.session.out();
        let start = out
            .find('{')
            .unwrap_or_else(|| panic!("no JSON: {}", self.session));
        let mut values = serde_json::Deserializer::from_str(&out[start..]).into_iter::<Value>();
        values
            .next()
            .expect("a value")
            .unwrap_or_else(|e| panic!("{e}: {}", self.session))
    }
}

/// curl as every test calls it: it prints the body, whatever the status, and is done within 10 s.
pub(crate) fn curl(url: &str) -> String {
    format!("curl -sS --max-time 10 '{url}'")
}

/// The same through the proxy whatever NO_PROXY says.
pub(crate) fn curl_by_proxy(url: &str) -> String {
    format!("curl -sS --max-time 10 --noproxy '' '{url}'")
}

/// The same in a CONNECT tunnel. curl shows no body of a refused CONNECT, so `-v` and the status do;
/// see `connect_request` for the body.
pub(crate) fn curl_tunnel(url: &str) -> String {
    format!("curl -sS --max-time 10 --proxytunnel '{url}'")
}

/// A CONNECT request by hand, from Python (whose binary is what the policy then sees).
pub(crate) fn connect_request(target: &str) -> String {
    raw_request(&format!(
        r"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
    ))
}

/// Any bytes to the proxy, given in the escapes of printf(1); prints what comes back within 5 s.
/// One process alone holds the connection: two would leave open which of them asks.
pub(crate) fn raw_request(escaped: &str) -> String {
    const SEND: &str = "import socket, sys\n\
        s = socket.create_connection((\"127.0.0.1\", 3128), 5)\n\
        s.sendall(sys.stdin.buffer.read())\n\
        try:\n\
        \x20   while data := s.recv(65536): sys.stdout.buffer.write(data)\n\
        except OSError: pass";
    let escaped = escaped.replace('\'', r"'\''");
    format!("printf '{escaped}' | /usr/bin/python3 -I -c '{SEND}'")
}
