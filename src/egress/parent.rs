//! The operator's upstream proxy: destinations are dialled by CONNECT at it (RFC 9110 §9.3.6).

pub mod replay;

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use data_encoding::BASE64;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::conduit::{Conduit, Reached, Stream};
use super::resolver::Resolver;
use super::upstream::{UpstreamError, interleave, race, secure};
use crate::config::{Resolve, UpstreamProxy};
use crate::model::{Destination, Host};
use crate::policy::Vetted;

/// The longest head of its answer, in bytes.
const ANSWER_LIMIT: usize = 16 * 1024;
/// The most addresses of one destination that it is asked for, one after the other.
const TRIES: usize = 4;
/// The longest file of credentials, in bytes.
const CREDENTIALS_LIMIT: u64 = 4096;

/// Why there are no credentials for it. Says nothing of them.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// The file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not fit to hold them, or holds something else.
    #[error("{}: {problem}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the mend.
        problem: String,
    },
}

/// The upstream proxy, with what it is told of who asks.
pub struct Parent {
    settings: UpstreamProxy,
    /// `Basic …` (RFC 7617).
    authorization: Option<Zeroizing<String>>,
}

impl fmt::Debug for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Parent {
    /// With the credentials that stand in the settings' file now.
    pub fn read(settings: &UpstreamProxy) -> Result<Self, ParentError> {
        let authorization = match &settings.credentials {
            Some(path) => Some(authorization(path)?),
            None => None,
        };
        Ok(Self {
            settings: settings.clone(),
            authorization,
        })
    }

    /// Whether it dials this destination.
    fn is_for(&self, destination: &Destination) -> bool {
        !self.settings.no_proxy.covers(destination)
    }

    /// Whether it alone turns this destination's name into addresses.
    pub(super) fn resolves(&self, destination: &Destination) -> bool {
        matches!(destination.host, Host::Name(_))
            && self.settings.resolve == Resolve::Proxy
            && self.is_for(destination)
    }

    /// Whether it dials what was vetted. An alias is the operator's name here, and unknown there.
    pub(super) fn dials(&self, vetted: &Vetted) -> bool {
        !vetted.is_alias() && self.is_for(vetted.destination())
    }

