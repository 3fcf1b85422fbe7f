//! Who gets which definition of sandboxes, by login, key and certificate.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::sandbox::{self, Definitions, Sharing};
use super::text::wrong;
use super::{Config, Login};
use crate::model::{DefinitionName, Fingerprint, Kind, LoginName, glob};
use crate::yaml::Fault;

/// A SHA-256 fingerprint: this, and 43 characters of base64 (ssh-keygen(1), -l).
const SHA256: &str = "SHA256:";

/// Rules in their order; the first that fits decides, and without one the login does.
#[derive(Debug, Clone, Default)]
pub struct Assignments {
    definitions: Definitions,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    /// One of each list that is not empty.
    each: Named,
    /// A member of one of these, unless there is none.
    groups: Vec<Named>,
    definition: DefinitionName,
}

/// Logins, keys' fingerprints and comments, and names in certificates.
#[derive(Debug, Clone, Default)]
struct Named {
    logins: BTreeSet<LoginName>,
    keys: BTreeSet<String>,
    /// With `*` and `?`.
    comments: BTreeSet<String>,
    principals: BTreeSet<String>,
}

/// Somebody who has logged in.
struct Guest<'a> {
    login: &'a LoginName,
    shown: Shown<'a>,
}

/// What somebody has logged in with.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The key, or a certificate's.
    pub key: &'a Fingerprint,
    /// What stands behind the key in authorized_keys; nothing where it was a certificate's.
    pub comment: Option<&'a str>,
    /// Whom its certificate names.
    pub principals: &'a [String],
}

