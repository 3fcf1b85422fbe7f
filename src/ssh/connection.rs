//! One connection: russh's callbacks, which decide or pass on, and never wait for a program.

use std::net::SocketAddr;
use std::sync::Arc;

use russh::keys::Certificate;
use russh::server::{
    Auth, ChannelOpenHandle, Handler, InvalidPublicKey, Msg, PublicKeyOffer, Response, Session,
    VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
use tokio_util::task::TaskTracker;

use super::auth::{Answer as KeyAnswer, Begun, Doorkeeper};
use super::channels::Channels;
use super::forward::{Bound, Forbidden, Forwards, Goal};
use super::shares::Share;
use super::visit::{Route, Wait};
use super::{Host, signals, terminal};
use crate::sandbox::{Program, SocketPath};

mod login;
mod reply;

/// One connection.
pub(super) struct Connection {
    host: Arc<Host>,
    source: SocketAddr,
    route: Route,
    tasks: TaskTracker,
    stage: Stage,
}

enum Stage {
    /// Nobody has logged in.
    Outside { doorkeeper: Doorkeeper, wait: Wait },
    /// Somebody has.
    Inside {
        channels: Channels,
        forwards: Forwards,
        _share: Share,
    },
}

impl Connection {
    pub(super) fn new(host: Arc<Host>, route: Route, tasks: TaskTracker, wait: Wait) -> Self {
        let source = route.client;
        let stage = Stage::Outside {
            doorkeeper: Doorkeeper::new(host.clone(), source, &wait),
            wait,
        };
        Self {
            host,
            source,
            route,
            tasks,
            stage,
        }
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_began(&mut self, user: &str) -> Result<(), russh::Error> {
        let Stage::Outside { doorkeeper, .. } = &mut self.stage else {
            return Ok(());
        };
        match doorkeeper.begin(user) {
            Begun::Open => Ok(()),
            Begun::Unwelcome => Err(russh::Error::Disconnect),
        }
    }

    async fn authentication_banner(&mut self) -> Result<Option<String>, russh::Error> {
        Ok(self.host.banner.clone())
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        let Stage::Outside { doorkeeper, .. } = &mut self.stage else {
            return Ok(Auth::reject());
        };
        Ok(match doorkeeper.consider(user, offer).await {
            KeyAnswer::Prove => Auth::Accept,
            KeyAnswer::Refused => Auth::reject(),
        })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        let Stage::Outside { doorkeeper, .. } = &mut self.stage else {
            return Ok(Auth::reject());
        };
        let outcome = doorkeeper.admit(user, key).await;
        Ok(self.conclude(outcome))
    }

    async fn auth_openssh_certificate_key(
        &mut self,
        user: &str,
        _: &Certificate,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        self.auth_publickey(user, key).await
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        Ok(self.code(user, response).await)
    }

    async fn auth_publickey_invalid(
        &mut self,
        user: &str,
        certificate: Option<&Certificate>,
        reason: InvalidPublicKey,
    ) -> Result<(), russh::Error> {
        if let Stage::Outside { doorkeeper, .. } = &mut self.stage {
            doorkeeper.note(user, certificate, reason);
        }
        Ok(())
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), russh::Error> {
        session.announce_host_keys()
    }

    async fn channel_open_unknown(
        &mut self,
        channel_type: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        match channel_type {
            "tun@openssh.com" => Forbidden::Tunnel.reject(reply).await,
            _ => reply.reject(ChannelOpenFailure::UnknownChannelType).await,
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        // Dropping the reply refuses (before the login russh does not get here).
        let Stage::Inside { channels, .. } = &mut self.stage else {
            return Ok(());
        };
        match channels.open(channel) {
            Ok(()) => reply.accept().await,
            Err(failure) => reply.reject(failure).await,
        }
        Ok(())
    }

    async fn channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        Forbidden::Display.reject(reply).await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if let Stage::Inside { forwards, .. } = &self.stage {
            forwards
                .connect(channel, Goal::Tcp(host.to_owned(), port), reply)
                .await;
        }
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        channel: ChannelId,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if let Stage::Inside { forwards, .. } = &self.stage {
            forwards.confirmed(channel);
        }
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, russh::Error> {
        let Stage::Inside { forwards, .. } = &mut self.stage else {
            return Ok(false);
        };
        // russh wants the answer here: like its kin below, a callback that waits, for a bounded time.
        match forwards.listen(address, *port, session.handle()).await {
            Ok(bound) => *port = bound,
            Err(error) => {
                let what = format_args!("listening on {} port {port}", address.escape_debug());
                return self.refuse(what, &error, session);
            }
        }
        Ok(true)
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _: &mut Session,
    ) -> Result<bool, russh::Error> {
        let Stage::Inside { forwards, .. } = &mut self.stage else {
            return Ok(false);
        };
        Ok(forwards.cancel(&Bound::Tcp(address.to_owned(), port)).await)
    }

    async fn streamlocal_forward(
        &mut self,
        path: &[u8],
        session: &mut Session,
    ) -> Result<bool, russh::Error> {
        let Stage::Inside { forwards, .. } = &mut self.stage else {
            return Ok(false);
        };
        match forwards.listen_socket(path, session.handle()).await {
            Ok(()) => Ok(true),
            Err(error) => {
                let what = format_args!("listening on {}", path.escape_ascii());
                self.refuse(what, &error, session)
            }
        }
    }

    async fn cancel_streamlocal_forward(
        &mut self,
        path: &[u8],
        _: &mut Session,
    ) -> Result<bool, russh::Error> {
        let Stage::Inside { forwards, .. } = &mut self.stage else {
            return Ok(false);
        };
        match SocketPath::try_from(path.to_vec()) {
            Ok(path) => Ok(forwards.cancel(&Bound::Socket(path)).await),
            Err(_) => Ok(false),
        }
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &[u8],
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if let Stage::Inside { forwards, .. } = &self.stage {
            forwards
                .connect(channel, Goal::Socket(path.to_vec()), reply)
                .await;
        }
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &[u8],
        columns: u32,
        rows: u32,
        x_pixels: u32,
        y_pixels: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let terminal =
            terminal::terminal(terminal::window(columns, rows, x_pixels, y_pixels), modes);
        self.answer(channel, session, |channels| {
            channels.terminal(channel, term, terminal)
        })
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &[u8],
        value: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.answer(channel, session, |channels| {
            channels.variable(channel, name, value)
        })
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let handle = session.handle();
        self.answer(channel, session, |channels| {
            channels.start(channel, Program::Shell, handle)
        })
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let (program, handle) = (Program::Command(command.to_vec()), session.handle());
        self.answer(channel, session, |channels| {
            channels.start(channel, program, handle)
        })
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if name != b"sftp" {
            let name = name.escape_ascii();
            tracing::info!(source = %self.source, %name, "subsystem refused: only sftp is offered");
            return self.answer(channel, session, |channels| channels.refuse(channel));
        }
        let handle = session.handle();
        self.answer(channel, session, |channels| {
            channels.start(channel, Program::Sftp, handle)
        })
    }

    async fn agent_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<bool, russh::Error> {
        let Stage::Inside {
            channels, forwards, ..
        } = &mut self.stage
        else {
            return Ok(false);
        };
        match forwards.agent(session.handle()) {
            Ok(door) => Ok(channels.agent(channel, door)),
            Err(forbidden) => self.refuse("agent forwarding", &forbidden, session),
        }
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.refuse("X11 forwarding", &Forbidden::Display, session)?;
        self.answer(channel, session, |channels| channels.refuse(channel))
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        x_pixels: u32,
        y_pixels: u32,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let size = terminal::window(columns, rows, x_pixels, y_pixels);
        self.tell(|channels| channels.resize(channel, size));
        Ok(())
    }

    async fn signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if let Some(number) = signals::number(&signal) {
            self.tell(|channels| channels.signal(channel, number));
        } else {
            tracing::debug!(source = %self.source, ?signal, "unknown signal ignored");
        }
        Ok(())
    }

    async fn break_request(
        &mut self,
        channel: ChannelId,
        _: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.answer(channel, session, |channels| channels.interrupt(channel))
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if let Stage::Inside {
            channels, forwards, ..
        } = &mut self.stage
            && !forwards.lines().data(channel, data)
            && let Err(error) = channels.data(channel, data)
        {
            tracing::error!(source = %self.source, %channel, error = &error as &dyn std::error::Error, "channel closed");
            session.close(channel)?;
        }
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if let Stage::Inside {
            channels, forwards, ..
        } = &mut self.stage
            && !forwards.lines().finish(channel)
        {
            channels.finish(channel);
        }
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if let Stage::Inside {
            channels, forwards, ..
        } = &mut self.stage
            && !forwards.lines().close(channel)
        {
            channels.close(channel);
        }
        Ok(())
    }
}
