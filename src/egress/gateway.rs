//! Every sandbox's way out: the door that all share, and the policy that each kind of them has.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::admission::{Admitted, Case, Refusal, admit};
use super::conduit::{Conduit, Reached};
use super::credentials::PREFIX;
use super::inspect::inspect;
use super::peer::Caller;
use super::proxy::{Client, TUNNEL_BUFFER};
use super::tenure::Tenure;
use super::upstream::dial;
use super::{Bindings, Book, Door, UpstreamError, serve};
use crate::model::{Destination, Kind, Peer, Subject};
use crate::policy::{Flow, Snapshot, Vetted};

/// The ways out; one for the gate.
pub struct Gateway {
    door: Arc<Door>,
    policies: BTreeMap<Kind, Arc<watch::Sender<Arc<Snapshot>>>>,
}

/// Why a client's connection to the outside was not made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Policy does not allow it. The text is the denial's reason.
    #[error("{0}")]
    Denied(String),
    /// The decision could not be made or recorded; the log has the cause.
    #[error("the decision could not be made or recorded")]
    Unavailable,
    /// Policy allows it, and the name has no address.
    #[error("{0} does not resolve")]
    Unresolved(Destination),
    /// No vetted address answered.
    #[error("connect to {0}")]
    Dial(Destination, #[source] UpstreamError),
    /// The gate has no descriptors left.
    #[error("the gate has no socket for it")]
    Socket(#[from] io::Error),
}

/// A connection to the outside, for as long as policy grants it.
pub struct Granted {
    way: Way,
    /// `None` where each request on it is judged by itself.
    tenure: Option<Tenure>,
    /// What carries its bytes on, where they are not the upstream's as they are.
    carrier: Option<AbortOnDropHandle<()>>,
}

/// The near end of a connection to the outside.
#[derive(Debug)]
pub enum Way {
    /// The upstream's own.
    Tcp(TcpStream),
    /// To what judges its requests, or speaks TLS with an upstream proxy.
    Socket(UnixStream),
}

impl Granted {
    /// Hands the connection to `work`, which is dropped when policy takes the flow back: `None`.
    pub async fn hold<T, F: Future<Output = T>>(self, work: impl FnOnce(Way) -> F) -> Option<T> {
        let Self {
            way,
            tenure,
            carrier,
        } = self;
        let held = match tenure {
            Some(tenure) => tenure.hold(work(way)).await,
            None => Some(work(way).await),
        };
        drop(carrier);
        held
    }
}

impl Gateway {
    /// With the policy of each kind of sandbox.
    pub fn new(door: Door, policies: &BTreeMap<Kind, Arc<Snapshot>>) -> Self {
        let policies = policies
            .iter()
            .map(|(kind, snapshot)| {
                (
                    kind.clone(),
                    Arc::new(watch::Sender::new(Arc::clone(snapshot))),
                )
            })
            .collect();
        Self {
            door: Arc::new(door),
            policies,
        }
    }

    /// With new policies, which sandboxes that run follow at once. A kind that is gone keeps its last.
    #[must_use]
    pub fn renewed(&self, policies: &BTreeMap<Kind, Arc<Snapshot>>) -> Self {
        let renew = |(kind, snapshot): (&Kind, &Arc<Snapshot>)| {
            let policy = match self.policies.get(kind) {
                Some(policy) => Arc::clone(policy),
                None => Arc::new(watch::Sender::new(Arc::clone(snapshot))),
            };
            policy.send_replace(Arc::clone(snapshot));
            (kind.clone(), policy)
        };
        let gone = self
            .policies
            .iter()
            .map(|(kind, policy)| (kind.clone(), Arc::clone(policy)));
        let policies = gone.chain(policies.iter().map(renew)).collect();
        Self {
            door: Arc::clone(&self.door),
            policies,
        }
    }

    /// Takes other models for sandboxes, those that run included.
    pub fn renew_inference(&self, book: Book) {
        self.door.inference.renew(book);
    }

    /// Gives every kind of sandbox this policy, and none of them models, until they are renewed.
    pub fn shut(&self, snapshot: &Arc<Snapshot>) {
        for policy in self.policies.values() {
            policy.send_replace(Arc::clone(snapshot));
        }
        self.door.inference.renew(Book::default());
    }

    /// Starts serving a sandbox's proxy listener; the task ends when its handle is dropped.
    pub fn start_proxy(
        &self,
        subject: Subject,
        listener: std::net::TcpListener,
    ) -> io::Result<AbortOnDropHandle<()>> {
        let policy = self
            .policy(&subject.kind)
            .ok_or_else(|| io::Error::other("its kind of sandbox has no policy"))?;
        let listener = TcpListener::from_std(listener)?;
        let door = Arc::clone(&self.door);
        let serving = serve(listener, subject, policy, door);
        Ok(AbortOnDropHandle::new(tokio::spawn(serving)))
    }

    /// Connects to the outside for a client of the SSH server: judged, resolved, vetted and written down
    /// like a program's connection, and looked into where policy has that.
    pub async fn open(
        &self,
        subject: Subject,
        destination: Destination,
    ) -> Result<Granted, OpenError> {
        let mut policy = self.policy(&subject.kind).ok_or(OpenError::Unavailable)?;
        let snapshot = Arc::clone(&policy.borrow_and_update());
        let flow = Flow {
            peer: Peer::Client,
            destination: destination.clone(),
        };
        let case = Case {
            door: &self.door,
            subject: &subject,
            flow: &flow,
            asked: None,
        };
        let admitted = match admit(&case, &snapshot).await {
            Ok(admitted) => admitted,
            Err(Refusal::Denied(denial)) => return Err(OpenError::Denied(denial.reason)),
            Err(Refusal::Unresolved) => return Err(OpenError::Unresolved(destination)),
            Err(Refusal::Unavailable) => return Err(OpenError::Unavailable),
        };
        let subject = Arc::new(subject);
        match admitted {
            Admitted::Through(vetted) => self.reach(vetted, subject, policy, flow).await,
            Admitted::Inspected(tls) => {
                let door = Arc::clone(&self.door);
                let client = Arc::new(Client::new(
                    Caller::Client,
                    (subject, Arc::default()),
                    policy,
                    door,
                ));
                let (near, far) = UnixStream::pair()?;
                let looking = async move {
                    if let Err(error) = inspect(far, BytesMut::new(), client, flow, tls).await {
                        tracing::debug!(%error, "inspected forward ended");
                    }
                };
                Ok(Granted {
                    way: Way::Socket(near),
                    tenure: None,
                    carrier: Some(AbortOnDropHandle::new(tokio::spawn(looking))),
                })
            }
        }
    }

    async fn reach(
        &self,
        vetted: Vetted,
        subject: Arc<Subject>,
        policy: watch::Receiver<Arc<Snapshot>>,
        flow: Flow,
    ) -> Result<Granted, OpenError> {
        let Reached { conduit, address } = dial(vetted, &self.door)
            .await
            .map_err(|error| OpenError::Dial(flow.destination.clone(), error))?;
        let (way, carrier) = match conduit.into_tcp() {
            Ok(stream) => (Way::Tcp(stream), None),
            Err(conduit) => {
                let (near, far) = UnixStream::pair()?;
                let carrier = AbortOnDropHandle::new(tokio::spawn(carry(far, conduit)));
                (Way::Socket(near), Some(carrier))
            }
        };
        let tenure = Some(Tenure {
            door: Arc::clone(&self.door),
            subject,
            policy,
            flow,
            address,
        });
        Ok(Granted {
            way,
            tenure,
            carrier,
        })
    }

    /// Takes where secrets may go by a new configuration.
    pub fn bind(&self, bindings: Bindings) {
        self.door.secrets.bind(bindings);
    }

    /// What sessions of a kind find in their environment: for each secret the placeholder that stands for it.
    pub fn placeholders(&self, kind: &Kind) -> Vec<(String, String)> {
        let keys = self.door.secrets.keys(kind).into_iter();
        keys.map(|key| (key.to_string(), format!("{PREFIX}{key}")))
            .collect()
    }

    fn policy(&self, kind: &Kind) -> Option<watch::Receiver<Arc<Snapshot>>> {
        self.policies.get(kind).map(|policy| policy.subscribe())
    }
}

async fn carry(mut far: UnixStream, mut conduit: Conduit) {
    let copied =
        copy_bidirectional_with_sizes(&mut far, &mut conduit, TUNNEL_BUFFER, TUNNEL_BUFFER).await;
    if let Err(error) = copied {
        tracing::debug!(%error, "forward through the upstream proxy ended");
    }
}
