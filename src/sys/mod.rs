//! System calls that no crate wraps safely, one operation a function; no project concepts.

pub mod clone;
pub mod descriptors;
pub mod environment;
pub mod frames;
pub mod keyring;
pub mod loop_device;
pub mod memory;
pub mod mount;
pub mod namespaces;
pub mod reactor;
pub mod signals;

use std::io;

/// Turns a raw system call's result into the value or the errno.
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
