//! The certificate authority that sandboxes trust, and the certificates that it signs for upstreams' names.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ::aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::{RootCertStore, ServerConfig};

use super::InspectError;
use super::roots::read;
use crate::model::Host;

/// How long an authority of one start is valid: longer than any start lasts.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a certificate that it signs is valid.
const LEAF_LIFE: Duration = Duration::from_secs(14 * 24 * 3600);
/// When a certificate is made anew.
const LEAF_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// What a clock in front of or behind this one may differ by.
const CLOCKS: Duration = Duration::from_secs(24 * 3600);
/// Certificates that are kept. A policy's wildcard lets a program ask for names without end.
const KEPT: usize = 512;

/// An authority with its private key. Neither `Debug` nor `Clone`: the key stays where it was made or read.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    /// One key for all certificates that are signed: making one costs a signature then.
    leaf_key: KeyPair,
    leaves: Mutex<Leaves>,
}

#[derive(Default)]
struct Leaves {
    made: HashMap<Host, (Instant, Arc<ServerConfig>)>,
    /// The oldest in front.
    order: VecDeque<Host>,
}

impl Authority {
    /// One of this start's own.
    pub fn make() -> Result<Self, InspectError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, "sandgate");
        // Two starts' authorities must not be taken for one another by name.
        let mut id = [0; 8];
        rand::fill(&mut id).map_err(|_| InspectError::Random)?;
        let id = u64::from_ne_bytes(id);
        name.push(DnType::CommonName, format!("sandgate inspection {id:016x}"));
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (SystemTime::now() - CLOCKS).into();
        params.not_after = (SystemTime::now() + AUTHORITY_LIFE).into();
        let certificate = params.self_signed(&key)?;
        Self::with(
            Issuer::new(params, key),
            certificate.der().clone(),
            certificate.pem(),
        )
    }

    /// The operator's, from PEM files: its certificate and its private key (PKCS #8, or SEC 1 or PKCS #1).
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, InspectError> {
        let (pem, secret) = (read(certificate)?, read(key)?);
        let wrong = |path: &Path, problem: String| InspectError::Pem {
            path: path.display().to_string(),
            problem,
        };
        let pair = KeyPair::from_pem(&secret)
            .map_err(|e| wrong(key, format!("holds no private key that can be used: {e}")))?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|e| wrong(certificate, format!("holds no certificate: {e}")))?;
        let issuer = Issuer::from_ca_cert_der(&der, pair)
            .map_err(|e| wrong(certificate, format!("is no authority's certificate: {e}")))?;
        let authority = Self::with(issuer, der, pem)?;
        authority.prove().map_err(|e| {
            let key = key.display();
            wrong(certificate, format!("can't vouch for what the key in {key} signs ({e}); give an authority's certificate (CA:TRUE, keyCertSign) and its own key"))
        })?;
        Ok(authority)
    }

    /// Whether a client that trusts the certificate takes what the key signs.
    fn prove(&self) -> Result<(), InspectError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?;
        let leaf = self.sign(&Host::Name("proof.invalid".to_owned()))?;
        let name = ServerName::try_from("proof.invalid")
            .map_err(|e| rustls::Error::General(e.to_string()))?;
        verifier.verify_server_cert(&leaf, &[], &name, &[], UnixTime::now())?;
        Ok(())
    }

    fn with(
        issuer: Issuer<'static, KeyPair>,
        certificate: CertificateDer<'static>,
        pem: String,
    ) -> Result<Self, InspectError> {
        Ok(Self {
            issuer,
            certificate,
            pem,
            leaf_key: KeyPair::generate()?,
            leaves: Mutex::default(),
        })
    }

    /// Its certificate.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// How to be this host for a client.
    pub(super) fn server(&self, host: &Host) -> Result<Arc<ServerConfig>, InspectError> {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, config)) = leaves.made.get(host)
            && made.elapsed() < LEAF_AGE
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.serve_with(self.sign(host)?)?);
        let fresh = (Instant::now(), Arc::clone(&config));
        if leaves.made.insert(host.clone(), fresh).is_none() {
            leaves.order.push_back(host.clone());
        }
        if leaves.order.len() > KEPT
            && let Some(oldest) = leaves.order.pop_front()
        {
            leaves.made.remove(&oldest);
        }
        Ok(config)
    }

    fn sign(&self, host: &Host) -> Result<CertificateDer<'static>, InspectError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // Names of 64 bytes and more do not fit here (X.520); clients look at the alternative name.
        params
            .distinguished_name
            .push(DnType::CommonName, "sandgate");
        params.subject_alt_names = vec![match host {
            Host::Name(name) => SanType::DnsName(name.as_str().try_into()?),
            Host::Address(address) => SanType::IpAddress(*address),
        }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (SystemTime::now() - CLOCKS).into();
        params.not_after = (SystemTime::now() + LEAF_LIFE).into();
        let leaf = params.signed_by(&self.leaf_key, &self.issuer)?;
        Ok(leaf.der().clone())
    }

    fn serve_with(&self, leaf: CertificateDer<'static>) -> Result<ServerConfig, InspectError> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(vec![leaf, self.certificate.clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A connection is to one sandbox's program; nothing of it is kept for a next one.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}
