//! An SFTP server, version 3 with OpenSSH's extensions (draft-ietf-secsh-filexfer-02; PROTOCOL §4).
//!
//! One thread, one request at a time, answered in order. Names are bytes and are never decoded. It
//! judges nothing: what a client may do is what the kernel lets this process do.

mod accounts;
mod attributes;
mod extensions;
mod files;
mod handles;
mod listing;
mod packet;
mod paths;
mod server;
mod status;

pub use server::serve;

/// What ends the server before its input does.
#[derive(Debug, thiserror::Error)]
pub enum SftpError {
    /// The client's packets can't be read, or end in the middle of one.
    #[error("cannot read a packet: {0}")]
    Input(#[source] std::io::Error),
    /// An answer can't be written.
    #[error("cannot write an answer: {0}")]
    Output(#[source] std::io::Error),
    /// A packet of this many bytes is longer than any that is needed.
    #[error("a packet of {0} bytes")]
    Longer(u32),
    /// A packet's fields are not what its type asks for.
    #[error("malformed packet of type {0}")]
    Malformed(u8),
    /// A packet of this type came where INIT has to (or INIT came again).
    #[error("packet of type {0} out of turn")]
    OutOfTurn(u8),
}

#[cfg(test)]
mod tests;
