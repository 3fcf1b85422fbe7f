//! Every sandbox's way out: the door that all share, and the policy that each kind of them has.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::admission::{Admitted, Case, Refusal, admit, deny, uninspected};
use super::tenure::Tenure;
use super::{Door, dial, serve};
use crate::model::{Destination, Kind, Peer, Subject};
use crate::policy::{Flow, Snapshot};

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
    Dial(Destination, #[source] io::Error),
}

/// A connection to the outside, for as long as policy grants it.
pub struct Granted {
    stream: TcpStream,
    tenure: Tenure,
}

impl Granted {
    /// Hands the connection to `work`, which is dropped when policy takes the flow back: `None`.
    pub async fn hold<T, F: Future<Output = T>>(
        self,
        work: impl FnOnce(TcpStream) -> F,
    ) -> Option<T> {
        self.tenure.hold(work(self.stream)).await
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

    /// Gives every kind of sandbox this policy, until it is renewed.
    pub fn shut(&self, snapshot: &Arc<Snapshot>) {
        for policy in self.policies.values() {
            policy.send_replace(Arc::clone(snapshot));
        }
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
    /// like a program's connection.
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
            // The client's end of it is outside, and trusts no authority of ours.
            Ok(Admitted::Inspected(permit, _)) => Err(deny(&case, uninspected(&permit))),
            Ok(Admitted::Through(vetted)) => Ok(vetted),
            Err(refusal) => Err(refusal),
        };
        let vetted = match admitted {
            Ok(vetted) => vetted,
            Err(Refusal::Denied(denial)) => return Err(OpenError::Denied(denial.reason)),
            Err(Refusal::Unresolved) => return Err(OpenError::Unresolved(destination)),
            Err(Refusal::Unavailable) => return Err(OpenError::Unavailable),
        };
        let (address, stream) = dial(vetted)
            .await
            .and_then(|stream| Ok((stream.peer_addr()?.ip(), stream)))
            .map_err(|error| OpenError::Dial(destination, error))?;
        let tenure = Tenure {
            door: Arc::clone(&self.door),
            subject: Arc::new(subject),
            policy,
            flow,
            address,
        };
        Ok(Granted { stream, tenure })
    }

    fn policy(&self, kind: &Kind) -> Option<watch::Receiver<Arc<Snapshot>>> {
        self.policies.get(kind).map(|policy| policy.subscribe())
    }
}
