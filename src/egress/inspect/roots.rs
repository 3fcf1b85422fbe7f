//! The authorities by which upstreams are verified: the system's bundle, and the operator's files beside it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::InspectError;

/// Where distributions keep all roots in one file: Debian and Arch, Fedora, SUSE, Alpine and the BSDs.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Trusted roots, in both forms that are needed of them.
#[derive(Debug)]
pub struct Roots {
    store: Arc<RootCertStore>,
    text: String,
}

impl Roots {
    /// The system's, where it has any, and those in these PEM files.
    pub fn read(more: &[PathBuf]) -> Result<Self, InspectError> {
        let system = SYSTEM.iter().map(Path::new).find(|path| path.exists());
        if system.is_none() {
            tracing::warn!(looked = ?SYSTEM, "this host has no bundle of root certificates; no public server will be believed");
        }
        let mut roots = (RootCertStore::empty(), String::new());
        if let Some(path) = system {
            // A root that webpki can't read verifies nothing: the system's bundle may hold some.
            add(&mut roots, path, Unusable::Skipped)?;
        }
        for path in more {
            add(&mut roots, path, Unusable::Refused)?;
        }
        let (store, text) = roots;
        Ok(Self {
            store: Arc::new(store),
            text,
        })
    }

    /// All of them in PEM.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// How to speak to an upstream, in one of these protocols (ALPN, RFC 7301).
    pub(in crate::egress) fn client(
        &self,
        protocols: &[&[u8]],
    ) -> Result<Arc<ClientConfig>, InspectError> {
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(Arc::clone(&self.store))
                .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// What a certificate that can't be a root is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unusable {
    Skipped,
    Refused,
}

fn add(
    (store, text): &mut (RootCertStore, String),
    path: &Path,
    unusable: Unusable,
) -> Result<(), InspectError> {
    let pem = read(path)?;
    let wrong = |problem: String| InspectError::Pem {
        path: path.display().to_string(),
        problem,
    };
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate =
            certificate.map_err(|e| wrong(format!("holds no certificates in PEM: {e}")))?;
        match store.add(certificate) {
            Ok(()) => count += 1,
            Err(error) if unusable == Unusable::Refused => {
                return Err(wrong(format!("a certificate can't be a root: {error}")));
            }
            Err(error) => tracing::debug!(path = %path.display(), %error, "a root was skipped"),
        }
    }
    if count == 0 {
        return Err(wrong("holds no certificates in PEM".to_owned()));
    }
    text.push_str(&pem);
    if !pem.ends_with('\n') {
        text.push('\n');
    }
    Ok(())
}

/// A PEM file's text.
pub(super) fn read(path: &Path) -> Result<String, InspectError> {
    let unread = |source: io::Error| InspectError::Read {
        path: path.display().to_string(),
        source,
    };
    let bytes = std::fs::read(path).map_err(unread)?;
    // Bundles have comments in whatever encoding; certificates are ASCII.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
