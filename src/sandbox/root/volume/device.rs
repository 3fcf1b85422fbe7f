//! The one block device that shows an image, found or made.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::BLOCK;
use crate::sys::loop_device::{self, Backing};

/// Where unused ones are asked for.
const CONTROL: &str = "/dev/loop-control";

/// How often another one is asked for where somebody was faster.
const TRIES: u32 = 64;

/// A device that shows an image, and does so at least as long as this is there.
pub(super) struct Device {
    /// Its node.
    pub(super) path: String,
    _held: OwnedFd,
}

impl Device {
    /// The one that shows `image`. Whoever asks for it has to be alone in this: two devices would be two file
    /// systems in one file.
    pub(super) fn of(image: &File) -> io::Result<Self> {
        if let Some(found) = find(image)? {
            return Ok(found);
        }
        let control = open(CONTROL, OFlags::RDWR)?;
        for _ in 0..TRIES {
            let path = node(loop_device::unused(control.as_fd())?);
            let device = open(&path, OFlags::RDWR)?;
            match loop_device::show(device.as_fd(), image.as_fd(), BLOCK) {
                // What is mounted may be closed to writers (CONFIG_BLK_DEV_WRITE_MOUNTED), so this one goes.
                Ok(()) => {
                    let held = open(&path, OFlags::RDONLY)?;
                    return Ok(Self { path, _held: held });
                }
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::other("no loop device stays unused"))
    }
}

/// The device that shows `image`, if one does. Devices are in no namespace: every process's are found.
pub(super) fn find(image: &File) -> io::Result<Option<Device>> {
    let stat = image.metadata()?;
    let whole = Backing {
        device: stat.dev(),
        inode: stat.ino(),
        offset: 0,
        limit: 0,
    };
    for entry in std::fs::read_dir("/sys/block")? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with("loop")) else {
            continue;
        };
        // It is there while the device shows something (Documentation/ABI/testing/sysfs-block).
        if !entry.path().join("loop").exists() {
            continue;
        }
        let path = format!("/dev/{name}");
        let held = match open(&path, OFlags::RDONLY) {
            Ok(held) => held,
            // A container's /dev has some of them, and the host's others show what they show.
            Err(e) if is_absent(&e) && is_elsewhere(&entry.path(), image, stat.nlink())? => {
                continue;
            }
            Err(e) => {
                let mend = "it may show this image: give the container its node, or losetup -d it";
                return Err(io::Error::new(e.kind(), format!("{path}: {e}: {mend}")));
            }
        };
        let Some(shown) = loop_device::backing(held.as_fd())? else {
            continue;
        };
        if shown == whole {
            return Ok(Some(Device { path, _held: held }));
        }
        if (shown.device, shown.inode) == (whole.device, whole.inode) {
            return Err(io::Error::other(format!(
                "{path} shows a part of it; losetup -d it"
            )));
        }
    }
    Ok(None)
}

/// No node, or one without a driver behind it, or one that this container is kept from.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENXIO | libc::EPERM | libc::EACCES)
    )
}

/// Whether a device, by its directory in sysfs, shows a file of another name (loop/backing_file) than `image`, which has
/// `links` of them.
fn is_elsewhere(device: &Path, image: &File, links: u64) -> io::Result<bool> {
    let shown = match std::fs::read(device.join("loop/backing_file")) {
        // Taken down since it was looked at: it shows nothing any more.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => return Ok(true),
        shown => shown?,
    };
    let own = std::fs::read_link(format!("/proc/self/fd/{}", image.as_raw_fd()))?;
    Ok(links == 1 && !is_called(&shown, own.file_name().unwrap_or_default()))
}

/// The kernel gives a path and a line's end; of what is removed, with a word after it.
fn is_called(shown: &[u8], name: &OsStr) -> bool {
    let shown = shown.strip_suffix(b"\n").unwrap_or(shown);
    let shown = shown.strip_suffix(b" (deleted)").unwrap_or(shown);
    shown.rsplit(|byte| *byte == b'/').next() == Some(name.as_bytes())
}

/// Why there is none to be had here, with the mend. Nothing is left of the question.
pub(super) fn probe() -> Result<(), String> {
    let told = |path: &str, e: &io::Error| {
        format!(
            "{path}: {e}: load the module loop, or give the container /dev/loop-control and its loop devices"
        )
    };
    let control = open(CONTROL, OFlags::RDWR).map_err(|e| told(CONTROL, &e))?;
    let number = loop_device::unused(control.as_fd()).map_err(|e| told(CONTROL, &e))?;
    let path = node(number);
    open(&path, OFlags::RDWR).map_err(|e| told(&path, &e))?;
    std::fs::read_dir("/sys/block").map_err(|e| format!("/sys/block: {e}: mount sysfs at /sys"))?;
    Ok(())
}

fn node(number: u32) -> String {
    format!("/dev/loop{number}")
}

fn open(path: &str, access: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        access | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_by_the_name_that_it_shows() {
        let called = |shown: &str| is_called(shown.as_bytes(), OsStr::new("a.ext4"));
        assert!(called("/srv/homes/a.ext4\n"));
        assert!(called("/a.ext4 (deleted)\n"));
        assert!(!called("/srv/homes/ba.ext4\n"));
        assert!(!called("/srv/a.ext4/snap\n"));
        assert!(!called(""));
    }
}
