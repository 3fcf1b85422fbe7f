//! What the server alone takes: a channel, a program and its status, without a client process's start.

use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::client::{self, Handle};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{ChannelMsg, Disconnect};
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};

use super::sample::in_turns;
use super::servers::{Server, Servers};
use super::table::Row;

/// Whoever answers is the server: this is a measure and no login.
pub(crate) struct Client;

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// The first program of a connection, with which sandgate leases a sandbox; and further ones.
pub(crate) fn measure(servers: &Servers<'_>) -> [Row; 2] {
    let key = Arc::new(load_secret_key(servers.client_key(), None).expect("the client's key"));
    let [first, further] = servers.within(|| {
        let runtime = runtime();
        [first(&runtime, &key), further(&runtime, &key)]
    });
    let row = |what, [ours, theirs]: [_; 2]| Row {
        name: "spawn",
        what,
        samples: ours,
        against: Some(("sshd", theirs)),
    };
    [
        row("true, first of its connection", first),
        row("true, on the same connection", further),
    ]
}

pub(crate) fn runtime() -> Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn first(runtime: &Runtime, key: &Arc<PrivateKey>) -> [super::sample::Samples; 2] {
    let once = |server: Server| {
        runtime.block_on(async {
            let connection = connect(server.port(), server.name(), key.clone()).await;
            let took = exec(&connection).await.ended;
            connection
                .disconnect(Disconnect::ByApplication, "", "")
                .await
                .expect("a disconnect");
            took
        })
    };
    in_turns(100, || once(Server::Sandgate), || once(Server::Sshd))
}

fn further(runtime: &Runtime, key: &Arc<PrivateKey>) -> [super::sample::Samples; 2] {
    let to = |server: Server| connect(server.port(), server.name(), key.clone());
    let sandgate = runtime.block_on(to(Server::Sandgate));
    let sshd = runtime.block_on(to(Server::Sshd));
    in_turns(
        300,
        || runtime.block_on(exec(&sandgate)).ended,
        || runtime.block_on(exec(&sshd)).ended,
    )
}

/// Logged in.
pub(crate) async fn connect(port: u16, server: &str, key: Arc<PrivateKey>) -> Handle<Client> {
    let stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a connection");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    let mut connection = client::connect_stream(Arc::default(), stream, Client)
        .await
        .expect("SSH");
    let key = PrivateKeyWithHashAlg::new(key, None);
    let login = connection.authenticate_publickey("sandbox", key).await;
    assert!(login.expect("an answer").success(), "the login on {server}");
    connection
}

/// From the channel's request.
pub(crate) struct Took {
    /// To the answer that grants the program; sandgate's comes when execve(2) has succeeded.
    pub(crate) started: Duration,
    /// To the program's exit status.
    pub(crate) ended: Duration,
}

/// Runs `true` on a connection that is there.
pub(crate) async fn exec(connection: &Handle<Client>) -> Took {
    let start = Instant::now();
    let mut channel = connection.channel_open_session().await.expect("a channel");
    channel.exec(true, "true").await.expect("an exec");
    let mut started = None;
    loop {
        match channel.wait().await.expect("an exit status") {
            ChannelMsg::Success => started = Some(start.elapsed()),
            ChannelMsg::ExitStatus { exit_status } => {
                assert_eq!(exit_status, 0, "the status of true");
                return Took {
                    started: started.expect("the grant comes before the end"),
                    ended: start.elapsed(),
                };
            }
            ChannelMsg::Failure => panic!("the exec was refused"),
            _ => {}
        }
    }
}