/// A list that says something: one that is empty would fit nobody, or everybody.
type List = Option<Spanned<Vec<Spanned<String>>>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupFile {
    logins: List,
    keys: List,
    comments: List,
    principals: List,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AssignmentFile {
    logins: List,
    keys: List,
    comments: List,
    principals: List,
    groups: List,
    sandbox: Spanned<String>,
}

impl Assignments {
    pub(super) fn check(
        definitions: Definitions,
        groups: BTreeMap<String, Spanned<GroupFile>>,
        rules: Vec<AssignmentFile>,
        logins: &BTreeMap<LoginName, Login>,
    ) -> Result<Self, Fault> {
        let mut known = BTreeMap::new();
        for (name, group) in groups {
            let place = group.referenced;
            let GroupFile {
                logins: of,
                keys,
                comments,
                principals,
            } = group.value;
            let group = Named::check(logins, [of, keys, comments, principals])?;
            if group.is_empty() {
                return wrong(
                    place,
                    "name some of `logins`, `keys`, `comments` or `principals`",
                );
            }
            known.insert(name, group);
        }
        let mut checked = Vec::new();
        for rule in rules {
            let place = rule.sandbox.referenced;
            let (name, definition) = sandbox::find(&definitions, &rule.sandbox.value, place)?;
            let rule = Rule {
                each: Named::check(
                    logins,
                    [rule.logins, rule.keys, rule.comments, rule.principals],
                )?,
                groups: find_groups(&known, rule.groups)?,
                definition: name.clone(),
            };
            if rule.each.is_empty() && rule.groups.is_empty() {
                let problem = "is for nobody; name some of `logins`, `keys`, `comments`, `principals` or `groups` beside it";
                return wrong(place, problem);
            }
            let is_bare = |(login, configured): &(&LoginName, &Login)| {
                let own = configured.sandbox.name.as_ref();
                let others = own.and_then(|own| definitions.get(own));
                rule.may_fit(login) && others.is_some_and(|others| others.policy.is_some())
            };
            if definition.policy.is_none()
                && let Some((login, _)) = logins.iter().find(is_bare)
            {
                let problem = format!(
                    "neither sandbox {name} nor login {login} names a policy; add `policy` to the definition"
                );
                return wrong(place, problem);
            }
            checked.push(rule);
        }
        Ok(Self {
            definitions,
            rules: checked,
        })
    }

    /// Every login, as each definition that it may get makes it.
    pub(super) fn kinds(&self, logins: &BTreeMap<LoginName, Login>) -> BTreeMap<Kind, Login> {
        let mut kinds = BTreeMap::new();
        for (name, login) in logins {
            let kind = |definition: Option<&DefinitionName>| Kind {
                login: name.clone(),
                definition: definition.cloned(),
            };
            kinds.insert(kind(login.sandbox.name.as_ref()), login.clone());
            for rule in self.rules.iter().filter(|rule| rule.may_fit(name)) {
                let Some(definition) = self.definitions.get(&rule.definition) else {
                    continue;
                };
                let made = || Login {
                    sandbox: definition.sharing.clone(),
                    policy: definition.policy.clone().or_else(|| login.policy.clone()),
                    ..login.clone()
                };
                kinds
                    .entry(kind(Some(&rule.definition)))
                    .or_insert_with(made);
            }
        }
        kinds
    }

    fn find(&self, guest: &Guest<'_>) -> Option<&Sharing> {
        let rule = self.rules.iter().find(|rule| rule.fits(guest))?;
        let definition = self.definitions.get(&rule.definition)?;
        Some(&definition.sharing)
    }
}

impl Config {
    /// Every login, as each definition that it may get makes it.
    pub fn kinds(&self) -> BTreeMap<Kind, Login> {
        self.assignments.kinds(&self.logins)
    }

    /// The sandboxes for who logs in with this.
    pub fn sandboxes_for(&self, login: &LoginName, shown: Shown<'_>) -> (Kind, Sharing) {
        let assigned = self.assignments.find(&Guest { login, shown });
        let own = self.logins.get(login).map(|login| &login.sandbox);
        let sharing = assigned.or(own).cloned().unwrap_or_default();
        let kind = Kind {
            login: login.clone(),
            definition: sharing.name.clone(),
        };
        (kind, sharing)
    }
}

impl Rule {
    fn fits(&self, guest: &Guest<'_>) -> bool {
        let Named {
            logins,
            keys,
            comments,
            principals,
        } = &self.each;
        let is_member = |group: &Named| {
            group.has_login(guest.login)
                || group.has_key(guest)
                || group.has_comment(guest)
                || group.has_principal(guest)
        };
        (logins.is_empty() || self.each.has_login(guest.login))
            && (keys.is_empty() || self.each.has_key(guest))
            && (comments.is_empty() || self.each.has_comment(guest))
            && (principals.is_empty() || self.each.has_principal(guest))
            && (self.groups.is_empty() || self.groups.iter().any(is_member))
    }

    /// Whether it fits some who log in as this.
    fn may_fit(&self, login: &LoginName) -> bool {
        let has_some = |group: &Named| {
            group.has_login(login)
                || !(group.keys.is_empty()
                    && group.comments.is_empty()
                    && group.principals.is_empty())
        };
        (self.each.logins.is_empty() || self.each.has_login(login))
            && (self.groups.is_empty() || self.groups.iter().any(has_some))
    }
}

impl Named {
    fn check(
        known: &BTreeMap<LoginName, Login>,
        [logins, keys, comments, principals]: [List; 4],
    ) -> Result<Self, Fault> {
        let login = |name: &Spanned<String>| {
            let mut names = known.keys();
            let found = names.find(|known| known.as_str() == name.value).cloned();
            let place = name.referenced;
            found.ok_or_else(|| {
                sandbox::unknown("login", &name.value, known.keys(), "logins", place)
            })
        };
        Ok(Self {
            logins: each(logins, login)?,
            keys: each(keys, fingerprint)?,
            comments: each(comments, comment)?,
            principals: each(principals, principal)?,
        })
    }

    fn is_empty(&self) -> bool {
        self.logins.is_empty()
            && self.keys.is_empty()
            && self.comments.is_empty()
            && self.principals.is_empty()
    }

    fn has_login(&self, login: &LoginName) -> bool {
        self.logins.contains(login)
    }

    fn has_key(&self, guest: &Guest<'_>) -> bool {
        self.keys.contains(&guest.shown.key.0)
    }

    fn has_comment(&self, guest: &Guest<'_>) -> bool {
        let fits = |comment: &str| {
            let mut patterns = self.comments.iter();
            patterns.any(|pattern| glob(pattern.as_bytes(), comment.as_bytes()))
        };
        guest.shown.comment.is_some_and(fits)
    }

    fn has_principal(&self, guest: &Guest<'_>) -> bool {
        let mut names = guest.shown.principals.iter();
        names.any(|name| self.principals.contains(name))
    }
}

fn each<T: Ord>(
    list: List,
    check: impl Fn(&Spanned<String>) -> Result<T, Fault>,
) -> Result<BTreeSet<T>, Fault> {
    let Some(list) = list else {
        return Ok(BTreeSet::new());
    };
    if list.value.is_empty() {
        return wrong(list.referenced, "name at least one, or leave the key out");
    }
    list.value.iter().map(check).collect()
}

fn find_groups(known: &BTreeMap<String, Named>, list: List) -> Result<Vec<Named>, Fault> {
    let find = |name: &Spanned<String>| {
        let place = name.referenced;
        if known.contains_key(&name.value) {
            return Ok(name.value.clone());
        }
        let names = known.keys();
        Err(sandbox::unknown(
            "group",
            &name.value,
            names,
            "groups",
            place,
        ))
    };
    let names = each(list, find)?;
    Ok(names
        .iter()
        .filter_map(|name| known.get(name))
        .cloned()
        .collect())
}

fn fingerprint(text: &Spanned<String>) -> Result<String, Fault> {
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let digest = text.value.strip_prefix(SHA256);
    if digest.is_some_and(|digest| digest.len() == 43 && digest.bytes().all(base64)) {
        return Ok(text.value.clone());
    }
    let problem = format!(
        "{:?} is no fingerprint; `ssh-keygen -l -f KEY.pub` prints one: {SHA256} and 43 characters",
        text.value
    );
    wrong(text.referenced, problem)
}

fn comment(text: &Spanned<String>) -> Result<String, Fault> {
    if text.value.trim() != text.value || text.value.is_empty() {
        let problem = "give a comment of authorized_keys, or a pattern with * and ?, without blanks around it";
        return wrong(text.referenced, problem);
    }
    Ok(text.value.clone())
}

fn principal(text: &Spanned<String>) -> Result<String, Fault> {
    if text.value.is_empty() {
        return wrong(text.referenced, "no certificate names an empty principal");
    }
    Ok(text.value.clone())
}

#[cfg(test)]
mod tests;
