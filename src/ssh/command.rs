//! What a session runs, given what was asked for and what the operator and the key say instead.

use crate::sandbox::Program;

/// The name by which a forced command means the built-in SFTP server (sshd_config(5), ForceCommand).
const INTERNAL_SFTP: &str = "internal-sftp";

/// What runs, and what had been asked for in its place (SSH_ORIGINAL_COMMAND; none for a shell).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) program: Program,
    pub(super) original: Option<Vec<u8>>,
}

/// The operator's command (`force_command`) wins over the key's (`command=`, sshd(8)), and both over
/// the client's wish, whatever kind it is.
pub(super) fn choose(asked: Program, operator: Option<&str>, key: Option<&str>) -> Chosen {
    let Some(forced) = operator.or(key) else {
        return Chosen {
            program: asked,
            original: None,
        };
    };
    let original = match asked {
        Program::Shell => None,
        Program::Command(command) => Some(command),
        Program::Sftp => Some(INTERNAL_SFTP.into()),
    };
    let program = if forced == INTERNAL_SFTP {
        Program::Sftp
    } else {
        Program::Command(forced.into())
    };
    Chosen { program, original }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operator_before_key_before_client() {
        let asked = || Program::Command(b"asked".to_vec());
        assert_eq!(choose(asked(), None, None).program, asked());
        assert_eq!(choose(asked(), None, None).original, None);
        let by_key = choose(asked(), None, Some("key"));
        assert_eq!(by_key.program, Program::Command(b"key".to_vec()));
        assert_eq!(by_key.original, Some(b"asked".to_vec()));
        let by_both = choose(Program::Shell, Some("operator"), Some("key"));
        assert_eq!(by_both.program, Program::Command(b"operator".to_vec()));
        assert_eq!(by_both.original, None);
    }

    #[test]
    fn internal_sftp_is_sftp_whatever_is_asked_for() {
        let chosen = choose(Program::Shell, Some("internal-sftp"), None);
        assert_eq!(chosen.program, Program::Sftp);
        let chosen = choose(Program::Sftp, Some("logger"), None);
        assert_eq!(chosen.program, Program::Command(b"logger".to_vec()));
        assert_eq!(chosen.original, Some(b"internal-sftp".to_vec()));
    }
}
