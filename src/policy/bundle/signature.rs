//! `.signatures.json`: one JSON Web Signature (RFC 7515) of the digests of all other files.

use std::collections::BTreeMap;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use serde::Deserialize;

use super::archive::{Files, printable};
use super::keys::{Key, Keyring};
use super::{BundleError, SIGNATURES, Trust, digest};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signatures {
    signatures: Vec<String>,
    plugin: Option<String>,
}

/// RFC 7515 §4.1. What changes how a signature is read (`b64`, RFC 7797) has to be in `crit`.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

/// What is signed (OPA: bundle signature format).
#[derive(Debug, Deserialize)]
struct Payload {
    files: Vec<Signed>,
    keyid: Option<String>,
    #[serde(default)]
    scope: String,
}

#[derive(Debug, Deserialize)]
struct Signed {
    name: String,
    hash: String,
    algorithm: String,
}

fn wrong<T>(problem: impl Into<String>) -> Result<T, BundleError> {
    Err(BundleError::Signature(problem.into()))
}

/// Every file was signed as it is, and no other was.
pub(super) fn verify(
    files: &Files,
    signatures: Option<&[u8]>,
    trust: &Trust,
) -> Result<(), BundleError> {
    let Trust::Keys(keyring) = trust else {
        return Ok(());
    };
    let Some(signatures) = signatures else {
        return wrong(format!(
            "it has none; sign it (`opa sign`, `opa build --signing-key`), which adds {SIGNATURES}"
        ));
    };
    let signed = signed(signatures, keyring)?;
    for (name, bytes) in files {
        let differs = |problem| {
            let name = printable(name.as_bytes());
            Err(BundleError::Digest { name, problem })
        };
        let Some((algorithm, expected)) = signed.get(name) else {
            return differs("is not among the files that were signed");
        };
        let Some(algorithm) = digest::algorithm(algorithm) else {
            return differs(
                "its digest is of no algorithm that is taken: SHA-256, SHA-384, SHA-512, SHA-512-256",
            );
        };
        let Some(found) = digest::of(algorithm, name, bytes) else {
            return differs("is no JSON, or has a key twice, or is nested too deeply");
        };
        if HEXLOWER_PERMISSIVE
            .decode(expected.as_bytes())
            .ok()
            .as_deref()
            != Some(found.as_ref())
        {
            return differs("is not as it was signed: the digest differs");
        }
    }
    match signed.keys().find(|name| !files.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(BundleError::Digest {
            name: printable(name.as_bytes()),
            problem: "was signed and is not there",
        }),
    }
}

/// Names with the algorithm and digest of each, as somebody says who may. Nothing of the payload is believed
/// before, but for the name of a key that is known here.
fn signed(
    signatures: &[u8],
    keyring: &Keyring,
) -> Result<BTreeMap<String, (String, String)>, BundleError> {
    let parsed: Result<Signatures, _> = serde_json::from_slice(signatures);
    let Ok(Signatures { signatures, plugin }) = parsed else {
        return wrong(format!(
            "{SIGNATURES} is no JSON of the form {{\"signatures\": [JWT]}}"
        ));
    };
    if plugin.is_some_and(|plugin| !plugin.is_empty() && plugin != "_default") {
        return wrong("it asks for a plugin, and there is none; sign it by OPA's own means");
    }
    let [token] = signatures.as_slice() else {
        return wrong(format!(
            "{} signatures; exactly one is needed",
            signatures.len()
        ));
    };
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else {
        return wrong("the token is no JWS in compact form (RFC 7515 §7.1)");
    };
    let decoded = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok();
    let message = format!("{header}.{payload}");
    let (Some(header), Some(payload), Some(signature)) =
        (decoded(header), decoded(payload), decoded(signature))
    else {
        return wrong("the token is not in base64url (RFC 7515 §2)");
    };
    let header: Result<Header, _> = serde_json::from_slice(&header);
    let payload: Result<Payload, _> = serde_json::from_slice(&payload);
    let (Ok(header), Ok(payload)) = (header, payload) else {
        return wrong("the token's header or payload is no JSON of the form that OPA writes");
    };
    if header.crit.is_some() {
        return wrong("its header has `crit`, and nothing is understood that could stand there");
    }
    let (name, key) = choose(keyring, &header, payload.keyid.as_deref())?;
    // The key's algorithm, never the header's word: RFC 8725 §3.1.
    let algorithm = key.algorithm.name();
    if header.alg != algorithm {
        return wrong(format!(
            "it says algorithm {}, and key {name} is for {algorithm}",
            printable(header.alg.as_bytes())
        ));
    }
    if !key.has_signed(message.as_bytes(), &signature) {
        return wrong(format!("it was not made by key {name}"));
    }
    if payload.scope != keyring.scope {
        return wrong(format!(
            "its scope is {:?}, and {:?} is asked for (bundle.signing.scope)",
            printable(payload.scope.as_bytes()),
            keyring.scope
        ));
    }
    let mut signed = BTreeMap::new();
    for file in payload.files {
        let name = file.name.strip_prefix('/').unwrap_or(&file.name).to_owned();
        if signed.insert(name, (file.algorithm, file.hash)).is_some() {
            return wrong("a file stands in it twice");
        }
    }
    Ok(signed)
}

/// The key that has to have signed: the operator's choice, or the one of his that the signature names.
fn choose<'a>(
    keyring: &'a Keyring,
    header: &Header,
    keyid: Option<&str>,
) -> Result<(&'a str, &'a Key), BundleError> {
    let wanted = (keyring.keyid.as_deref())
        .or(keyid)
        .or(header.kid.as_deref());
    let wanted = wanted.filter(|name| !name.is_empty());
    let mut keys = keyring.keys.iter();
    let found = match wanted {
        Some(wanted) => keys.find(|(name, _)| *name == wanted),
        None => keys.next().filter(|_| keyring.keys.len() == 1),
    };
    if let Some((name, key)) = found {
        return Ok((name, key));
    }
    let known: Vec<&str> = keyring.keys.keys().map(String::as_str).collect();
    let known = known.join(", ");
    match wanted {
        Some(name) => wrong(format!(
            "it is of key {:?}, and known here are {known}",
            printable(name.as_bytes())
        )),
        None => wrong(format!(
            "it names no key, and there are several: {known}; choose one by bundle.signing.keyid"
        )),
    }
}
