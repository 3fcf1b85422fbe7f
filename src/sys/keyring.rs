//! Kernel keyrings (keyctl(2)).

use std::io;

/// Replaces the inherited session keyring by a new, empty, anonymous one, so that no key of the
/// starting process is possessed any longer (keyctl_join_session_keyring(3)).
/// A kernel without CONFIG_KEYS, and so without this sysctl, has no keys to inherit; one with it that answers ENOSYS
/// does so by somebody's filter, and the key would stay.
pub fn join_fresh_session() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    let joined = super::check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    });
    match joined {
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) && !has_keys() => Ok(()),
        other => other.map(drop),
    }
}

fn has_keys() -> bool {
    std::path::Path::new("/proc/sys/kernel/keys").exists()
}
