//! What a login keeps when its sandboxes have ended, and how large that may become.

use std::path::{Path, PathBuf};

use serde_saphyr::Spanned;

use super::bounds::{Bounds, count, size, within};
use super::text::wrong;
use crate::yaml::Fault;

/// The least that holds a file system with its journal.
const LEAST: u64 = 16 << 20;

/// The longest file of ext4, in which another file system is kept (Documentation/filesystems/ext4).
const MOST: u64 = 16 << 40;

/// The blocks of that file system, in bytes. A file takes one, unless it is empty.
const BLOCK: u64 = 4096;

/// Bytes for each file, where nothing is written: what `bounds` has by default.
const PER_FILE: u64 = 8192;

/// The fewest files: a shell's own, and those of the file system.
const FEWEST: u64 = 16;

/// What stays of each login that has this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// The directory of the host's in which each login's is, by its name.
    pub directory: PathBuf,
    /// How large one login's may become.
    pub extent: Extent,
}

/// How large something may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The operator's word: as large as its host allows.
    Unlimited,
    /// No larger than this.
    Within(Volume),
}

/// A bound on what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    /// Bytes, with what a file system needs for itself.
    pub size: u64,
    /// Files, directories and links counted: at least so many, and what fills the last block of the file system's
    /// tables.
    pub files: u64,
}

/// `size` and `files` bound what is kept in `directory`, which counts from `base`.
pub(super) fn check(
    base: &Path,
    directory: Option<PathBuf>,
    size_text: Option<&Spanned<String>>,
    files_text: Option<&Spanned<String>>,
) -> Result<Option<Keep>, Fault> {
    let Some(directory) = directory else {
        if let Some(alone) = size_text.or(files_text) {
            let problem = "bounds what is kept; add `keep`, or leave it out (`bounds: disk` holds what is not kept)";
            return wrong(alone.referenced, problem);
        }
        return Ok(None);
    };
    Ok(Some(Keep {
        directory: base.join(directory),
        extent: extent(size_text, files_text)?,
    }))
}

fn extent(
    size_text: Option<&Spanned<String>>,
    files_text: Option<&Spanned<String>>,
) -> Result<Extent, Fault> {
    let size = match size_text {
        None => Bounds::default().disk,
        Some(text) if text.value == "unlimited" => {
            if let Some(files) = files_text {
                let problem = "nothing counts files without a `size`; write one, or leave it out";
                return wrong(files.referenced, problem);
            }
            return Ok(Extent::Unlimited);
        }
        Some(text) => within(text, size(text)?, (LEAST, "16MiB"), (MOST, "16TiB"))?,
    };
    let files = match files_text {
        None => size / PER_FILE,
        Some(text) => {
            let most = size / BLOCK;
            let problem = format!("{most}, one for each 4 KiB of `size`");
            within(text, count(text)?, (FEWEST, "16"), (most, &problem))?
        }
    };
    Ok(Extent::Within(Volume { size, files }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[size, files]` as texts, each empty where it is not written.
    fn checked([size, files]: [&str; 2]) -> Result<Extent, String> {
        let text = format!("[{size:?}, {files:?}]");
        let told = |fault: Fault| fault.describe("f", &text).to_string();
        let read: Vec<Spanned<String>> = crate::yaml::read(&text).map_err(told)?;
        let written = |n: usize| Some(&read[n]).filter(|text| !text.value.is_empty());
        let keep = check(
            Path::new("/etc"),
            Some("homes".into()),
            written(0),
            written(1),
        );
        let keep = keep.map_err(told)?.unwrap();
        assert_eq!(keep.directory, Path::new("/etc/homes"));
        Ok(keep.extent)
    }

    #[test]
    fn what_is_kept_is_bounded_unless_the_operator_says_otherwise() {
        let within = |size, files| Extent::Within(Volume { size, files });
        assert_eq!(checked(["", ""]).unwrap(), within(2 << 30, 262_144));
        assert_eq!(checked(["16MiB", ""]).unwrap(), within(16 << 20, 2048));
        assert_eq!(checked(["1GiB", "100"]).unwrap(), within(1 << 30, 100));
        assert_eq!(checked(["unlimited", ""]).unwrap(), Extent::Unlimited);
    }

    #[test]
    fn what_no_file_system_can_be_is_refused_with_its_place() {
        for (written, word) in [
            (["15MiB", ""], "16MiB"),
            (["17TiB", ""], "16TiB"),
            (["2GB", ""], "KiB, MiB"),
            (["16MiB", "4097"], "4096, one for each"),
            (["16MiB", "15"], "16 to"),
            (["unlimited", "100"], "nothing counts"),
        ] {
            let said = checked(written).unwrap_err();
            assert!(said.starts_with("f:1:") && said.contains(word), "{said}");
        }
        let lone: Spanned<String> = crate::yaml::read("1GiB").unwrap();
        let refused = check(Path::new("/"), None, Some(&lone), None).unwrap_err();
        assert!(
            refused
                .describe("f", "1GiB")
                .to_string()
                .contains("add `keep`")
        );
    }
}
