//! sshd_config(5), for those who have one: read as sshd reads it, and carried over or refused word by word.

use std::path::{Path, PathBuf};

use super::{Config, Invoker};

mod addresses;
mod algorithms;
mod channels;
mod conditions;
mod forwarding;
mod include;
mod keywords;
mod lexer;
mod login;
mod logins;
mod manners;
mod mapping;
mod methods;
mod settings;
mod strict;
mod subsystem;
mod values;

pub use settings::Fault;
use settings::Settings;

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SshdError {
    /// A file can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Lines are wrong, or ask for what is not done here. Said in sshd's form, one a line.
    #[error("{}\n{}: terminating, {} bad configuration options", lines(faults), source_file.display(), faults.len())]
    Rejected {
        /// The file that the server was started with.
        source_file: PathBuf,
        /// What is wrong.
        faults: Vec<Fault>,
    },
}

fn lines(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    lines.join("\n")
}

/// What sshd(8)'s command line says of the configuration.
#[derive(Debug, Clone)]
pub struct Request {
    /// `-f`.
    pub file: PathBuf,
    /// Keywords that have options of their own (`-p`, `-h`, ...), with their arguments.
    pub flags: Vec<(&'static str, String)>,
    /// `-o`, each a line of the file's form.
    pub options: Vec<String>,
    /// Whom it serves.
    pub service: Service,
}

/// Whom a server serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Everybody who connects.
    Everybody,
    /// The one client that is connected already (`-i`).
    One,
}

/// A configuration that was carried over.
#[derive(Debug)]
pub struct Sshd {
    /// What is served.
    pub config: Config,
    /// Where the server's pid is written once it serves.
    pub pid_file: Option<PathBuf>,
    /// Which messages are logged: directives of RUST_LOG.
    pub log: &'static str,
    /// With what host keys may sign: names of algorithms, those of certificates among them.
    pub host_key_algorithms: Vec<&'static str>,
    /// Lines that are not followed and grant nothing.
    pub warnings: Vec<Fault>,
    settings: Settings,
}

impl Sshd {
    /// Reads what the command line names, and checks it whole.
    pub fn read(request: &Request, invoker: &Invoker) -> Result<Self, SshdError> {
        let mut settings = Settings::new(&request.file);
        for (keyword, argument) in &request.flags {
            settings.flag(keyword, argument);
        }
        for option in &request.options {
            settings.option(option);
        }
        settings.read(&request.file)?;
        settings.finish()?;
        let mapped = mapping::map(&settings, invoker, request.service);
        let mapped = mapped.map_err(|fault| SshdError::Rejected {
            source_file: request.file.clone(),
            faults: vec![fault],
        })?;
        Ok(Self {
            config: mapped.config,
            pid_file: mapped.pid_file,
            log: mapped.log,
            host_key_algorithms: mapped.host_key_algorithms,
            warnings: [settings.warnings(), &mapped.warnings].concat(),
            settings,
        })
    }

    /// What holds for a login, or before the first Match, in the form of `sshd -T`: keywords in small letters,
    /// defaults filled in.
    pub fn effective(&self, login: Option<&str>) -> String {
        match login {
            Some(login) => self.settings.of(login).effective(&self.config.listen),
            None => self.settings.effective(&self.config.listen),
        }
    }
}

/// A path that stays the same when the working directory changes.
fn absolute(path: &str) -> Result<PathBuf, String> {
    std::path::absolute(Path::new(path)).map_err(|e| format!("{path}: {e}"))
}

#[cfg(test)]
mod tests;
