//! The proxy's accept loop outlives a gate that has no descriptor left. Alone in its binary: the limit is the process's.

#![allow(clippy::disallowed_methods, reason = "tests dial")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sandgate::audit::Trail;
use sandgate::egress::{Authority, Door, Inspector, Resolver, Roots, serve};
use sandgate::model::{Fingerprint, Generation, Holder, Kind, LoginName, Peer, SandboxId, Subject};
use sandgate::policy::Snapshot;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn no_descriptors_is_not_the_end() {
    let whois = Box::new(|_, _| {
        let peer = Peer::Unknown("nobody is asked here".into());
        Box::pin(std::future::ready(peer)) as Pin<Box<dyn Future<Output = Peer> + Send>>
    });
    let trail = Arc::new(Trail::open(None).unwrap());
    let door = Door::new(
        trail,
        Resolver::new("", "").unwrap(),
        whois,
        Inspector::new(Authority::make().unwrap(), &Roots::read(&[]).unwrap()).unwrap(),
        Arc::default(),
    )
    .unwrap();
    let policy = Arc::new(Snapshot::parse("test", "version: 1\n", Generation(1)).unwrap());
    let (_policy, policies) = tokio::sync::watch::channel(policy);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    let subject = Subject {
        sandbox: SandboxId(1),
        kind: Kind {
            login: LoginName::try_from("sandbox".to_owned()).unwrap(),
            definition: None,
        },
        holder: Holder::Key(Fingerprint("SHA256:test".into())),
    };
    let server = tokio::spawn(serve(listener, subject, policies, Arc::new(door)));

    let mut early = TcpStream::connect(proxy).await.unwrap();
    assert!(ask(&mut early).await.starts_with("HTTP/1.1 400"));

    // The kernel completes a connection by itself; what the proxy lacks is a descriptor for it.
    let waiting = std::net::TcpStream::connect(proxy).unwrap();
    waiting.set_nonblocking(true).unwrap();
    let mut waiting = TcpStream::from_std(waiting).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    let starved = std::fs::File::open("/dev/null").unwrap_err();
    let silent = tokio::time::timeout(Duration::from_millis(500), ask(&mut waiting)).await;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert_eq!(starved.raw_os_error(), Some(nix::libc::EMFILE));
    assert!(
        silent.is_err(),
        "it was accepted without a descriptor: {silent:?}"
    );

    let within = Duration::from_secs(5);
    let answer = tokio::time::timeout(within, answer(&mut waiting))
        .await
        .expect("the proxy accepts again");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(!server.is_finished());
}

async fn ask(stream: &mut TcpStream) -> String {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    answer(stream).await
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
