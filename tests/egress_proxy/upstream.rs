//! The other side: HTTP on port 80, and plain TCP on 7000 (answers after the client's end) and 7001 (echoes).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sched::{CloneFlags, unshare};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::world::{Scratch, ip};

/// The upstream's thread, whose namespace waits for its end of the pair.
pub(crate) struct Upstream {
    pub(crate) thread: nix::unistd::Pid,
    /// Say when the pair is there.
    pub(crate) connected: mpsc::Sender<()>,
    /// Says when it listens.
    pub(crate) ready: mpsc::Receiver<()>,
}

/// The connections that reached it.
pub(crate) struct Counts {
    pub(crate) dials: AtomicUsize,
    pub(crate) open: AtomicUsize,
    /// Its own authority's certificate.
    pub(crate) root: Scratch,
    tls: TlsAcceptor,
}

/// Starts it, and counts the connections that reach it.
pub(crate) fn start() -> (Upstream, Arc<Counts>) {
    let counts = Arc::new(Counts::new());
    let (connected, wait) = mpsc::channel();
    let (tell, ready) = mpsc::channel();
    let (tid, thread) = mpsc::channel();
    let count = Arc::clone(&counts);
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        tid.send(nix::unistd::gettid()).unwrap();
        // The test ended before it began.
        if wait.recv().is_err() {
            return;
        }
        ip(&[
            "addr add 20.30.40.2/24 dev in",
            "addr add 169.254.1.2/32 dev in",
            "addr add 2001:db8::2/64 dev in nodad",
            "link set in up",
        ]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::spawn(listen(80, Arc::clone(&count), http).await);
            tokio::spawn(listen(8000, Arc::clone(&count), http).await);
            tokio::spawn(listen(8080, Arc::clone(&count), http).await);
            let acceptor = count.tls.clone();
            let tls = move |stream| https(acceptor.clone(), stream);
            tokio::spawn(listen(443, Arc::clone(&count), tls).await);
            tokio::spawn(listen(7000, Arc::clone(&count), answer_after_end).await);
            tokio::spawn(listen(7001, count, echo).await);
            tell.send(()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    (
        Upstream {
            thread: thread.recv().unwrap(),
            connected,
            ready,
        },
        counts,
    )
}

async fn listen<F: Future<Output = ()> + Send + 'static>(
    port: u16,
    counts: Arc<Counts>,
    serve: impl Fn(TcpStream) -> F + Send,
) -> impl Future<Output = ()> + Send {
    // Both families: v4 comes as v4-mapped.
    let listener = TcpListener::bind(("::", port)).await.unwrap();
    async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counts.dials.fetch_add(1, Ordering::SeqCst);
            counts.open.fetch_add(1, Ordering::SeqCst);
            let counts = Arc::clone(&counts);
            let serving = serve(stream);
            tokio::spawn(async move {
                serving.await;
                counts.open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }
}

/// Tells how many bytes came, once all have.
async fn answer_after_end(mut stream: TcpStream) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    stream
        .write_all(format!("{} bytes", bytes.len()).as_bytes())
        .await
        .unwrap();
}

async fn echo(mut stream: TcpStream) {
    let (mut read, mut write) = stream.split();
    // A tunnel that is cut ends this with an error.
    tokio::io::copy(&mut read, &mut write).await.ok();
    write.shutdown().await.ok();
}

async fn http(stream: TcpStream) {
    let server = hyper::server::conn::http1::Builder::new();
    server
        .serve_connection(TokioIo::new(stream), service_fn(respond))
        .with_upgrades()
        .await
        .ok();
}

/// In HTTP/2 where the client offers it.
async fn https(acceptor: TlsAcceptor, stream: TcpStream) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server
            .serve_connection(TokioIo::new(stream), service_fn(respond))
            .await
            .ok();
    } else {
        let server = hyper::server::conn::http1::Builder::new();
        server
            .serve_connection(TokioIo::new(stream), service_fn(respond))
            .with_upgrades()
            .await
            .ok();
    }
}

