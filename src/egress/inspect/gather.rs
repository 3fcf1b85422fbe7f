//! The body of a request, when rules ask about it: read whole, but never more than they ask for.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// The longest that a body which is judged may take.
const BODY_TIME: Duration = Duration::from_secs(60);

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(in crate::egress) enum GatherError {
    #[error("the body broke off")]
    Broken(#[from] hyper::Error),
    #[error("the body, which rules ask about, did not come within {BODY_TIME:?}")]
    Slow,
}

/// The body, or its first `limit + 1` bytes. Trailers are dropped (RFC 9110 §6.5.1): nothing judged them.
pub(in crate::egress) async fn gather(body: Incoming, limit: u64) -> Result<Bytes, GatherError> {
    tokio::time::timeout(BODY_TIME, read(body, limit))
        .await
        .map_err(|_| GatherError::Slow)?
}

async fn read(mut body: Incoming, limit: u64) -> Result<Bytes, GatherError> {
    let most = usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .saturating_add(1);
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            let room = most - bytes.len();
            bytes.extend_from_slice(data.get(..room).unwrap_or(&data));
            if bytes.len() == most {
                break;
            }
        }
    }
    Ok(bytes.freeze())
}

/// How long the body of a refused request is read, and how much of it.
const DRAIN_TIME: Duration = Duration::from_secs(5);
const DRAIN_BYTES: usize = 64 << 20;

/// Reads what a client still sends after its request was refused: curl 7 takes a stream that is reset
/// (RFC 9113 §8.1, NO_ERROR) for one that failed, and loses the answer.
pub(in crate::egress) async fn drain(mut body: Incoming) {
    let mut left = DRAIN_BYTES;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // Late or not, nothing of it counts.
    tokio::time::timeout(DRAIN_TIME, rest).await.ok();
}