    /// Has it dial what was vetted. An address that it can't reach gives way to the next.
    pub(super) async fn dial(
        &self,
        vetted: &Vetted,
        resolver: &Resolver,
        tls: &Arc<ClientConfig>,
    ) -> Result<Reached, UpstreamError> {
        let mut failure = UpstreamError::Address(io::ErrorKind::AddrNotAvailable.into());
        for (target, address) in self.targets(vetted).into_iter().take(TRIES) {
            let mut stream = self.connect(resolver, tls).await?;
            match self.ask(&mut stream, &target).await {
                Ok(early) => {
                    let conduit = Conduit::new(early.freeze(), stream);
                    return Ok(Reached { conduit, address });
                }
                // What gateways say of those behind them (RFC 9110 §15.6.3 to 15.6.5).
                Err(error @ UpstreamError::ProxyRefused(502..=504)) => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    /// What it is asked for, and the address that this leads to as far as it is known.
    fn targets(&self, vetted: &Vetted) -> Vec<(String, Option<IpAddr>)> {
        let destination = vetted.destination();
        let by_name = matches!(destination.host, Host::Name(_));
        if by_name && self.settings.resolve != Resolve::Gate {
            let first = vetted.addresses().first().map(SocketAddr::ip);
            return vec![(destination.to_string(), first)];
        }
        let pinned = interleave(vetted.addresses()).into_iter();
        pinned
            .map(|address| (address.to_string(), Some(address.ip())))
            .collect()
    }

    async fn connect(
        &self,
        resolver: &Resolver,
        tls: &Arc<ClientConfig>,
    ) -> Result<Stream, UpstreamError> {
        let Destination { host, port } = &self.settings.address;
        let addresses = match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => (resolver.lookup(name).await)
                .map_err(|error| UpstreamError::Proxy(io::Error::other(error)))?,
        };
        let addresses: Vec<SocketAddr> = addresses
            .into_iter()
            .map(|address| SocketAddr::new(address, *port))
            .collect();
        let stream = race(interleave(&addresses))
            .await
            .map_err(UpstreamError::Proxy)?;
        if !self.settings.tls {
            return Ok(Stream::Plain(stream));
        }
        let secured = secure(stream, Arc::clone(tls), host).await;
        Ok(Stream::Tls(Box::new(
            secured.map_err(UpstreamError::Proxy)?,
        )))
    }

    /// Gives what came behind the answer's head.
    async fn ask(&self, stream: &mut Stream, target: &str) -> Result<BytesMut, UpstreamError> {
        let mut head = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
        if let Some(authorization) = &self.authorization {
            // Room first: what grows leaves a copy behind.
            let mut whole =
                Zeroizing::new(String::with_capacity(head.len() + authorization.len() + 32));
            whole.push_str(&head);
            whole.push_str("Proxy-Authorization: ");
            whole.push_str(authorization);
            whole.push_str("\r\n");
            head = whole;
        }
        head.push_str("\r\n");
        let asked = async {
            stream.write_all(head.as_bytes()).await?;
            stream.flush().await?;
            answer(stream).await
        };
        let (head, early) = asked.await.map_err(UpstreamError::ProxyAnswer)?;
        match status(&head) {
            Some(200..=299) => Ok(early),
            Some(status) => Err(UpstreamError::ProxyRefused(status)),
            None => Err(UpstreamError::ProxyAnswer(
                io::ErrorKind::InvalidData.into(),
            )),
        }
    }
}

/// An answer's head of at most `ANSWER_LIMIT` bytes, and what came behind it.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(BytesMut, BytesMut)> {
    let mut answer = BytesMut::with_capacity(1024);
    loop {
        if let Some(end) = end_of_head(&answer).filter(|end| *end <= ANSWER_LIMIT) {
            let head = answer.split_to(end);
            return Ok((head, answer));
        }
        if answer.len() >= ANSWER_LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Behind the first empty line.
fn end_of_head(answer: &[u8]) -> Option<usize> {
    let position = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(position + 4)
}

/// Of a status line (RFC 9112 §4).
fn status(head: &[u8]) -> Option<u16> {
    let rest = head
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| head.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, rest) = rest.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) || !rest.starts_with(b" ") && !rest.starts_with(b"\r")
    {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// `user:password` in one line, for Basic authentication.
fn authorization(path: &Path) -> Result<Zeroizing<String>, ParentError> {
    let unread = |source| ParentError::Read {
        path: path.to_owned(),
        source,
    };
    let unfit = |problem: String| ParentError::Unfit {
        path: path.to_owned(),
        problem,
    };
    let file = File::open(path).map_err(unread)?;
    let mode = file.metadata().map_err(unread)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(unfit(format!(
            "mode {mode:o}: others can read it; chmod 600 it"
        )));
    }
    // Room first: what grows leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(8192));
    file.take(CREDENTIALS_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let user = line.iter().position(|byte| *byte == b':').unwrap_or(0);
    // RFC 7617 §2: no controls, and a user before the first colon.
    if user == 0 || bytes.len() as u64 > CREDENTIALS_LIMIT || line.iter().any(u8::is_ascii_control)
    {
        let limit = CREDENTIALS_LIMIT;
        return Err(unfit(format!(
            "holds no user:password in one line of at most {limit} bytes"
        )));
    }
    let encoded = Zeroizing::new(BASE64.encode(line));
    let mut value = Zeroizing::new(String::with_capacity(encoded.len() + 8));
    value.push_str("Basic ");
    value.push_str(&encoded);
    Ok(value)
}

#[cfg(test)]
mod tests;
