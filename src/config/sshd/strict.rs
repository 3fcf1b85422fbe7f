//! StrictModes: nobody but root and the account may change a file of keys, or put another in its place.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Looks at a file, if it is there, and at the directories that lead to it, up to the account's home or else
/// the root (misc.c, safe_path()). sshd looks at each login. Here it is once, at the start: what passes,
/// only root and the account itself can change; and the file's own mode is looked at with each login.
pub(super) fn check(path: &Path, account: Option<u32>, home: Option<&Path>) -> Result<(), String> {
    for (index, part) in path.ancestors().enumerate() {
        let stat = match std::fs::metadata(part) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            stat => stat.map_err(|e| format!("{}: {e}", part.display()))?,
        };
        let ours = stat.uid() == 0 || Some(stat.uid()) == account;
        if !ours || stat.mode() & 0o022 != 0 {
            let kind = if index == 0 { "file" } else { "directory" };
            let part = part.display();
            return Err(format!(
                "bad ownership or modes for {kind} {part}: give it to root or the account and chmod go-w it, \
                 or write `StrictModes no`"
            ));
        }
        if Some(part) == home {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_others_may_write_is_named() {
        let own = rustix::process::geteuid().as_raw();
        let home = std::env::temp_dir().join(format!("sgstrict-{}", std::process::id()));
        let directory = home.join(".ssh");
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("authorized_keys");
        let asked = || check(&file, Some(own), Some(&home));
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(&home, 0o755);
        mode(&directory, 0o700);
        assert_eq!(asked(), Ok(()), "a file that is not there");
        std::fs::write(&file, "").unwrap();
        mode(&file, 0o666);
        assert!(asked().unwrap_err().contains("for file "));
        mode(&file, 0o644);
        assert_eq!(asked(), Ok(()));
        mode(&directory, 0o777);
        assert!(asked().unwrap_err().contains("for directory "));
        mode(&directory, 0o700);
        // Without a home to stop at, a directory for everybody's files counts.
        assert_eq!(
            check(&file, Some(own), None).is_ok(),
            std::fs::metadata(std::env::temp_dir()).unwrap().mode() & 0o022 == 0
        );
        std::fs::remove_dir_all(&home).unwrap();
    }
}
