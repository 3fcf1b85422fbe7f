//! A gate and an upstream, each in a network namespace of its own, joined by a veth pair.
//!
//! The namespaces are those of two threads, so they are gone with them, and no test sees another's.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::{Read, Seek};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sandgate::audit::Trail;
use sandgate::egress::{Authority, Door, Inspector, Resolver, Roots, serve};
use sandgate::model::{
    Fingerprint, Generation, Holder, Identity, Kind, LoginName, Peer, SandboxId, SessionId, Subject,
};
use sandgate::policy::Snapshot;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::upstream::{self, Counts};

const HOSTS: &str = "
20.30.40.2         up.example other.example both.example tls.example wrong.example
20.30.40.2         api.example.com star.example.com git.example.com api.query.com api.readwrite.com
20.30.40.2         api.full.com api.readonly.com jsonrpc.test jsonrpc-all.test mcp.test mcp-all.test h.test
20.30.40.2         api.graphql.com gql.readonly.com api.github.com github.com api.github.test
20.30.40.2         ro.ws.example rw.ws.example
2001:db8::2         six.example both.example
127.0.0.1           rebind.example mixed.example
20.30.40.2         mixed.example
169.254.169.254     metadata.example
::ffff:127.0.0.1    mapped.example
20.30.40.1         gate.example
";

pub(crate) const POLICY: &str = "
version: 1
network_policies:
  web:
    name: web
    endpoints:
      - { host: up.example, ports: [9, 80, 7000, 7001] }
      - { host: six.example, ports: [80] }
      - { host: both.example, ports: [80] }
      - { host: rebind.example, ports: [80] }
      - { host: mixed.example, ports: [80] }
      - { host: metadata.example, ports: [80] }
      - { host: mapped.example, ports: [80] }
      - { host: gate.example, ports: [80] }
      - { host: lost.example, ports: [80] }
    binaries:
      - { path: /usr/bin/curl }
";

/// The same, but without a word of up.example.
pub(crate) const POLICY_WITHOUT_UP: &str = "
version: 1
network_policies:
  web:
    name: web
    endpoints:
      - { host: six.example, ports: [80] }
    binaries:
      - { path: /usr/bin/curl }
";

pub(crate) struct World {
    pub(crate) proxy: SocketAddr,
    pub(crate) policy: watch::Sender<Arc<Snapshot>>,
    pub(crate) peer: Arc<Mutex<Peer>>,
    /// How often the caller was asked for.
    pub(crate) asked: Arc<AtomicUsize>,
    /// What clients of the proxy trust.
    pub(crate) bundle: Scratch,
    trail: File,
    pub(crate) counts: Arc<Counts>,
}

/// What curl got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    /// The status of the answer to CONNECT; 0 without one.
    pub(crate) connect: u16,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) fn snapshot(text: &str, generation: u64) -> Arc<Snapshot> {
    Arc::new(Snapshot::parse("test.yaml", text, Generation(generation)).unwrap())
}

pub(crate) fn known(binary: &str) -> Peer {
    Peer::Known(Identity {
        session: Some(SessionId(5)),
        pid: 4242,
        binary: binary.into(),
        ancestors: vec!["/usr/bin/bash".into()],
    })
}

/// Runs a test against a proxy in a world of its own.
pub(crate) fn with_world<F: Future<Output = ()>>(test: impl FnOnce(World) -> F + Send + 'static) {
    with_trail(scratch(), test);
}

/// The same, with its audit trail in this file.
pub(crate) fn with_world_and_trail<F: Future<Output = ()>>(
    trail: &str,
    test: impl FnOnce(World) -> F + Send + 'static,
) {
    with_trail(OpenOptions::new().append(true).open(trail).unwrap(), test);
}

fn with_trail<F: Future<Output = ()>>(trail: File, test: impl FnOnce(World) -> F + Send + 'static) {
    let gate = std::thread::spawn(move || {
        let (upstream, counts) = upstream::start();
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        ip(&["link set lo up"]);
        ip(&[&format!(
            "link add out type veth peer name in netns {}",
            upstream.thread
        )]);
        ip(&[
            "addr add 20.30.40.1/24 dev out",
            "addr add 2001:db8::1/64 dev out nodad",
            "link set out up",
            "route add 169.254.1.2/32 dev out",
        ]);
        upstream.connected.send(()).unwrap();
        upstream.ready.recv().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let time = Duration::from_secs(60);
            tokio::time::timeout(time, run(test, trail, counts))
                .await
                .expect("the test took too long");
        });
    });
    if let Err(panic) = gate.join() {
        std::panic::resume_unwind(panic);
    }
}

