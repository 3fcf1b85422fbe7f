//! The environment that this process was started with, as it lies in memory.

use std::ffi::{CStr, CString};
use std::io;

use super::clone::SingleThreaded;

/// Whether there is a variable of this name, without a look at its value.
pub fn has(name: &str) -> bool {
    let Ok(name) = CString::new(name) else {
        return false;
    };
    // SAFETY: the name ends in NUL, and no thread removes variables: `remove` asks for there being no other.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    !value.is_null()
}

/// Takes a variable away from this process and those that it forks.
pub fn remove(_proof: &SingleThreaded, name: &CStr) -> io::Result<()> {
    // SAFETY: the name ends in NUL, and no other thread looks at the environment (`_proof`).
    let removed = unsafe { libc::unsetenv(name.as_ptr()) };
    super::check(removed.into()).map(drop)
}

/// Overwrites a variable's value with zeros where the kernel put it (execve(2)), so that neither
/// /proc/PID/environ nor the memory of a process that is forked later has it. The variable is empty then.
pub fn wipe(_proof: &SingleThreaded, name: &CStr) {
    // SAFETY: the name ends in NUL, and no other thread changes the environment (`_proof`).
    let mut value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return;
    }
    loop {
        // SAFETY: getenv(3) gave a string that ends in NUL, which has not been passed.
        let byte = unsafe { value.read_volatile() };
        if byte == 0 {
            return;
        }
        // SAFETY: the environment's strings are this process's own writable memory, and nobody holds a
        // reference to them: Rust's std copies what it reads.
        unsafe { value.write_volatile(0) };
        // SAFETY: not past the string's end, which is still to come.
        value = unsafe { value.add(1) };
    }
}
