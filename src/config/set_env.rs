//! Variables that the operator sets in every session of a login (`sshd_config(5)`, `SetEnv`).

use std::collections::BTreeMap;

use serde_saphyr::Spanned;

use crate::yaml::Fault;

/// As many as a key's `environment=` options may set.
const MOST: usize = 64;

/// The most bytes of a name and its value together.
const BYTES: usize = 32 * 1024;

/// Names and values, each name once.
pub type Variables = Vec<(String, String)>;

pub(super) fn check(file: BTreeMap<String, Spanned<String>>) -> Result<Variables, Fault> {
    let mut variables = Variables::new();
    for (name, value) in file {
        add(&mut variables, &name, &value.value)
            .map_err(|problem| Fault::at(value.referenced, problem))?;
    }
    Ok(variables)
}

/// Adds a variable; of two with one name the first counts, as in sshd.
pub(super) fn add(variables: &mut Variables, name: &str, value: &str) -> Result<(), String> {
    let digit = name.starts_with(|c: char| c.is_ascii_digit());
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || digit || !name.bytes().all(good) {
        return Err(format!(
            "{name:?} is no variable name; write letters, digits and '_'"
        ));
    }
    if name.starts_with("SSH_") {
        return Err(format!("{name} tells of the connection; leave it out"));
    }
    if value.contains('\0') || name.len() + value.len() > BYTES || variables.len() == MOST {
        return Err(format!(
            "{name} holds a NUL, more than {BYTES} bytes, or is one of more than {MOST}"
        ));
    }
    if !variables.iter().any(|(known, _)| known == name) {
        variables.push((name.to_owned(), value.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_and_the_first_of_two_counts() {
        let mut variables = Variables::new();
        add(&mut variables, "A_1", "x=y").unwrap();
        add(&mut variables, "A_1", "z").unwrap();
        add(&mut variables, "B", "").unwrap();
        let said = [("A_1", "x=y"), ("B", "")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(variables, said);
        let long = "v".repeat(BYTES);
        for (name, value) in [
            ("", "x"),
            ("1A", "x"),
            ("A-B", "x"),
            ("SSH_CLIENT", "x"),
            ("A", "\0"),
            ("A", long.as_str()),
        ] {
            assert!(add(&mut variables, name, value).is_err(), "{name}");
        }
        for index in variables.len()..MOST {
            add(&mut variables, &format!("V{index}"), "").unwrap();
        }
        assert!(add(&mut variables, "LAST", "").is_err());
    }
}
