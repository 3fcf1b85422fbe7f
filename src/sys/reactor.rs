//! Descriptors under tokio's reactor.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the current runtime's reactor (epoll(7)). It must be non-blocking.
pub fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open and names the same description until it is dropped, by the AsyncFd itself.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}
