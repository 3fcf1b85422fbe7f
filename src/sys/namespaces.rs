//! What a namespace is, by its descriptor (ioctl_ns(2), which no crate wraps).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The `CLONE_NEW*` flag of the namespace that `namespace` refers to; ENOTTY where it refers to none.
pub fn kind(namespace: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    // SAFETY: NS_GET_NSTYPE takes no argument and gives its answer as the return value.
    let kind = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE) };
    if kind < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(kind)
    }
}

/// linux/nsfs.h: `_IO(0xb7, 3)`.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn namespaces_know_what_they_are() {
        let kind_of = |path: &str| kind(std::fs::File::open(path).unwrap().as_fd());
        assert_eq!(kind_of("/proc/self/ns/net").unwrap(), libc::CLONE_NEWNET);
        assert_eq!(kind_of("/proc/self/ns/mnt").unwrap(), libc::CLONE_NEWNS);
        let none = kind_of("/proc/self/status").unwrap_err();
        assert_eq!(none.raw_os_error(), Some(libc::ENOTTY));
    }
}
