//! What a session runs, given what was asked for and what the operator and the key say instead.

use crate::policy::Grants;
use crate::sandbox::Program;

/// The name by which a forced command means the built-in SFTP server (sshd_config(5), ForceCommand).
const INTERNAL_SFTP: &[u8] = b"internal-sftp";

/// The most bytes of a command that a forced one finds in its environment.
const ORIGINAL_BYTES: usize = 32 * 1024;

/// What runs, and what had been asked for in its place (`SSH_ORIGINAL_COMMAND`; none for a shell).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) program: Program,
    pub(super) original: Option<Vec<u8>>,
}

/// The operator's command (`force_command`) wins over the key's (`command=`, sshd(8)), and both over
/// the client's wish, whatever kind it is. Or why nothing runs.
pub(super) fn choose(
    asked: Program,
    operator: Option<&str>,
    grants: &Grants,
) -> Result<Chosen, &'static str> {
    let Some(forced) = operator.map(str::as_bytes).or(grants.command.as_deref()) else {
        return Ok(Chosen {
            program: asked,
            original: None,
        });
    };
    let program = match (&asked, forced == INTERNAL_SFTP) {
        (_, false) => Program::Command(forced.to_vec()),
        (Program::Sftp, true) => Program::Sftp,
        // As in sshd, which says so and ends.
        (Program::Shell | Program::Command(_), true) => return Err("sftp is all that is allowed"),
    };
    let original = match asked {
        Program::Shell => None,
        Program::Command(command) => Some(command),
        Program::Sftp => Some(INTERNAL_SFTP.into()),
    };
    if original
        .as_ref()
        .is_some_and(|original| original.len() > ORIGINAL_BYTES)
    {
        return Err("the command is too long for SSH_ORIGINAL_COMMAND");
    }
    Ok(Chosen { program, original })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(command: &str) -> Grants {
        Grants {
            command: Some(command.into()),
            ..Grants::full()
        }
    }

    #[test]
    fn operator_before_key_before_client() {
        let asked = || Program::Command(b"asked".to_vec());
        let free = choose(asked(), None, &Grants::full()).unwrap();
        assert_eq!((free.program, free.original), (asked(), None));
        let by_key = choose(asked(), None, &key("key")).unwrap();
        assert_eq!(by_key.program, Program::Command(b"key".to_vec()));
        assert_eq!(by_key.original, Some(b"asked".to_vec()));
        let by_both = choose(Program::Shell, Some("operator"), &key("key")).unwrap();
        assert_eq!(by_both.program, Program::Command(b"operator".to_vec()));
        assert_eq!(by_both.original, None);
    }

    #[test]
    fn internal_sftp_is_sftp_and_nothing_else() {
        let full = Grants::full();
        let chosen = choose(Program::Sftp, Some("internal-sftp"), &full).unwrap();
        assert_eq!(chosen.program, Program::Sftp);
        choose(Program::Shell, Some("internal-sftp"), &full).unwrap_err();
        choose(
            Program::Command(b"id".to_vec()),
            None,
            &key("internal-sftp"),
        )
        .unwrap_err();
        let chosen = choose(Program::Sftp, Some("logger"), &full).unwrap();
        assert_eq!(chosen.program, Program::Command(b"logger".to_vec()));
        assert_eq!(chosen.original, Some(b"internal-sftp".to_vec()));
    }

    #[test]
    fn a_command_that_its_variable_cannot_hold_is_refused() {
        let long = || Program::Command(vec![b'x'; ORIGINAL_BYTES + 1]);
        choose(long(), None, &Grants::full()).unwrap();
        choose(long(), None, &key("key")).unwrap_err();
    }
}
