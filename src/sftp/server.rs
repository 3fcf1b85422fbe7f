//! The loop: a request, its answer, until the input ends.

use std::io::{BufReader, Read, Write};

use super::SftpError;
use super::accounts::Accounts;
use super::extensions::EXTENSIONS;
use super::handles::Handles;
use super::packet::{Fields, LONGEST_PACKET, Malformed, Reply, receive};
use super::paths;
use super::status::{Refusal, Status};

/// The version spoken, whatever the client's: a client that knows less can't talk to anybody today.
const VERSION: u32 = 3;

/// SSH_FXP_INIT.
const INIT: u8 = 1;

/// How much is read ahead of one packet, in bytes: many small requests, or a good part of a large one.
const READ_AHEAD: usize = 64 * 1024;

/// What the requests share.
pub(super) struct Server<'a> {
    pub(super) handles: Handles,
    pub(super) accounts: Accounts,
    /// The directory that `~` stands for.
    pub(super) home: &'a [u8],
}

/// Serves one client until its input ends. Relative paths start at the current directory.
pub fn serve(input: impl Read, mut output: impl Write, home: &[u8]) -> Result<(), SftpError> {
    let mut input = BufReader::with_capacity(READ_AHEAD, input);
    let mut packet = Vec::with_capacity(LONGEST_PACKET as usize);
    let mut reply = Reply::default();
    let mut server = None;
    while receive(&mut input, &mut packet)? {
        let mut fields = Fields::of(&packet);
        let kind = fields.byte().map_err(|_| SftpError::Malformed(0))?;
        let answered = match &mut server {
            None if kind == INIT => {
                server = Some(Server {
                    handles: Handles::bounded(),
                    accounts: Accounts::read(),
                    home,
                });
                greet(&mut fields, &mut reply)
            }
            Some(server) if kind != INIT => server.answer(kind, &mut fields, &mut reply),
            _ => return Err(SftpError::OutOfTurn(kind)),
        };
        answered.map_err(|Malformed| SftpError::Malformed(kind))?;
        reply.send(&mut output).map_err(SftpError::Output)?;
    }
    Ok(())
}

fn greet(fields: &mut Fields<'_>, reply: &mut Reply) -> Result<(), Malformed> {
    fields.u32()?;
    reply.version(VERSION, EXTENSIONS);
    Ok(())
}

impl Server<'_> {
    fn answer(
        &mut self,
        kind: u8,
        fields: &mut Fields<'_>,
        reply: &mut Reply,
    ) -> Result<(), Malformed> {
        reply.answers(fields.u32()?);
        match self.perform(kind, fields, reply) {
            Ok(()) => Ok(()),
            Err(Refusal::Malformed(malformed)) => Err(malformed),
            Err(refusal) => {
                reply.status(refusal.status(), &refusal.to_string());
                Ok(())
            }
        }
    }

    /// The table of requests, by SSH_FXP_*.
    fn perform(
        &mut self,
        kind: u8,
        fields: &mut Fields<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refusal> {
        match kind {
            3 => self.open(fields, reply),
            4 => self.close(fields, reply),
            5 => self.read(fields, reply),
            6 => self.write(fields, reply),
            7 => paths::lstat(fields, reply),
            8 => self.fstat(fields, reply),
            9 => paths::setstat(fields, reply),
            10 => self.fsetstat(fields, reply),
            11 => self.opendir(fields, reply),
            12 => self.readdir(fields, reply),
            13 => paths::remove(fields, reply),
            14 => paths::mkdir(fields, reply),
            15 => paths::rmdir(fields, reply),
            16 => paths::realpath(fields, reply),
            17 => paths::stat(fields, reply),
            18 => paths::rename(fields, reply),
            19 => paths::readlink(fields, reply),
            20 => paths::symlink(fields, reply),
            200 => self.extended(fields, reply),
            _ => Err(Refusal::Unsupported),
        }
    }
}

/// The answer of a request that has nothing else to say.
pub(super) fn done(reply: &mut Reply) {
    reply.status(Status::Ok, "Success");
}