impl Counts {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        // Another name than the leaf's, which would look signed by itself.
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "upstream's root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let names = [
            "*.example",
            "*.example.com",
            "*.query.com",
            "*.readwrite.com",
            "*.full.com",
        ];
        let more = [
            "*.readonly.com",
            // No wildcard stands for all of a top level domain.
            "jsonrpc.test",
            "jsonrpc-all.test",
            "mcp.test",
            "mcp-all.test",
            "h.test",
            "*.graphql.com",
            "*.github.com",
            "github.com",
        ];
        let more = more.iter().chain(&["*.github.test", "*.ws.example"]);
        let names: Vec<String> = names
            .iter()
            .chain(more)
            .map(|name| (*name).to_owned())
            .collect();
        // wrong.example is the one name that is not its own.
        let names = names.into_iter().flat_map(|name| match name.as_str() {
            "*.example" => ["tls.example", "up.example"].map(str::to_owned).to_vec(),
            _ => vec![name],
        });
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names.collect::<Vec<_>>()).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self {
            dials: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            root: Scratch::new("root", &root.pem()),
            tls: TlsAcceptor::from(Arc::new(config)),
        }
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn respond(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let mut response = Response::builder()
        .header("connection", "x-hop")
        .header("x-hop", "1");
    let body = match request.uri().path() {
        "/redirect" => {
            response = response
                .status(StatusCode::FOUND)
                .header("location", "http://other.example/");
            Full::default().boxed()
        }
        "/empty" => {
            response = response.status(StatusCode::NO_CONTENT);
            Full::default().boxed()
        }
        "/endless" | "/open/endless" | "/public/events" => endless(),
        "/open/switch" if request.headers().contains_key("upgrade") => {
            tokio::spawn(async move {
                let stream = hyper::upgrade::on(request).await.unwrap();
                let (mut read, mut write) = tokio::io::split(TokioIo::new(stream));
                // The other end may be cut.
                tokio::io::copy(&mut read, &mut write).await.ok();
                write.shutdown().await.ok();
            });
            response = Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "upgrade")
                .header("upgrade", "websocket");
            Full::default().boxed()
        }
        "/open/trailers" => {
            response = response.header("trailer", "x-sum");
            let mut trailers = hyper::HeaderMap::new();
            trailers.insert("x-sum", "42".parse().unwrap());
            // Of no length that is known before: such an answer has no trailers in HTTP/1.1.
            let (frames, stream) = tokio::sync::mpsc::channel::<Bytes>(1);
            frames.send(Bytes::from_static(b"summed")).await.unwrap();
            let body = Received(stream);
            body.with_trailers(std::future::ready(Some(Ok(trailers))))
                .boxed()
        }
        // An answer before the body, which is read only then: curl 7 takes a reset for a failure.
        "/open/early" => {
            tokio::spawn(request.into_body().collect());
            response = response.status(StatusCode::PAYLOAD_TOO_LARGE);
            Full::from("too large").boxed()
        }
        _ => Full::from(told(request).await).boxed(),
    };
    Ok(response.body(body).unwrap())
}

/// What the request was, as JSON.
async fn told(request: Request<Incoming>) -> String {
    let (head, body) = request.into_parts();
    let fields: Vec<String> = head
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    let body = body.collect().await.unwrap().to_bytes();
    serde_json::json!({
        "method": head.method.as_str(), "target": head.uri.path_and_query().unwrap().as_str(), "fields": fields,
        "body": String::from_utf8_lossy(&body),
    })
    .to_string()
}

/// A chunk every 20 ms.
fn endless() -> Body {
    let (frames, stream) = tokio::sync::mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        while frames.send(Bytes::from_static(b"more\n")).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    Received(stream).boxed()
}

struct Received(tokio::sync::mpsc::Receiver<Bytes>);

impl hyper::body::Body for Received {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(cx)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
