//! Middlewares: which hosts they stand before. None is run yet, so one that must not fail shuts its hosts.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Spanned;

use super::endpoint::Endpoint;
use crate::policy::host::HostRule;
use crate::policy::schema::{self, OnError, Tls};
use crate::yaml::Fault;

const MAX_MIDDLEWARES: usize = 10;

/// A middleware that a connection may not pass without.
#[derive(Debug)]
pub(in crate::policy) struct Middleware {
    pub(in crate::policy) name: String,
    pub(in crate::policy) include: Vec<HostRule>,
    pub(in crate::policy) exclude: Vec<HostRule>,
}

/// Checks all; returns those that fail closed.
pub(super) fn check(
    written: &BTreeMap<String, Spanned<schema::Middleware>>,
    endpoints: &[Endpoint],
    warnings: &mut Vec<Fault>,
) -> Result<Vec<Middleware>, Fault> {
    if let Some(over) = written.values().nth(MAX_MIDDLEWARES) {
        return Err(Fault::at(
            over.referenced,
            format!("more than {MAX_MIDDLEWARES} middlewares"),
        ));
    }
    let mut orders = BTreeSet::new();
    let mut closed = Vec::new();
    for (name, entry) in written {
        let middleware = &entry.value;
        if middleware.name.value.is_empty() {
            return Err(Fault::at(middleware.name.referenced, "names no middleware"));
        }
        if let Some(order) = &middleware.order
            && !orders.insert(order.value)
        {
            return Err(Fault::at(
                order.referenced,
                format!("order {} is taken; give each its own", order.value),
            ));
        }
        let checked = Middleware {
            name: name.clone(),
            include: hosts(&middleware.endpoints.include)?,
            exclude: hosts(&middleware.endpoints.exclude)?,
        };
        if middleware.on_error == OnError::FailOpen {
            warnings.push(Fault::at(
                entry.referenced,
                "middlewares are not run yet; with `fail_open` its hosts pass without it",
            ));
            continue;
        }
        if let Some(skipped) = endpoints
            .iter()
            .find(|endpoint| endpoint.tls == Tls::Skip && checked.covers(endpoint))
        {
            return Err(Fault::at(
                entry.referenced,
                format!(
                    "can't see into the endpoint at line {}, which has `tls: skip`; remove that, or write `on_error: fail_open`",
                    skipped.location.line(),
                ),
            ));
        }
        warnings.push(Fault::at(
            entry.referenced,
            "middlewares are not run yet; its hosts are refused",
        ));
        closed.push(checked);
    }
    Ok(closed)
}

fn hosts(written: &[Spanned<String>]) -> Result<Vec<HostRule>, Fault> {
    written
        .iter()
        .map(|host| match host.value.as_str() {
            "*" | "**" => Ok(HostRule::Anywhere),
            text => HostRule::parse(text).map_err(|problem| Fault::at(host.referenced, problem)),
        })
        .collect()
}

impl Middleware {
    /// Whether some host of the endpoint is covered. Exclusions count only where they name it exactly.
    fn covers(&self, endpoint: &Endpoint) -> bool {
        let excluded =
            endpoint.host.is_exact() && self.exclude.iter().any(|host| host.meets(&endpoint.host));
        !excluded && self.include.iter().any(|host| host.meets(&endpoint.host))
    }
}
