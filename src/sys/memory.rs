//! Memory that a fork does not copy. Of private memory that was written to it copies each page's table entry, which
//! execve(2) takes down again in the child; of files that are mapped to be read, it copies nothing.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags};

/// Bytes that nobody changes any more, in a file in memory. The mapping is private: a child that writes there, whatever
/// it has become, writes to a copy of its own.
#[derive(Debug)]
pub struct Constant {
    start: NonNull<libc::c_void>,
    length: usize,
}

impl Constant {
    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> io::Result<Self> {
        let length = bytes.len();
        if length == 0 {
            let start = NonNull::dangling();
            return Ok(Self { start, length });
        }
        let file = sealed(bytes)?;
        // SAFETY: a new mapping, where the kernel finds room.
        let start = unsafe { map(std::ptr::null_mut(), &file, length, 0) }?;
        Ok(Self { start, length })
    }
}

impl Deref for Constant {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `length` bytes from there are mapped, or none are asked for. Nobody can write to the file, nor make it
        // shorter, and nobody writes to the mapping.
        unsafe { std::slice::from_raw_parts(self.start.cast().as_ptr(), self.length) }
    }
}

impl Drop for Constant {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: `copy_of` mapped it, and no borrow outlives this. munmap(2) of a whole mapping can't fail.
            unsafe { libc::munmap(self.start.as_ptr(), self.length) };
        }
    }
}

/// Maps a file to be read.
///
/// # Safety
/// With `MAP_FIXED` in `flags`, what lies at `place` now has to be the same bytes, and only read.
unsafe fn map(
    place: *mut libc::c_void,
    file: &OwnedFd,
    length: usize,
    flags: libc::c_int,
) -> io::Result<NonNull<libc::c_void>> {
    // SAFETY: the caller's word.
    let start = unsafe {
        libc::mmap(
            place,
            length,
            libc::PROT_READ,
            libc::MAP_PRIVATE | flags,
            file.as_raw_fd(),
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// A file in memory that stays as it is (fcntl(2), "File Sealing").
fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(new(c"sandgate.constant", MemfdFlags::ALLOW_SEALING)?);
    file.write_all(bytes)?;
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, all)?;
    Ok(file.into())
}

/// A file in memory. Before Linux 6.3 the seal that nobody executes it is unknown; where vm.memfd_noexec asks for it, it
/// is known.
pub fn new(name: &std::ffi::CStr, flags: MemfdFlags) -> io::Result<OwnedFd> {
    let flags = flags | MemfdFlags::CLOEXEC;
    match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(rustix::io::Errno::INVAL) => Ok(rustix::fs::memfd_create(name, flags)?),
        other => Ok(other?),
    }
}

/// Has what the loader wrote into this program's constants (addresses: PT_GNU_RELRO, ld(1) `-z relro`) lie in such a
/// file, too. A program without such a part is left as it is.
pub fn share_constants() -> io::Result<()> {
    let mut found: Option<(usize, usize)> = None;
    // SAFETY: the callback gets `found`, which outlives the call, and returns at the first object, which is the program
    // itself (dl_iterate_phdr(3)).
    unsafe { libc::dl_iterate_phdr(Some(relocated), (&raw mut found).cast()) };
    let Some((start, length)) = found else {
        return Ok(());
    };
    let place = std::ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: the loader mapped these pages for good and made them read-only when it had written them.
    let bytes = unsafe { std::slice::from_raw_parts(place, length) };
    let file = sealed(bytes)?;
    // SAFETY: the same bytes, which nobody can write to before or after.
    unsafe { map(place.cast(), &file, length, libc::MAP_FIXED) }?;
    Ok(())
}

/// Whole pages, as the loader protects them: a first that is shared with other data stays as it is.
unsafe extern "C" fn relocated(
    object: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    found: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: dl_iterate_phdr(3) gives an object that lives for this call.
    let object = unsafe { &*object };
    let (base, count) = (object.dlpi_addr, usize::from(object.dlpi_phnum));
    // SAFETY: as many headers as it says; they are mapped for good.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, count) };
    let page = rustix::param::page_size();
    let part = headers
        .iter()
        .find(|part| part.p_type == libc::PT_GNU_RELRO);
    let ends = part.and_then(|part| {
        let start = usize::try_from(base.checked_add(part.p_vaddr)?).ok()?;
        let end = start.checked_add(usize::try_from(part.p_memsz).ok()?)?;
        let (start, end) = (start.next_multiple_of(page), end / page * page);
        (start < end).then(|| (start, end - start))
    });
    // SAFETY: `share_constants` passed it, and looks at it when this has returned.
    unsafe { found.cast::<Option<(usize, usize)>>().write(ends) };
    1
}

/// Returns to the kernel what was freed and the allocator kept (malloc_trim(3)).
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_constant_is_what_was_copied() {
        for bytes in [&b""[..], b"x", &vec![7; 100_000]] {
            assert_eq!(*Constant::copy_of(bytes).unwrap(), *bytes);
        }
    }

    #[test]
    fn nobody_writes_to_what_is_sealed() {
        let mut file = File::from(sealed(b"constant").unwrap());
        let refused = file.write_all(b"changed").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        assert!(file.set_len(1).is_err());
    }
}
