//! The parts that are fixed when a sandbox is made: files and accounts.

use std::path::PathBuf;

use serde_saphyr::Spanned;

use crate::policy::schema;
use crate::yaml::Fault;

const MAX_PATHS: usize = 256;
const MAX_PATH_BYTES: usize = 4096;

/// What a sandbox sees of the filesystem. All paths are absolute, without `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    /// Whether the working directory is writable, too.
    pub include_workdir: bool,
    /// Trees and files that can be read and executed.
    pub read_only: Vec<PathBuf>,
    /// Trees and files that can be written as well.
    pub read_write: Vec<PathBuf>,
}

/// Whose ids a sandbox runs under; never root's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunAs {
    /// The user; `None` leaves it to the sandbox's lease.
    pub user: Option<Account>,
    /// The group; `None` leaves it to the sandbox's lease.
    pub group: Option<Account>,
}

/// A user or group as the file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// By name.
    Name(String),
    /// By number, 1 to 4294967294 (setresuid(2) keeps -1 for itself).
    Id(u32),
}

pub(super) fn filesystem(written: Option<&schema::Filesystem>) -> Result<Filesystem, Fault> {
    let Some(written) = written else {
        return Ok(Filesystem {
            include_workdir: true,
            read_only: Vec::new(),
            read_write: Vec::new(),
        });
    };
    if let Some(over) = written
        .read_only
        .iter()
        .chain(&written.read_write)
        .nth(MAX_PATHS)
    {
        return Err(Fault::at(
            over.referenced,
            format!("more than {MAX_PATHS} paths; name their parents"),
        ));
    }
    if let Some(root) = written.read_write.iter().find(|path| is_root(&path.value)) {
        return Err(Fault::at(
            root.referenced,
            "the whole filesystem can't be writable; name the directories",
        ));
    }
    Ok(Filesystem {
        include_workdir: written.include_workdir,
        read_only: written
            .read_only
            .iter()
            .map(path)
            .collect::<Result<_, _>>()?,
        read_write: written
            .read_write
            .iter()
            .map(path)
            .collect::<Result<_, _>>()?,
    })
}

/// `/` in any spelling.
fn is_root(path: &str) -> bool {
    path.starts_with('/') && path.split('/').all(|part| part.is_empty() || part == ".")
}

fn path(written: &Spanned<String>) -> Result<PathBuf, Fault> {
    let (path, place) = (&written.value, written.referenced);
    if !path.starts_with('/') {
        return Err(Fault::at(place, "is not absolute; begin it with `/`"));
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(Fault::at(
            place,
            format!("is longer than {MAX_PATH_BYTES} bytes"),
        ));
    }
    if path.contains('\0') {
        return Err(Fault::at(place, "holds a NUL, which no path can"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(Fault::at(place, "holds `..`; write where it leads to"));
    }
    Ok(PathBuf::from(path))
}

pub(super) fn run_as(written: &schema::Process) -> Result<RunAs, Fault> {
    Ok(RunAs {
        user: written.run_as_user.as_ref().map(account).transpose()?,
        group: written.run_as_group.as_ref().map(account).transpose()?,
    })
}

fn account(written: &Spanned<String>) -> Result<Account, Fault> {
    let (text, place) = (written.value.as_str(), written.referenced);
    let account = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        match text.parse() {
            Ok(id) if id < u32::MAX => Account::Id(id),
            _ => return Err(Fault::at(place, "is no id; an id is at most 4294967294")),
        }
    } else {
        let head = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let tail = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if !head || !tail || text.len() > 32 {
            return Err(Fault::at(
                place,
                format!("{text:?} is neither an account's name nor an id"),
            ));
        }
        Account::Name(text.to_owned())
    };
    if account == Account::Id(0) || account == Account::Name("root".to_owned()) {
        return Err(Fault::at(
            place,
            "sandboxes never run as root; name an ordinary account",
        ));
    }
    Ok(account)
}
