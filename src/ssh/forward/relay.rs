//! Both directions of one forwarded connection, each ending by itself.

use std::io;

use bytes::BytesMut;
use russh::ChannelWriteHalf;
use russh::server::Msg;

use super::lines::Line;
use super::wire::Wire;
use crate::ssh::presence::Pulse;
use crate::ssh::spill::{Reader, SpillError};

/// The most bytes that are read at once.
const PIECE: usize = 64 * 1024;

/// Why a connection could not be carried on.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    /// What the client sent could not be kept.
    #[error(transparent)]
    Input(#[from] SpillError),
    /// The connection broke.
    #[error("the connection broke")]
    Connection(#[from] io::Error),
    /// Nothing was carried for too long.
    #[error("nothing was carried for too long")]
    Idle,
    /// The client is gone.
    #[error("the client takes no more data")]
    Client(#[from] russh::Error),
}

/// Carries both ways until both have ended. An end of one is told (FIN, EOF) and leaves the other open.
pub(super) async fn relay(
    wire: &Wire,
    line: &mut Line,
    client: &ChannelWriteHalf<Msg>,
    pulse: &Pulse,
) -> Result<(), RelayError> {
    wire.hurry()?;
    let input = line.input.take();
    let upward = async {
        match input {
            Some(input) => feed(input, wire, pulse).await,
            None => Ok(()),
        }
    };
    let downward = async {
        let carried = line
            .closed
            .run_until_cancelled(fetch(wire, client, pulse))
            .await;
        carried.unwrap_or(Ok(()))
    };
    tokio::try_join!(upward, downward).map(drop)
}

/// An end that no longer reads may still write: the rest is dropped.
async fn feed(mut input: Reader, to: &Wire, pulse: &Pulse) -> Result<(), RelayError> {
    while let Some(bytes) = input.next().await? {
        pulse.beat();
        if let Err(error) = to.write_all(&bytes).await {
            tracing::debug!(%error, "the other end no longer reads");
            break;
        }
    }
    if let Err(error) = to.finish() {
        tracing::debug!(%error, "the other end is gone");
    }
    Ok(())
}

/// No faster than the client's window allows.
async fn fetch(
    from: &Wire,
    client: &ChannelWriteHalf<Msg>,
    pulse: &Pulse,
) -> Result<(), RelayError> {
    loop {
        from.readable().await?;
        let mut bytes = BytesMut::with_capacity(PIECE);
        match from.try_read_buf(&mut bytes) {
            Ok(0) => return Ok(client.eof().await?),
            Ok(_) => {
                client.data_bytes(bytes.freeze()).await?;
                pulse.beat();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}
