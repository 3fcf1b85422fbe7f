//! What systemd hands to a service by its environment: sockets, where to report, and a place for a user's own.

use std::ffi::OsString;
use std::path::PathBuf;

/// Sockets that are already open, and whom to tell how things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activation {
    /// How many descriptors from 3 on are listening sockets for this process (sd_listen_fds(3)).
    pub sockets: u32,
    /// The service manager's datagram socket (sd_notify(3)); an abstract one begins with `@`.
    pub notify: Option<PathBuf>,
    /// Where an ordinary user's programs have their sockets (XDG Base Directory Specification).
    pub runtime: Option<PathBuf>,
}

impl Activation {
    /// Reads LISTEN_PID, LISTEN_FDS, NOTIFY_SOCKET and XDG_RUNTIME_DIR; sockets for another process are not ours.
    #[allow(
        clippy::disallowed_methods,
        reason = "the environment is read in config and nowhere else"
    )]
    pub fn from_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let inherited = Self::from_variables(
            number("LISTEN_PID").filter(|pid| *pid == std::process::id()),
            number("LISTEN_FDS"),
            std::env::var_os("NOTIFY_SOCKET"),
        );
        Self {
            // The specification has relative ones ignored.
            runtime: runtime.filter(|path| path.is_absolute()),
            ..inherited
        }
    }

    fn from_variables(own_pid: Option<u32>, count: Option<u32>, notify: Option<OsString>) -> Self {
        Self {
            sockets: own_pid.and(count).unwrap_or(0),
            notify: notify.filter(|path| !path.is_empty()).map(PathBuf::from),
            runtime: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_another_process_are_not_taken() {
        assert_eq!(
            Activation::from_variables(Some(1), Some(2), None).sockets,
            2
        );
        assert_eq!(Activation::from_variables(None, Some(2), None).sockets, 0);
        assert_eq!(Activation::from_variables(Some(1), None, None).sockets, 0);
    }
}
