//! The secrets as they are now, and which sandboxes may use them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::{Provider, Providers};
use crate::model::{Kind, ProviderName, Secret, SecretKey};

/// What each provider has. One that can't be had at the moment is not there.
pub type Values = BTreeMap<ProviderName, BTreeMap<SecretKey, Arc<Secret>>>;

/// Where secrets may go, and whose sandboxes may send them there.
#[derive(Debug, Clone, Default)]
pub struct Bindings {
    /// The configuration's.
    pub providers: Providers,
    /// The providers of each kind of sandbox, in the order in which its definition names them.
    pub kinds: BTreeMap<Kind, Vec<ProviderName>>,
}

/// All secrets; one for the gate, by `Arc`. Both halves are replaced whole while it serves.
#[derive(Default)]
pub struct Secrets {
    values: RwLock<Arc<Values>>,
    bindings: RwLock<Arc<Bindings>>,
}

impl Secrets {
    /// The secret of this key as it is now; `None` while there is none. What asks again later may get
    /// another one: keep it no longer than the request that it is for.
    pub fn current(&self, provider: &ProviderName, key: &str) -> Option<Arc<Secret>> {
        self.values().get(provider)?.get(key).map(Arc::clone)
    }

    /// What a kind's sessions can name: every key of its providers that is configured, or is there now.
    pub fn keys(&self, kind: &Kind) -> BTreeSet<SecretKey> {
        let (values, bindings) = (self.values(), self.bindings());
        let mut keys = BTreeSet::new();
        for (name, provider) in bindings.of(kind) {
            keys.extend(provider.secrets.keys().cloned());
            keys.extend(
                values
                    .get(name)
                    .into_iter()
                    .flatten()
                    .map(|(key, _)| key.clone()),
            );
        }
        keys
    }

    /// Takes what the sources say now in the place of what they said.
    pub fn replace(&self, values: Values) {
        let fresh = Arc::new(values);
        *self.values.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// Takes the bindings of a new configuration. A kind that is gone keeps its list, for what still runs.
    pub fn bind(&self, mut fresh: Bindings) {
        for (kind, providers) in &self.bindings().kinds {
            if !fresh.kinds.contains_key(kind) {
                fresh.kinds.insert(kind.clone(), providers.clone());
            }
        }
        let fresh = Arc::new(fresh);
        *self
            .bindings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    pub(super) fn bindings(&self) -> Arc<Bindings> {
        Arc::clone(&self.bindings.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn values(&self) -> Arc<Values> {
        Arc::clone(&self.values.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Bindings {
    /// The providers of a kind's sandboxes.
    pub(super) fn of<'a>(
        &'a self,
        kind: &Kind,
    ) -> impl Iterator<Item = (&'a ProviderName, &'a Provider)> {
        let names = self.kinds.get(kind).into_iter().flatten();
        names.filter_map(|name| self.providers.get_key_value(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn kind(login: &str) -> Kind {
        Kind {
            login: login.to_owned().try_into().unwrap(),
            definition: None,
        }
    }

    #[test]
    fn a_secret_is_what_it_is_now_and_known_to_those_who_have_its_provider() {
        let secrets = Secrets::default();
        let provider = ProviderName::try_from("p".to_owned()).unwrap();
        let key = SecretKey::try_from("K".to_owned()).unwrap();
        assert!(secrets.current(&provider, "K").is_none());
        for value in ["one", "two"] {
            let secret =
                Secret::new(Zeroizing::new(value.into())).unwrap_or_else(|e| panic!("{e}"));
            let of_it = BTreeMap::from([(key.clone(), Arc::new(secret))]);
            secrets.replace(Values::from([(provider.clone(), of_it)]));
            let current = secrets.current(&provider, "K").unwrap();
            assert_eq!(current.expose(), value.as_bytes());
        }
        let mounted = Provider {
            secrets: BTreeMap::new(),
            directory: Some("/d".into()),
            places: Vec::new(),
            inject: Vec::new(),
        };
        let providers = Providers::from([(provider.clone(), mounted)]);
        secrets.bind(Bindings {
            providers: providers.clone(),
            kinds: BTreeMap::from([(kind("a"), vec![provider.clone()])]),
        });
        assert_eq!(secrets.keys(&kind("a")), BTreeSet::from([key.clone()]));
        assert!(secrets.keys(&kind("b")).is_empty());
        secrets.bind(Bindings {
            providers,
            ..Bindings::default()
        });
        assert_eq!(secrets.keys(&kind("a")), BTreeSet::from([key]));
        secrets.replace(Values::new());
        assert!(secrets.keys(&kind("a")).is_empty());
    }
}
