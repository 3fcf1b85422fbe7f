//! What an upstream proxy's answer to CONNECT is taken for, for tests and fuzzing.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncReadExt;

use super::{answer, status};

/// The longest head that is read, in bytes.
pub const LIMIT: usize = super::ANSWER_LIMIT;

/// The status of an answer that arrives in two pieces, `one` and `two`, and what the tunnel begins with; `None` where
/// it is no answer.
pub fn connected(one: &[u8], two: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut stream = AsyncReadExt::chain(one, two);
    let asked = async {
        let (head, early) = answer(&mut stream).await?;
        let mut tunnel = early.to_vec();
        stream.read_to_end(&mut tunnel).await?;
        std::io::Result::Ok((head, tunnel))
    };
    // Nothing is waited for: the bytes are there.
    let Poll::Ready(Ok((head, tunnel))) = pin!(asked).poll(&mut Context::from_waker(Waker::noop()))
    else {
        return None;
    };
    Some((status(&head)?, tunnel))
}
