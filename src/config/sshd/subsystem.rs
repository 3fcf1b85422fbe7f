//! Subsystem: sftp, by our own server or a program inside the sandbox, and nothing else.

use super::settings::{Fault, Settings};
use crate::config::Sftp;

/// Which server a file names; where none does our own, which nobody need install.
pub(super) fn sftp(settings: &Settings) -> Result<Sftp, Fault> {
    let mut sftp = Sftp::default();
    let mut seen: Vec<&str> = Vec::new();
    for setting in settings.every("Subsystem") {
        let [name, ..] = setting.line.arguments.as_slice() else {
            continue;
        };
        if seen.contains(&name.as_str()) {
            return Err(setting.fault(format_args!("Subsystem '{name}' already defined.")));
        }
        seen.push(name);
    }
    for setting in settings.every("Subsystem") {
        let problem = match setting.line.arguments.as_slice() {
            [_] | [] => "Missing subsystem command.",
            [name, program] if name == "sftp" && is_sftp(program) => {
                if program.starts_with('/') {
                    sftp = Sftp::Program(program.into());
                }
                continue;
            }
            [name, program, ..] if name == "sftp" && is_sftp(program) => {
                "refused: sftp takes no arguments here"
            }
            _ => "refused: the one subsystem is sftp; write `Subsystem sftp internal-sftp`",
        };
        return Err(setting.fault(problem));
    }
    Ok(sftp)
}

/// Whatever a program of another name speaks, it does so inside the sandbox.
fn is_sftp(program: &str) -> bool {
    program == "internal-sftp" || program.starts_with('/')
}
