//! What a policy lists read-only inside of what may be written, where sessions may make mount namespaces.

use std::path::{Path, PathBuf};

use super::fault::LoadError;
use super::schema::{self, Filesystem};
use crate::yaml::Fault;

/// What `include_workdir` names.
const WORKDIR: &str = "/sandbox";

/// Refuses a policy that lists a path read-only below one that may be written. A mount keeps its directory's name in the
/// namespaces that have the mount, and rename(2) looks at the caller's own alone: in one without it a session renames the
/// directory by a descriptor of what it may write. `real` gives a path's name without links.
pub fn require_fixed(
    (file, text): (&str, &str),
    real: impl Fn(&Path) -> PathBuf,
) -> Result<(), LoadError> {
    let fault = |fault: Fault| LoadError::from(fault.describe(file, text));
    let written: schema::File = crate::yaml::read(text).map_err(fault)?;
    match written.filesystem_policy.and_then(|f| movable(&f, real)) {
        Some(found) => Err(fault(found)),
        None => Ok(()),
    }
}

/// Whether something that lies in `above` could be renamed by who may write there.
pub fn lies_in(path: &Path, above: &Path) -> bool {
    path.starts_with(above) && path.components().ne(above.components())
}

fn movable(filesystem: &Filesystem, real: impl Fn(&Path) -> PathBuf) -> Option<Fault> {
    let workdir = filesystem.include_workdir.then_some(WORKDIR);
    let writable = filesystem.read_write.iter().map(|path| &*path.value);
    let writable: Vec<&Path> = writable.chain(workdir).map(Path::new).collect();
    filesystem.read_only.iter().find_map(|listed| {
        let path = Path::new(&listed.value);
        let holds =
            |above: &&&Path| lies_in(path, above) || lies_in(&real(path), &real(above));
        let above = writable.iter().find(holds)?.display();
        let problem = format!(
            "lies in {above}, which may be written, and sessions with `allow: {{user_namespaces: true}}` can rename it; list {above} as read_only, or what in it has to be written, or take the permission out"
        );
        Some(Fault::at(listed.referenced, problem))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(filesystem: &str) -> Result<(), String> {
        let text = format!("version: 1\nfilesystem_policy: {{{filesystem}}}\n");
        let real = |path: &Path| match path.strip_prefix("/link") {
            Ok(rest) => Path::new("/data").join(rest),
            Err(_) => path.to_owned(),
        };
        require_fixed(("p.yaml", &text), real).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_read_only_inside_of_what_is_written_is_refused() {
        for (list, above) in [
            ("read_only: [/usr, /data/./a], read_write: [/data]", "/data"),
            ("read_only: [/usr, /link/a], read_write: [/data/]", "/data/"),
            ("read_only: [/usr, /data/a/b], read_write: [/link]", "/link"),
            (
                "read_only: [/usr, /sandbox/a], include_workdir: true",
                "/sandbox",
            ),
        ] {
            let problem = said(list).unwrap_err();
            let column = 21 + "read_only: [/usr, ".len();
            let expected = format!("p.yaml:2:{column}: filesystem_policy.read_only");
            assert!(problem.starts_with(&expected), "{problem}");
            assert!(
                problem.contains(&format!("lies in {above}, which")),
                "{problem}"
            );
        }
    }

    #[test]
    fn what_lies_beside_or_around_it_is_not() {
        said("read_only: [/usr, /data], read_write: [/data/a, /tmp]").unwrap();
        said("read_only: [/data, /data-b, /datas/a], read_write: [/data]").unwrap();
        said("read_only: [/sandbox/a], read_write: [/tmp]").unwrap();
        said("").unwrap();
    }
}
