//! What a key's own limits make of a session: its program and its variables.

use super::environment::{Environment, Taken};
use crate::policy::Grants;
use crate::sandbox::Program;

/// The name of the built-in SFTP server where a command is written (`sshd_config(5)`, Subsystem).
const SFTP: &[u8] = b"internal-sftp";

/// The variable that tells a forced command what was asked for (ssh(1)).
const ORIGINAL: &str = "SSH_ORIGINAL_COMMAND";

/// The program that runs: the forced one, which finds what was asked for in its environment, or that.
/// Or why nothing does.
pub(super) fn narrow(
    grants: &Grants,
    asked: Program,
    environment: &mut Environment,
) -> Result<Program, &'static str> {
    // A program without its orders is another one.
    let mut set = |name: &[u8], value: &[u8]| match environment.set(name, value) {
        Taken::Yes => Ok(()),
        Taken::No => Err("there is no room for a variable of the key's options"),
    };
    for (name, value) in &grants.environment {
        set(name, value)?;
    }
    let Some(forced) = &grants.command else {
        return Ok(asked);
    };
    match &asked {
        // As in sshd: without the variable, a shell was asked for.
        Program::Shell => {}
        Program::Command(line) => set(ORIGINAL.as_bytes(), line)?,
        Program::Sftp => set(ORIGINAL.as_bytes(), SFTP)?,
    }
    match asked {
        _ if forced != SFTP => Ok(Program::Command(forced.clone())),
        Program::Sftp => Ok(asked),
        Program::Shell | Program::Command(_) => Err("the key is for sftp alone"),
    }
}
