//! A sandbox's proxy: accepts inside its namespace, judges every request, and relays what policy allows.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Door;
use super::admission::{Admitted, Case, admit};
use super::answer::{self, Body};
use super::conduit::{Conduit, Reached};
use super::forward::forward;
use super::framing::{Strict, Upgrades};
use super::inference::{Desk, Meter};
use super::inspect::{Conversation, Scheme, inspect, serve_models};
use super::intake::{Target, parser};
use super::peer::Caller;
use super::tenure::Tenure;
use super::upstream::dial;
use crate::model::{Connection, Destination, Subject};
use crate::policy::{Flow, Snapshot, Tls};

/// Connections of one sandbox at once; more wait in the listener's backlog.
const CONNECTIONS: usize = 256;
/// The time for a request's head, also the longest that an idle connection is kept.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(30);
/// The pause after an accept that failed; the usual cause (EMFILE) lasts.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Each direction of a tunnel, in bytes.
pub(super) const TUNNEL_BUFFER: usize = 64 * 1024;

/// Serves one sandbox until the future is dropped, which ends its connections too.
pub async fn serve(
    listener: TcpListener,
    subject: Subject,
    policy: watch::Receiver<Arc<Snapshot>>,
    door: Arc<Door>,
) {
    let subject = Arc::new(subject);
    let meter = Arc::new(Meter::default());
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            Some(ended) = clients.join_next() => if let Err(error) = ended {
                tracing::error!(sandbox = %subject.sandbox, %error, "a proxy connection failed");
            },
            accepted = listener.accept(), if clients.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let whose = (Arc::clone(&subject), Arc::clone(&meter));
                    clients.spawn(converse(stream, whose, policy.clone(), Arc::clone(&door)));
                }
                Err(error) => {
                    tracing::warn!(sandbox = %subject.sandbox, %error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// One connection, from its first request to its last, or to the end of its tunnel.
async fn converse(
    stream: TcpStream,
    (subject, meter): (Arc<Subject>, Arc<Meter>),
    policy: watch::Receiver<Arc<Snapshot>>,
    door: Arc<Door>,
) {
    let ends = match ends(&stream) {
        Ok(ends) => ends,
        // The client is gone already.
        Err(error) => return tracing::debug!(%error, "connection without ends"),
    };
    let caller = Caller::accept(&door.whois, subject.sandbox, ends).await;
    let client = Arc::new(Client::new(caller, (subject, meter), policy, door));
    let service = {
        let client = Arc::clone(&client);
        service_fn(move |request| {
            let client = Arc::clone(&client);
            async move { Ok::<_, Infallible>(client.answer(request).await) }
        })
    };
    let http = parser()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(
            TokioIo::new(Strict::new(stream, Upgrades::Ignored)),
            service,
        )
        .without_shutdown();
    // Boxed: hyper's state is large, and a tunnel outlives it.
    let parts = match Box::pin(http).await {
        Ok(parts) => parts,
        Err(error) => return tracing::debug!(%error, "proxy connection ended"),
    };
    let (stream, early) = parts.io.into_inner().into_parts();
    if let Err(error) = client.finish(stream, early).await {
        tracing::debug!(%error, "proxy connection ended");
    }
}

fn ends(stream: &TcpStream) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    Ok(Connection {
        client: stream.peer_addr()?,
        proxy: stream.local_addr()?,
    })
}

/// The gate's side of one connection out of a sandbox.
pub(super) struct Client {
    pub(super) caller: Caller,
    pub(super) subject: Arc<Subject>,
    /// What the sandbox has taken of its models.
    pub(super) meter: Arc<Meter>,
    pub(super) policy: watch::Receiver<Arc<Snapshot>>,
    pub(super) door: Arc<Door>,
    /// What a CONNECT was granted; taken when hyper is done with the connection.
    tunnel: Mutex<Option<Tunnel>>,
}

/// What follows a CONNECT.
enum Tunnel {
    /// Bytes, to this upstream.
    Through(Conduit, Tenure),
    /// Requests, each of which is judged.
    Inspected(Flow, Tls),
    /// Requests to models.
    Models(Destination, Scheme),
}

impl Client {
    pub(super) fn new(
        caller: Caller,
        (subject, meter): (Arc<Subject>, Arc<Meter>),
        policy: watch::Receiver<Arc<Snapshot>>,
        door: Arc<Door>,
    ) -> Self {
        Self {
            caller,
            subject,
            meter,
            policy,
            door,
            tunnel: Mutex::new(None),
        }
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let connect = request.method() == Method::CONNECT;
        let mut response = self.relay(request).await;
        // What follows a CONNECT was meant for the tunnel, and is no request.
        if connect && response.status() != StatusCode::OK {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn relay(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        let target = match Target::read(&head) {
            Ok(target) => target,
            Err(error) => return answer::malformed(&error),
        };
        let destination = target.destination().clone();
        if let Some(scheme) = self.door.inference.serves(&self.subject.kind, &target) {
            return self
                .ask(target, scheme, Request::from_parts(head, body))
                .await;
        }
        let peer = self.caller.identify(&self.door.whois).await;
        let mut policy = self.policy.clone();
        let snapshot = Arc::clone(&policy.borrow_and_update());
        let flow = Flow {
            peer,
            destination: destination.clone(),
        };
        let case = Case {
            door: &self.door,
            subject: &self.subject,
            flow: &flow,
            asked: None,
        };
        let vetted = match admit(&case, &snapshot).await {
            Ok(Admitted::Through(vetted)) => vetted,
            Ok(Admitted::Inspected(tls)) => match target {
                Target::Tunnel(_) => {
                    self.open(Tunnel::Inspected(flow, tls));
                    return answer::connected();
                }
                Target::Exchange(_) => {
                    // As for other plain exchanges: who wants a WebSocket asks with CONNECT.
                    head.headers.remove(UPGRADE);
                    let request = Request::from_parts(head, body);
                    let conversation =
                        Conversation::new(Arc::clone(self), destination, Scheme::Plain);
                    return conversation.answer(request, flow.peer).await;
                }
            },
            Err(refusal) => {
                return answer::refused(
                    &refusal,
                    &answer::name(head.method.as_str(), &target),
                    &self.subject,
                    &flow,
                );
            }
        };
        let Reached { conduit, address } = match dial(vetted, &self.door).await {
            Ok(reached) => reached,
            Err(error) => {
                tracing::debug!(sandbox = %self.subject.sandbox, %destination, error = &error as &dyn std::error::Error, "dial failed");
                return answer::undialled(&error, &destination);
            }
        };
        let (door, subject) = (Arc::clone(&self.door), Arc::clone(&self.subject));
        let tenure = Tenure {
            door,
            subject,
            policy,
            flow,
            address,
        };
        match target {
            Target::Tunnel(_) => {
                self.open(Tunnel::Through(conduit, tenure));
                answer::connected()
            }
            Target::Exchange(_) => {
                forward(Request::from_parts(head, body), &destination, conduit, tenure).await.unwrap_or_else(|error| {
                    tracing::debug!(%destination, error = &error as &dyn std::error::Error, "exchange failed");
                    answer::unreachable(&destination)
                })
            }
        }
    }

    /// Lets a request to the sandbox's models through.
    async fn ask(
        self: &Arc<Self>,
        target: Target,
        scheme: Scheme,
        mut request: Request<Incoming>,
    ) -> Response<Body> {
        let destination = target.destination().clone();
        match target {
            Target::Tunnel(_) => {
                self.open(Tunnel::Models(destination, scheme));
                answer::connected()
            }
            Target::Exchange(_) => {
                request.headers_mut().remove(UPGRADE);
                let peer = self.caller.identify(&self.door.whois).await;
                let desk = Desk::new(Arc::clone(self), destination, scheme);
                desk.answer(request, peer).await
            }
        }
    }

    fn open(&self, tunnel: Tunnel) {
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }

    /// Runs the tunnel, if there is one; `early` is what the client sent after its CONNECT.
    async fn finish(self: Arc<Self>, mut stream: TcpStream, early: BytesMut) -> io::Result<()> {
        let tunnel = self
            .tunnel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let (mut upstream, tenure) = match tunnel {
            Some(Tunnel::Through(upstream, tenure)) => (upstream, tenure),
            Some(Tunnel::Inspected(flow, tls)) => {
                return inspect(stream, early, self, flow, tls).await;
            }
            Some(Tunnel::Models(destination, scheme)) => {
                return serve_models(stream, early, self, (destination, scheme)).await;
            }
            None => return stream.shutdown().await,
        };
        let sandbox = self.subject.sandbox;
        let relayed = tenure.hold(async {
            upstream.write_all(&early).await?;
            copy_bidirectional_with_sizes(&mut stream, &mut upstream, TUNNEL_BUFFER, TUNNEL_BUFFER)
                .await
        });
        match relayed.await {
            Some(Ok((sent, received))) => tracing::debug!(%sandbox, sent, received, "tunnel ended"),
            Some(Err(error)) => return Err(error),
            None => tracing::info!(%sandbox, "tunnel closed: policy no longer allows it"),
        }
        Ok(())
    }
}