async fn run<F: Future<Output = ()>>(
    test: impl FnOnce(World) -> F,
    trail: File,
    counts: Arc<Counts>,
) {
    let peer = Arc::new(Mutex::new(known("/usr/bin/curl")));
    let asked = Arc::new(AtomicUsize::new(0));
    let whois = {
        let (peer, asked) = (Arc::clone(&peer), Arc::clone(&asked));
        Box::new(move |_, _| {
            asked.fetch_add(1, Ordering::SeqCst);
            let peer = peer.lock().unwrap().clone();
            Box::pin(std::future::ready(peer))
                as std::pin::Pin<Box<dyn Future<Output = Peer> + Send>>
        })
    };
    let resolver = Resolver::new("", HOSTS).unwrap();
    let authority = Authority::make().unwrap();
    let roots = Roots::read(std::slice::from_ref(&counts.root.path)).unwrap();
    let inspector = Inspector::new(authority, &roots).unwrap();
    let bundle = Scratch::new("bundle", inspector.bundle());
    let door = Door::new(
        Arc::new(Trail::new(trail.try_clone().unwrap())),
        resolver,
        whois,
        inspector,
        Arc::default(),
    )
    .unwrap();
    let (policy, policies) = watch::channel(snapshot(POLICY, 1));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    let subject = Subject {
        sandbox: SandboxId(3),
        kind: Kind {
            login: LoginName::try_from("sandbox".to_owned()).unwrap(),
            definition: None,
        },
        holder: Holder::Key(Fingerprint("SHA256:test".into())),
    };
    let server = tokio::spawn(serve(listener, subject, policies, Arc::new(door)));
    test(World {
        proxy,
        policy,
        peer,
        asked,
        bundle,
        trail,
        counts,
    })
    .await;
    server.abort();
}

impl World {
    /// Runs curl through the proxy.
    pub(crate) async fn curl(&self, args: &[&str]) -> Got {
        let mut command = Command::new("curl");
        command.arg("--cacert").arg(&self.bundle.path);
        command.args([
            "-sS",
            "-m",
            "20",
            "-w",
            "\n%{http_code} %{http_connect}",
            "-x",
        ]);
        command.arg(format!("http://{}", self.proxy)).args(args);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, codes) = text.rsplit_once('\n').unwrap();
        let (status, connect) = codes.split_once(' ').unwrap();
        let got = Got {
            status: status.parse().unwrap(),
            connect: connect.parse().unwrap(),
            body: body.to_owned(),
        };
        eprintln!(
            "{args:?}: {got:?} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        got
    }

    /// Writes these bytes to the proxy, and reads until it closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.proxy).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut text = Vec::new();
        // A proxy that closes with bytes unread resets: what came before that counts.
        stream.read_to_end(&mut text).await.ok();
        String::from_utf8(text).unwrap()
    }

    /// Opens a tunnel, with `early` in the same write as its head.
    pub(crate) async fn tunnel(&self, authority: &str, early: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.proxy).await.unwrap();
        let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        stream
            .write_all(&[head.as_bytes(), early].concat())
            .await
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let lower = answer.to_ascii_lowercase();
        assert!(
            !lower.contains("content-length") && !lower.contains("transfer-encoding"),
            "{answer}"
        );
        stream
    }

    /// Whether a tunnel is opened at all.
    pub(crate) async fn connects(&self, authority: &str) -> bool {
        let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        let mut stream = TcpStream::connect(self.proxy).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.unwrap();
        &line == b"HTTP/1.1 200"
    }

    /// Writes these bytes into a tunnel, or tells why there is none, and reads until its end.
    pub(crate) async fn raw_tunnel(&self, authority: &str, bytes: &[u8]) -> String {
        let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        let answer = self.raw(&[head.as_bytes(), bytes].concat()).await;
        let (connected, rest) = answer.split_once("\r\n\r\n").unwrap();
        if connected.starts_with("HTTP/1.1 200") {
            rest.to_owned()
        } else {
            answer
        }
    }

    /// TLS inside a tunnel, in HTTP/1.1: with the proxy where it looks into it.
    pub(crate) async fn tls(&self, authority: &str) -> TlsStream<TcpStream> {
        let stream = self.tunnel(authority, b"").await;
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(&self.bundle.path).unwrap() {
            roots.add(root.unwrap()).ok();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (host, _) = authority.rsplit_once(':').unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, stream).await.unwrap()
    }

    /// Writes these bytes inside TLS, and reads until the proxy closes.
    pub(crate) async fn raw_tls(&self, authority: &str, bytes: &[u8]) -> String {
        let mut stream = self.tls(authority).await;
        stream.write_all(bytes).await.unwrap();
        let mut text = Vec::new();
        stream
            .read_to_end(&mut text)
            .await
            .expect("an end that was announced");
        String::from_utf8(text).unwrap()
    }

    /// The audit trail so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut file = &self.trail;
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The only event, which must be the whole trail.
    pub(crate) fn only_event(&self) -> Value {
        let mut events = self.events();
        assert_eq!(events.len(), 1, "{events:#?}");
        events.remove(0)
    }

    /// Connections that reached the upstream so far.
    pub(crate) fn dials(&self) -> usize {
        self.counts.dials.load(Ordering::SeqCst)
    }

    /// How many of them are open.
    pub(crate) fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }
}

/// A file that goes with its value.
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
}

impl Scratch {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let (process, thread) = (std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(format!("sandgate-{name}-{process}-{thread:?}"));
        std::fs::write(&path, text).unwrap();
        Self { path }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}

fn scratch() -> File {
    let name = format!(
        "sandgate-egress-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let path = std::env::temp_dir().join(name);
    let file = OpenOptions::new()
        .append(true)
        .read(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

/// ip(8) in the calling thread's namespace.
pub(crate) fn ip(commands: &[&str]) {
    for command in commands {
        let status = Command::new("ip")
            .args(command.split(' '))
            .status()
            .expect("these tests need ip(8)");
        assert!(status.success(), "ip {command}");
    }
}
