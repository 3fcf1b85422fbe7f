//! Somebody who has logged in, and the sandbox of their connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;

use super::Host;
use super::presence::Presence;
use super::visit::Route;
use crate::config::Login;
use crate::egress::{Granted, OpenError};
use crate::model::{Destination, Subject};
use crate::policy::Principal;
use crate::sandbox::{Lease, Refusal, Session, Spawn};

/// A principal on one connection. Its sandbox is leased for the first program or forwarded
/// connection, and ends with the guest.
pub(super) struct Guest {
    host: Arc<Host>,
    principal: Principal,
    route: Route,
    presence: Presence,
    sandbox: OnceCell<Sandbox>,
}

/// A leased sandbox whose egress is served.
struct Sandbox {
    lease: Lease,
    _proxy: AbortOnDropHandle<()>,
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
        Self {
            host,
            principal,
            route,
            presence,
            sandbox: OnceCell::new(),
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

    /// How long a channel may carry nothing.
    pub(super) fn idle_limit(&self) -> Option<Duration> {
        self.host.config.manners.timeouts.idle
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
        let lease = self.lease().await?;
        lease.spawn(spawn).await.map_err(StartError::Spawn)
    }

    /// The connection's sandbox, leased now if it is the first time.
    pub(super) async fn lease(&self) -> Result<&Lease, StartError> {
        let sandbox = self.sandbox.get_or_try_init(|| self.settle()).await?;
        Ok(&sandbox.lease)
    }

    /// Connects to the outside, as policy has it.
    pub(super) async fn go_out(&self, destination: Destination) -> Result<Granted, OutError> {
        let subject = self.subject(self.lease().await?);
        Ok(self.host.gateway.open(subject, destination).await?)
    }

    /// On whose behalf its sandbox runs.
    fn subject(&self, lease: &Lease) -> Subject {
        Subject {
            sandbox: lease.id(),
            login: self.principal.login().clone(),
            key: self.principal.key().clone(),
        }
    }

    async fn settle(&self) -> Result<Sandbox, StartError> {
        let login = self.principal.login();
        let mut lease = self
            .host
            .monitor
            .lease(login)
            .await
            .map_err(StartError::Lease)?;
        let listener = lease
            .take_listener()
            .ok_or(StartError::Listener(lease.id()))?;
        let proxy = self
            .host
            .gateway
            .start_proxy(self.subject(&lease), listener)
            .map_err(StartError::Proxy)?;
        Ok(Sandbox {
            lease,
            _proxy: proxy,
        })
    }
}
