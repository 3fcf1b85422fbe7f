//! Somebody who has logged in, and the sandbox of their connection.

use std::sync::Arc;

use super::Host;
use super::presence::{Limits, Occupied, Presence, Pulse};
use super::tenancy::{Sandbox, Stay};
use super::visit::Route;
use crate::config::{ChannelKind, Login};
use crate::egress::{Granted, OpenError};
use crate::model::{Destination, Holder, Kind, Subject};
use crate::policy::Principal;
use crate::sandbox::{Refusal, Session, Spawn};

/// A principal on one connection. Its sandbox is leased for the first program or forwarded connection.
pub(super) struct Guest {
    host: Arc<Host>,
    principal: Principal,
    kind: Kind,
    route: Route,
    presence: Presence,
    stay: Stay,
}

/// A session, or a forwarded connection, that is there.
#[derive(Debug)]
pub(super) struct Use {
    _connection: Occupied,
    _sandbox: Occupied,
}

/// Why a connection to the outside could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutError {
    /// There is nobody to make it for.
    #[error(transparent)]
    Sandbox(#[from] StartError),
    /// It was denied, or failed.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// No sandbox could be had.
    #[error("no sandbox")]
    Lease(#[source] Refusal),
    /// The sandbox came without the listener that is its only way out.
    #[error("sandbox {0} came without its proxy listener")]
    Listener(crate::model::SandboxId),
    /// Its egress could not be served.
    #[error("cannot serve the sandbox's proxy")]
    Proxy(#[source] std::io::Error),
    /// The program was not executed.
    #[error("the program was not started")]
    Spawn(#[source] Refusal),
}

impl Guest {
    pub(super) fn new(
        host: Arc<Host>,
        principal: Principal,
        route: Route,
        presence: Presence,
    ) -> Self {
        let (login, key) = (principal.login(), principal.key());
        let (kind, sharing) = host.config.sandboxes_for(login, key, principal.names());
        let tenancies = &host.tenancies;
        let stay = tenancies.stay(kind.clone(), key.clone(), sharing, presence.clone());
        Self {
            host,
            principal,
            kind,
            route,
            presence,
            stay,
        }
    }

    /// Who it is.
    pub(super) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Where the connection comes from, and where to.
    pub(super) fn route(&self) -> Route {
        self.route
    }

    /// The connection's use.
    pub(super) fn presence(&self) -> &Presence {
        &self.presence
    }

    /// The pulse of a channel of this kind that opens now.
    pub(super) fn pulse(&self, kind: ChannelKind) -> Pulse {
        let timeouts = &self.host.config.manners.timeouts;
        self.presence.pulse(Limits {
            own: timeouts.of(kind),
            all: timeouts.all_idle,
        })
    }

    /// Variables that name the secrets of its sandboxes.
    pub(super) fn placeholders(&self) -> Vec<(String, String)> {
        self.host.gateway.placeholders(&self.kind)
    }

    /// What an interactive shell begins with.
    pub(super) fn motd(&self) -> Option<&str> {
        self.host.motd.as_deref()
    }

    /// What the operator says of the login; `None` only for a login that was never configured.
    pub(super) fn login(&self) -> Option<&Login> {
        self.host.config.logins.get(self.principal.login())
    }

    /// Starts a program in the connection's sandbox. A failed lease is tried anew by the next program.
    pub(super) async fn start(&self, spawn: Spawn) -> Result<Session, StartError> {
        let sandbox = self.lease().await?;
        let session = sandbox.spawn(spawn).await.map_err(StartError::Spawn)?;
        sandbox.enter(session.id(), &self.principal);
        Ok(session)
    }

    /// The connection's sandbox as far as there is one.
    pub(super) async fn standing(&self) -> Option<Arc<Sandbox>> {
        self.stay.standing().await
    }

    /// Counts as use of the connection and of its sandbox until the guard is dropped.
    pub(super) fn occupy(&self) -> Use {
        Use {
            _connection: self.presence.occupy(),
            _sandbox: self.stay.occupy(),
        }
    }

    /// The connection's sandbox; a new one where there is none, or none that lives.
    pub(super) async fn lease(&self) -> Result<Arc<Sandbox>, StartError> {
        let Host {
            monitor, gateway, ..
        } = &*self.host;
        self.stay.sandbox(monitor, gateway).await
    }

    /// Connects to the outside, as policy has it.
    pub(super) async fn go_out(&self, destination: Destination) -> Result<Granted, OutError> {
        let subject = Subject {
            sandbox: self.lease().await?.id(),
            kind: self.kind.clone(),
            holder: Holder::Key(self.principal.key().clone()),
        };
        Ok(self.host.gateway.open(subject, destination).await?)
    }
}
