//! Whom the kernel ends first when memory ends.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// From -1000, never, to 1000, before all others (proc_pid_oom_score_adj(5)). It is inherited.
const SETTING: &str = "/proc/self/oom_score_adj";

/// Gives up what the daemon was spared by (systemd's OOMScoreAdjust=, choom(1)): what runs in a sandbox is the first to
/// go, and with -1000 nothing could end it for its memory, its own group's bound included.
pub(super) fn be_spared_no_more() -> io::Result<()> {
    raise(Path::new(SETTING))
}

fn raise(setting: &Path) -> io::Result<()> {
    let mut sign = [0];
    File::open(setting)?.read_exact(&mut sign)?;
    if sign == *b"-" {
        std::fs::write(setting, "0")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only `CAP_SYS_RESOURCE` lets a process be spared, so that not every test may have that of the kernel.
    #[test]
    fn only_who_is_spared_is_so_no_more() {
        let setting = std::env::temp_dir().join(format!("oom-{}", std::process::id()));
        for (own, then) in [
            ("-1000\n", "0"),
            ("-1\n", "0"),
            ("0\n", "0\n"),
            ("300\n", "300\n"),
        ] {
            std::fs::write(&setting, own).unwrap();
            raise(&setting).unwrap();
            assert_eq!(std::fs::read_to_string(&setting).unwrap(), then, "{own}");
        }
        std::fs::remove_file(&setting).unwrap();
    }
}
