//! OpenSSH user certificates (PROTOCOL.certkeys): what one must be, and what it grants.

use russh::keys::Certificate;
use russh::keys::ssh_key::certificate::CertType;

use super::authorized_keys::{Problem, fit, strong};
use super::grants::Grants;
use super::key_options::{Presence, check_command};
use super::sources::Sources;

/// Why a certificate lets nobody in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It is a host's.
    #[error("the certificate is not a user's")]
    Type,
    /// Its signature is of a kind that is not taken.
    #[error("the certificate is signed with {0}, which is not accepted")]
    Signature(String),
    /// The key in it, or the one that signed it, is too weak.
    #[error("the certificate: {0}")]
    Key(Problem),
    /// Nobody signed it whose signature counts for this login.
    #[error("the certificate is signed by nobody whom the login trusts")]
    Authority,
    /// It names others, or nobody.
    #[error("the certificate names no principal of the login")]
    Principal,
    /// It sets a condition that is unknown here.
    #[error("the certificate's critical option {0:?} is not known")]
    Critical(String),
    /// The value of a critical option is none.
    #[error("the certificate's {0}: {1}")]
    Value(&'static str, String),
    /// It forces one command, and the key's line another.
    #[error("the certificate and authorized_keys force different commands")]
    Commands,
}

/// What a certificate allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    grants: Grants,
    principals: Vec<String>,
    presence: Presence,
    /// The only places that its holder may come from; `None` is any.
    pub(super) sources: Option<Sources>,
}

impl Terms {
    /// Reads a certificate whose dates and signature are good, whoever signed it. It grants what its
    /// extensions name; those that are not known grant nothing. Critical options that are not known refuse.
    pub(super) fn read(certificate: &Certificate) -> Result<Self, CertificateError> {
        if certificate.cert_type() != CertType::User {
            return Err(CertificateError::Type);
        }
        let algorithm = certificate.signature().algorithm();
        if !strong(&algorithm) {
            return Err(CertificateError::Signature(algorithm.to_string()));
        }
        for key in [certificate.public_key(), certificate.signature_key()] {
            fit(key).map_err(CertificateError::Key)?;
        }
        let extended = |name: &str| certificate.extensions().contains_key(name);
        let mut terms = Self {
            grants: Grants {
                terminal: extended("permit-pty"),
                forwarding: extended("permit-port-forwarding"),
                agent: extended("permit-agent-forwarding"),
                ..Grants::full()
            },
            principals: certificate.valid_principals().to_vec(),
            sources: None,
            presence: Presence {
                touch: !extended("no-touch-required"),
                verify: false,
            },
        };
        for (name, value) in certificate.critical_options().iter() {
            terms.restrict(name, value)?;
        }
        Ok(terms)
    }

    fn restrict(&mut self, name: &str, value: &str) -> Result<(), CertificateError> {
        match name {
            "force-command" => {
                check_command(value.as_bytes())
                    .map_err(|problem| CertificateError::Value("force-command", problem.into()))?;
                self.grants.command = Some(value.as_bytes().to_vec());
            }
            "source-address" => {
                let list = Sources::ranges(value.as_bytes())
                    .map_err(|error| CertificateError::Value("source-address", error.0))?;
                self.sources = Some(list);
            }
            "verify-required" => self.presence.verify = true,
            _ => return Err(CertificateError::Critical(name.to_owned())),
        }
        Ok(())
    }

    /// Whether the certificate names this principal. One that names nobody is good for nobody.
    pub(super) fn name(&self, principal: &[u8]) -> bool {
        self.principals
            .iter()
            .any(|name| name.as_bytes() == principal)
    }

    /// Narrows the certificate's grants by those of the line that trusts who signed it (sshd's
    /// `sshauthopt_merge`): what both allow, and one forced command at most.
    pub(super) fn narrow(
        &self,
        line: &Grants,
        presence: Presence,
    ) -> Result<(Grants, Presence), CertificateError> {
        let own = &self.grants;
        let command = match (&own.command, &line.command) {
            (Some(one), Some(other)) if one != other => return Err(CertificateError::Commands),
            (one, other) => one.as_ref().or(other.as_ref()).cloned(),
        };
        let grants = Grants {
            terminal: own.terminal && line.terminal,
            forwarding: own.forwarding && line.forwarding,
            agent: own.agent && line.agent,
            command,
            ..line.clone()
        };
        let presence = Presence {
            touch: self.presence.touch || presence.touch,
            verify: self.presence.verify || presence.verify,
        };
        Ok((grants, presence))
    }
}
