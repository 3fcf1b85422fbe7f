//! Block devices that show a file (loop(4), linux/loop.h), which no crate wraps.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The file behind a device, as stat(2) names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backing {
    /// st_dev.
    pub device: u64,
    /// st_ino.
    pub inode: u64,
    /// Bytes of it that the device leaves out at its beginning.
    pub offset: u64,
    /// Bytes that it shows at most; 0 is all.
    pub limit: u64,
}

/// struct loop_info64.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    names: [[u8; 64]; 2],
    key: [u8; 32],
    init: [u64; 2],
}

impl Info {
    const EMPTY: Self = Self {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        names: [[0; 64]; 2],
        key: [0; 32],
        init: [0; 2],
    };
}

/// struct loop_config (Linux 5.8).
#[repr(C)]
struct Config {
    descriptor: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// The number of a device that nobody uses now, made if need be. `control` is /dev/loop-control.
pub fn unused(control: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: the request takes no argument and gives its answer as the return value.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// Lets `device` show `file` in blocks of `block_size` bytes, past the cache of what `file` is on where that can be,
/// and be free again when nobody has it open or mounted any more. EBUSY: it shows one.
pub fn show(device: BorrowedFd<'_>, file: BorrowedFd<'_>, block_size: u32) -> io::Result<()> {
    let config = Config {
        descriptor: file.as_raw_fd().cast_unsigned(),
        block_size,
        info: Info {
            flags: LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
            ..Info::EMPTY
        },
        reserved: [0; 8],
    };
    let config = std::ptr::from_ref(&config);
    // SAFETY: the kernel reads a struct loop_config, which lives for as long as the call, and writes nothing.
    let shown = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, config) };
    answered(shown)
}

/// What `device` shows; `None` is nothing.
pub fn backing(device: BorrowedFd<'_>) -> io::Result<Option<Backing>> {
    let mut info = Info::EMPTY;
    let place = std::ptr::from_mut(&mut info);
    // SAFETY: the kernel writes a struct loop_info64, any bytes of which are one, and lives for as long as the call.
    let told = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, place) };
    match answered(told) {
        Ok(()) => Ok(Some(Backing {
            device: info.device,
            inode: info.inode,
            offset: info.offset,
            limit: info.limit,
        })),
        Err(e) if e.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        Err(e) => Err(e),
    }
}

fn answered(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

const LOOP_GET_STATUS64: libc::Ioctl = 0x4C05;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn structures_have_the_kernels_sizes() {
        assert_eq!((size_of::<Info>(), size_of::<Config>()), (232, 304));
    }

    #[test]
    fn what_is_no_loop_device_is_told_so() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let refused = backing(null.as_fd()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOTTY));
    }
}
