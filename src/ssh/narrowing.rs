//! What a key's own limits make of a session: its program and its variables.

use super::environment::{Environment, Taken};
use crate::policy::Grants;
use crate::sandbox::Program;

/// The name of the built-in SFTP server where a command is written (`sshd_config(5)`, Subsystem).
const SFTP: &[u8] = b"internal-sftp";

/// The variable that tells a forced command what was asked for (ssh(1)).
const ORIGINAL: &str = "SSH_ORIGINAL_COMMAND";

/// The program that runs: the forced one, which finds what was asked for in its environment, or that.
/// `None` if a variable that belongs to it cannot be set, since a program without its orders is another.
pub(super) fn narrow(
    grants: &Grants,
    asked: Program,
    environment: &mut Environment,
) -> Option<Program> {
    let mut set = |name: &[u8], value: &[u8]| match environment.set(name, value) {
        Taken::Yes => Some(()),
        Taken::No => None,
    };
    for (name, value) in &grants.environment {
        set(name, value)?;
    }
    let Some(forced) = &grants.command else {
        return Some(asked);
    };
    match &asked {
        // As in sshd: without the variable, a shell was asked for.
        Program::Shell => {}
        Program::Command(line) => set(ORIGINAL.as_bytes(), line)?,
        Program::Sftp => set(ORIGINAL.as_bytes(), SFTP)?,
    }
    Some(if forced == SFTP {
        Program::Sftp
    } else {
        Program::Command(forced.clone())
    })
}
