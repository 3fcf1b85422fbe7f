//! What is made of placeholders in bytes of anybody's, for tests and fuzzing: the code is the gate's own, and the
//! secrets are known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::fields::{self, header};
use super::placeholder::find;
use super::purse::{Claim, Fault, Purse};
use super::store::{Bindings, Secrets, Values};
use super::{BODY_BYTES, Form};
use crate::config::Provider;
use crate::egress::inspect::Scheme;
use crate::model::{Destination, Host, Kind, Place, ProviderName, Secret, SecretKey};

/// The secrets that there are, each with what some encoding has to do something about.
pub const SECRETS: [(&str, &[u8]); 6] = [
    ("PLAIN", b"abc"),
    ("MARKS", b"t0k:en&\"\\=+% <\x7f"),
    ("SLASH", b"a/b"),
    ("DOTS", b".."),
    ("WIDE", "\u{e4}\u{1f511}".as_bytes()),
    ("BYTES", b"\xff\xfe"),
];

/// Where placeholders stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whole {
    /// A body with this Content-Type.
    Body(String),
    /// A header's value.
    Header,
    /// A canonical path.
    Path,
    /// What follows a target's `?`.
    Query,
}

/// What goes on in place of `bytes`: `None` where nothing has to change; otherwise why nothing goes on.
pub fn filled(whole: &Whole, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut purse = purse().map_err(|fault| fault.to_string())?;
    let text = || std::str::from_utf8(bytes).map_err(|error| error.to_string());
    let owned = |filled: Option<String>| filled.map(String::into_bytes);
    let filled = match whole {
        Whole::Body(_) if bytes.len() as u64 > BODY_BYTES => return Err("too long".to_owned()),
        Whole::Body(content_type) => match Form::of(Some(content_type)) {
            Some(form) => form.fill(bytes, &mut purse).map(plain),
            None => Ok(None),
        },
        Whole::Header => header(bytes, &mut purse).map(plain),
        Whole::Path => fields::path(text()?, &mut purse).map(owned),
        Whole::Query => fields::query(text()?, &mut purse).map(owned),
    };
    filled.map_err(|fault| fault.to_string())
}

/// Whether a placeholder stands in `bytes` as they are.
pub fn names_one(bytes: &[u8]) -> bool {
    find(bytes).is_some()
}

fn plain(filled: Option<Zeroizing<Vec<u8>>>) -> Option<Vec<u8>> {
    filled.map(|filled| filled.to_vec())
}

/// For a request that may have all of them.
fn purse() -> Result<Purse, Fault> {
    let broken = |error: &dyn std::fmt::Display| Fault::Unavailable(error.to_string());
    let own = ProviderName::try_from("own".to_owned()).map_err(|error| broken(&error))?;
    let login = "a".to_owned().try_into().map_err(|error| broken(&error))?;
    let kind = Kind {
        login,
        definition: None,
    };
    let mut secrets = BTreeMap::new();
    for (name, value) in SECRETS {
        let key = SecretKey::try_from(name.to_owned()).map_err(|error| broken(&error))?;
        let secret = Secret::new(Zeroizing::new(value.to_vec())).map_err(|error| broken(&error))?;
        secrets.insert(key, Arc::new(secret));
    }
    let place = Place::parse("bound.example", BTreeSet::from([443]), "/**")
        .map_err(|_| Fault::Unavailable("no place".to_owned()))?;
    let provider = Provider {
        secrets: BTreeMap::new(),
        directory: Some("/".into()),
        places: vec![place],
        inject: Vec::new(),
    };
    let store = Arc::new(Secrets::default());
    store.replace(Values::from([(own.clone(), secrets)]));
    store.bind(Bindings {
        providers: BTreeMap::from([(own.clone(), provider)]),
        kinds: BTreeMap::from([(kind.clone(), vec![own])]),
    });
    let claim = Claim {
        secrets: store,
        kind,
        destination: Destination {
            host: Host::parse("bound.example").map_err(|error| broken(&error))?,
            port: 443,
        },
        scheme: Scheme::Tls,
        path: "/".to_owned(),
        provider: None,
    };
    claim.open()
}
