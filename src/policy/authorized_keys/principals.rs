//! AuthorizedPrincipalsFile (sshd_config(5)): whom an authority's certificates have to name, each with the
//! options that hold for whoever is named so.

use super::{AuthorizedKeys, Entry, Problem, Warning};
use crate::policy::key_options::Options;

impl AuthorizedKeys {
    /// The same authorities, for the principals that `text` lists and no others; its lines that cannot be
    /// taken stand in `warnings`. What the authorities' own lines say holds as well.
    #[must_use]
    pub fn named_in(self, text: &[u8]) -> Self {
        let mut named = Self {
            entries: Vec::new(),
            warnings: Vec::new(),
        };
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let (options, name) = parts(line);
            let entries: Result<Vec<Entry>, Problem> = (self.entries.iter())
                .map(|entry| narrowed(entry, options, name))
                .collect();
            match entries {
                Ok(entries) => named.entries.extend(entries),
                Err(problem) => named.warnings.push(Warning {
                    line: index + 1,
                    problem,
                }),
            }
        }
        named
    }
}

/// The name is the last word of a line.
fn parts(line: &[u8]) -> (&[u8], &[u8]) {
    let blank = line.iter().rposition(|byte| matches!(byte, b' ' | b'\t'));
    let (options, name) = line.split_at(blank.map_or(0, |at| at + 1));
    (options.trim_ascii(), name)
}

fn narrowed(entry: &Entry, options: &[u8], name: &[u8]) -> Result<Entry, Problem> {
    let mut all: Options = entry.options.clone();
    if !options.is_empty() {
        all = all.read(options)?;
    }
    // A line of the authority's that has principals of its own is for these alone.
    let names = all.principals.get_or_insert_with(|| vec![name.to_vec()]);
    names.retain(|known| known == name);
    Ok(Entry {
        key: entry.key.clone(),
        options: all,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORITY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJaxFlYW2K4mHY9y6gB4Yx3BlGPQdVQ8Ji2K1uWnVxVb";

    fn named(authority: &str, text: &str) -> AuthorizedKeys {
        AuthorizedKeys::parse_authorities(authority.as_bytes(), &[]).named_in(text.as_bytes())
    }

    fn names(keys: &AuthorizedKeys) -> Vec<Vec<Vec<u8>>> {
        let entries = keys.entries.iter();
        entries
            .map(|entry| entry.options.principals.clone().unwrap())
            .collect()
    }

    #[test]
    fn each_line_is_a_principal_with_its_options() {
        let keys = named(
            AUTHORITY,
            "# who\n\nann\n  restrict,command=\"echo a b\"  bob \n",
        );
        assert!(keys.warnings().is_empty());
        assert_eq!(names(&keys), [[b"ann".to_vec()], [b"bob".to_vec()]]);
        let grants: Vec<_> = (keys.entries.iter())
            .map(|entry| (entry.options.grants.terminal, entry.options.authority))
            .collect();
        assert_eq!(grants, [(true, true), (false, true)]);
    }

    #[test]
    fn a_line_that_is_not_understood_names_nobody() {
        let keys = named(AUTHORITY, "frobnicate ann\nbob");
        assert_eq!(names(&keys), [[b"bob".to_vec()]]);
        assert_eq!(keys.warnings()[0].line, 1);
        assert!(named(AUTHORITY, "").entries.is_empty());
    }

    #[test]
    fn what_an_authoritys_own_line_says_holds_as_well() {
        let keys = named(&format!("principals=\"ann,eve\" {AUTHORITY}"), "ann\nbob\n");
        assert_eq!(names(&keys), [vec![b"ann".to_vec()], vec![]]);
    }
}
