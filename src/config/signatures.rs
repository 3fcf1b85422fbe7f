//! Which signatures are taken of a login's clients (`sshd_config(5)`, `PubkeyAcceptedAlgorithms`).

use serde_saphyr::Spanned;

use super::algorithms::{CERTIFICATES, SIGNATURES};
use crate::yaml::Fault;

/// Names of algorithms, of keys and of certificates each by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures(Vec<&'static str>);

impl Default for Signatures {
    fn default() -> Self {
        Self(every().collect())
    }
}

impl Signatures {
    /// These and no others.
    pub(super) fn of(names: Vec<&'static str>) -> Self {
        Self(names)
    }

    /// Whether one of this name is taken.
    pub fn take(&self, name: &str) -> bool {
        self.0.contains(&name)
    }
}

/// Every name that there is.
pub(super) fn every() -> impl Iterator<Item = &'static str> {
    SIGNATURES.iter().chain(CERTIFICATES).copied()
}

/// Those that are named; without a word all.
pub(super) fn check(names: Option<Spanned<Vec<Spanned<String>>>>) -> Result<Signatures, Fault> {
    let Some(names) = names else {
        return Ok(Signatures::default());
    };
    if names.value.is_empty() {
        return Err(Fault::at(names.referenced, "name at least one"));
    }
    let known = |written: &Spanned<String>| {
        every().find(|name| *name == written.value).ok_or_else(|| {
            let all: Vec<&str> = every().collect();
            let problem = format!("{:?} is none of {}", written.value, all.join(", "));
            Fault::at(written.referenced, problem)
        })
    };
    let taken: Result<_, _> = names.value.iter().map(known).collect();
    Ok(Signatures(taken?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::parse;

    fn read(signatures: &str) -> Result<super::Signatures, String> {
        let login = format!("{{authorized_keys: [a], policy: p{signatures}}}");
        let text = format!("host_keys: [k]\nlogins: {{a: {login}}}\n");
        let config = parse(Path::new("sandgate.yaml"), &text).map_err(|error| error.to_string())?;
        Ok(config.logins.into_values().next().unwrap().signatures)
    }

    #[test]
    fn keys_and_certificates_are_named_each_by_itself() {
        let all = read("").unwrap();
        assert!(all.take("ssh-ed25519") && all.take("ssh-ed25519-cert-v01@openssh.com"));
        assert!(!all.take("ssh-rsa"));
        let one = read(", signatures: [ssh-ed25519]").unwrap();
        assert!(one.take("ssh-ed25519") && !one.take("ssh-ed25519-cert-v01@openssh.com"));
        for (wrong, said) in [("[]", "at least one"), ("[ssh-rsa]", "none of")] {
            let error = read(&format!(", signatures: {wrong}")).unwrap_err();
            assert!(
                error.contains("signatures") && error.contains(said),
                "{error}"
            );
        }
    }
}
