//! Files in memory that can't be executed: a pid namespace's vm.memfd_noexec (Linux 6.3).

use std::io;

/// Of the pid namespace of whoever opens it (Documentation/userspace-api/mfd_noexec.rst).
pub(super) const SETTING: &str = "/proc/sys/vm/memfd_noexec";

/// Lets memfd_create(2) without MFD_EXEC give files that can't be executed, in this pid namespace and those below. One
/// that was born with 1 or 2 has what it needs: the kernel refuses less than the namespace above has (EINVAL).
pub(super) fn seal_memory_files() -> io::Result<()> {
    if std::fs::read_to_string(SETTING)?.trim() == "0" {
        std::fs::write(SETTING, "1")?;
    }
    Ok(())
}
