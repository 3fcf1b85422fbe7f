//! The archive: a gzipped tar of a few small regular files, and nothing else.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::bufread::GzDecoder;
use tar::EntryType;

use super::{BundleError, MANIFEST, SIGNATURES};

/// The most bytes that a bundle unpacks to, headers included.
const MOST_UNPACKED: u64 = 16 << 20;

/// The most bytes of one file in it.
const MOST_FILE: u64 = 4 << 20;

/// The most entries.
const MOST_ENTRIES: usize = 1024;

/// The longest name, in bytes.
const LONGEST_NAME: usize = 255;

/// Files by their names, without a slash before.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// All files of an archive. Nothing is written anywhere.
pub(super) fn unpack(packed: &[u8]) -> Result<Files, BundleError> {
    let mut rest = packed;
    // One more than is taken, so that what is cut off is known to be.
    let unpacked = GzDecoder::new(&mut rest).take(MOST_UNPACKED + 1);
    let mut archive = tar::Archive::new(unpacked);
    let mut files = Files::new();
    for (number, entry) in archive.entries()?.enumerate() {
        if number >= MOST_ENTRIES {
            let problem = format!("it has more than {MOST_ENTRIES} entries");
            return Err(BundleError::Bounds(problem));
        }
        let mut entry = entry.map_err(|error| cut(error, &files))?;
        let written = entry.path_bytes().into_owned();
        let refused = |problem: String| BundleError::File {
            name: printable(&written),
            problem,
        };
        match entry.header().entry_type() {
            EntryType::Regular => {}
            EntryType::Directory => continue,
            _ => {
                return Err(refused(
                    "is no regular file; a bundle has no links, devices or holes".to_owned(),
                ));
            }
        }
        let name = name(&written).map_err(|problem| refused(problem.to_owned()))?;
        if entry.size() > MOST_FILE {
            return Err(refused(format!("is larger than {MOST_FILE} bytes")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        if files.insert(name, bytes).is_some() {
            return Err(refused("is there twice".to_owned()));
        }
    }
    // To the end, where gzip's checksum stands.
    let mut unpacked = archive.into_inner();
    std::io::copy(&mut unpacked, &mut std::io::sink())?;
    if unpacked.limit() == 0 {
        return Err(too_large());
    }
    drop(unpacked);
    if !rest.is_empty() {
        let problem = "something stands behind its end".to_owned();
        return Err(BundleError::Bounds(problem));
    }
    Ok(files)
}

/// An entry that ends where the bound is was too large, not broken.
fn cut(error: std::io::Error, files: &Files) -> BundleError {
    let taken: u64 = files.values().map(|bytes| bytes.len() as u64).sum();
    if taken > MOST_UNPACKED - 2 * MOST_FILE {
        too_large()
    } else {
        error.into()
    }
}

fn too_large() -> BundleError {
    BundleError::Bounds(format!("it unpacks to more than {MOST_UNPACKED} bytes"))
}

/// The name of a file that may be in a bundle.
fn name(written: &[u8]) -> Result<String, &'static str> {
    let plain = "is no plain path of at most 255 printable bytes without `..`";
    let name = std::str::from_utf8(written).map_err(|_| plain)?;
    // `opa build` writes a slash before each, and tar(1) of a directory a dot.
    let name = name
        .strip_prefix('.')
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or(name);
    let name = name.strip_prefix('/').unwrap_or(name);
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    let printable = |c: char| !c.is_control() && c != '\\';
    if name.len() > LONGEST_NAME || !name.split('/').all(part) || !name.chars().all(printable) {
        return Err(plain);
    }
    let (_, last) = name.rsplit_once('/').unwrap_or(("", name));
    match last {
        "data.json" => Ok(name.to_owned()),
        _ if name == MANIFEST || name == SIGNATURES => Ok(name.to_owned()),
        _ if is_module(name) => Ok(name.to_owned()),
        "data.yaml" | "data.yml" => {
            Err("data is read as JSON alone; pack with `opa build`, which makes data.json of it")
        }
        "patch.json" => Err("this is a delta bundle; serve whole ones"),
        _ => Err("is none of data.json, *.rego, .manifest and .signatures.json"),
    }
}

/// Whether it is Rego.
pub(super) fn is_module(name: &str) -> bool {
    std::path::Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "rego")
}

/// Names come from the archive, and what they say goes to a terminal or a log.
pub(super) fn printable(name: &[u8]) -> String {
    let name: String = String::from_utf8_lossy(name).chars().take(80).collect();
    name.escape_default().to_string()
}
