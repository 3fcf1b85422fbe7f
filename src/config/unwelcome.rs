//! With whom nobody talks: RefuseConnection of sshd_config(5).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Login;
use super::manners::network;
use super::text::wrong;
use crate::model::LoginName;
use crate::yaml::Fault;

/// Whose connections are ended at once, and paid for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unwelcome {
    /// Where they come from.
    pub sources: Vec<IpNet>,
    /// Whom they want to be.
    pub logins: BTreeSet<String>,
}

impl Unwelcome {
    /// Whether nobody talks with this address.
    pub fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.sources.iter().any(|net| net.contains(&address))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UnwelcomeFile {
    sources: Vec<Spanned<String>>,
    logins: Vec<Spanned<String>>,
}

pub(super) fn check(
    file: &UnwelcomeFile,
    logins: &BTreeMap<LoginName, Login>,
) -> Result<Unwelcome, Fault> {
    let mut unwelcome = Unwelcome::default();
    for source in &file.sources {
        unwelcome.sources.push(network(source)?);
    }
    for name in &file.logins {
        if logins.keys().any(|login| login.as_str() == name.value) {
            let problem = format!("{:?} is one of `logins`; take it out of either", name.value);
            return wrong(name.referenced, problem);
        }
        unwelcome.logins.insert(name.value.clone());
    }
    Ok(unwelcome)
}
