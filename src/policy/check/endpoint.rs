//! One endpoint: where it leads, and whether its traffic must be looked into.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_saphyr::{Location, Spanned};

use super::conditions::{Rules, rules_of};
use super::rules;
use crate::policy::host::HostRule;
use crate::policy::pattern::PathPattern;
use crate::policy::request::{Kind, Operation};
use crate::policy::schema::{
    CredentialBinding, Endpoint as Written, Enforcement, McpOptions, PersistedQueries, Protocol,
    RegisteredQuery, RpcOptions, Tls,
};
use crate::yaml::Fault;

/// An endpoint of a network policy.
#[derive(Debug)]
pub(in crate::policy) struct Endpoint {
    /// The key of its network policy.
    pub(in crate::policy) policy: String,
    pub(in crate::policy) location: Location,
    pub(in crate::policy) host: HostRule,
    pub(in crate::policy) ports: BTreeSet<u16>,
    /// In order, so that two lists can be compared.
    pub(in crate::policy) allowed: BTreeSet<IpNet>,
    pub(in crate::policy) tls: Tls,
    pub(in crate::policy) inspection: Inspection,
    /// The author knows that no secret can be put in where nobody looks into it.
    pub(in crate::policy) uninspected_credentials: bool,
}

/// What happens to the bytes of an allowed connection.
#[derive(Debug)]
pub(in crate::policy) enum Inspection {
    /// They pass; `explicit` where the file says `protocol: tcp`.
    Tunnel { explicit: bool },
    /// Each request is judged, or credentials are put into it.
    Requests(Box<Requests>),
}

/// How requests are looked into.
#[derive(Debug)]
pub(in crate::policy) struct Requests {
    pub(in crate::policy) path: PathPattern,
    pub(in crate::policy) processing: Processing,
    pub(in crate::policy) rules: Rules,
}

/// All that changes how a request is processed; endpoints that meet must agree on it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::policy) struct Processing {
    pub(in crate::policy) protocol: Option<Protocol>,
    pub(in crate::policy) enforcement: Enforcement,
    pub(in crate::policy) encoded_slash: bool,
    pub(in crate::policy) websocket_rewrite: bool,
    pub(in crate::policy) body_rewrite: bool,
    pub(in crate::policy) signing: [Option<String>; 3],
    pub(in crate::policy) binding: Option<CredentialBinding>,
    pub(in crate::policy) persisted: PersistedQueries,
    pub(in crate::policy) registered: Vec<(String, RegisteredQuery)>,
    pub(in crate::policy) graphql_body_bytes: u64,
    pub(in crate::policy) json_rpc: Option<RpcOptions>,
    pub(in crate::policy) mcp: Option<McpOptions>,
}

impl Processing {
    /// How much of a JSON-RPC or MCP body is read, in bytes.
    pub(in crate::policy) fn rpc_body_bytes(&self) -> u64 {
        match (&self.mcp, &self.json_rpc) {
            (Some(mcp), _) => mcp.max_body_bytes,
            (None, Some(rpc)) => rpc.max_body_bytes,
            (None, None) => 65_536,
        }
    }

    /// What stands behind a persisted query's hash or id.
    pub(in crate::policy) fn registered(&self, id: &str) -> Option<Operation> {
        let (_, query) = self.registered.iter().find(|(key, _)| key == id)?;
        Some(Operation {
            kind: Kind::of(query.operation_type)?,
            name: query.operation_name.clone(),
            fields: query.fields.iter().cloned().collect(),
        })
    }
}

/// Checks one endpoint by itself.
pub(super) fn check(
    policy: &str,
    written: &Spanned<Written>,
    warnings: &mut Vec<Fault>,
) -> Result<Endpoint, Fault> {
    let (endpoint, place) = (&written.value, written.referenced);
    let protocol = endpoint.protocol.as_ref().map(|p| p.value);
    let allowed = endpoint
        .allowed_ips
        .iter()
        .map(network)
        .collect::<Result<BTreeSet<_>, _>>()?;
    let host = match &endpoint.host {
        Some(host) => {
            HostRule::parse(&host.value).map_err(|problem| Fault::at(host.referenced, problem))?
        }
        None if protocol == Some(Protocol::Tcp) => {
            return Err(Fault::at(place, "`protocol: tcp` needs `host`"));
        }
        None if allowed.is_empty() => {
            return Err(Fault::at(
                place,
                "names no `host`; add it, or `allowed_ips`",
            ));
        }
        None => HostRule::Anywhere,
    };
    let path = match &endpoint.path {
        Some(path) => PathPattern::parse(&path.value)
            .map_err(|problem| Fault::at(path.referenced, problem))?,
        None => PathPattern::every(),
    };
    credentials(endpoint)?;
    rules::check(written, warnings)?;
    let inspection = match protocol {
        Some(Protocol::Tcp) => Inspection::Tunnel { explicit: true },
        None if !asks_for_credentials(endpoint) => Inspection::Tunnel { explicit: false },
        _ => Inspection::Requests(Box::new(Requests {
            path,
            processing: processing(written, warnings),
            rules: rules_of(endpoint, warnings)?,
        })),
    };
    if endpoint.tls == Tls::Skip && !matches!(protocol, None | Some(Protocol::Tcp | Protocol::Sql))
    {
        warnings.push(Fault::at(
            place,
            "`tls: skip` hides the requests that its protocol has judged: only plain HTTP passes, and TLS is refused; remove one of them",
        ));
    }
    let ports = ports(written)?;
    Ok(Endpoint {
        policy: policy.to_owned(),
        location: place,
        host,
        ports,
        allowed,
        tls: endpoint.tls,
        inspection,
        uninspected_credentials: endpoint.allow_uninspected_credentials,
    })
}

/// `ports`, or `port` where that is missing or empty.
fn ports(written: &Spanned<Written>) -> Result<BTreeSet<u16>, Fault> {
    let endpoint = &written.value;
    let listed: Vec<&Spanned<i64>> = if endpoint.ports.is_empty() {
        endpoint.port.iter().collect()
    } else {
        endpoint.ports.iter().collect()
    };
    if listed.is_empty() {
        return Err(Fault::at(
            written.referenced,
            "names no port; add `port` or `ports`",
        ));
    }
    listed
        .into_iter()
        .map(|port| match u16::try_from(port.value) {
            Ok(number) if number != 0 => Ok(number),
            _ => Err(Fault::at(
                port.referenced,
                format!("{} is no port; a port is 1 to 65535", port.value),
            )),
        })
        .collect()
}

/// An address, or a network in CIDR form.
fn network(written: &Spanned<String>) -> Result<IpNet, Fault> {
    let text = &written.value;
    match (
        text.parse::<IpNet>(),
        text.parse::<IpAddr>().map(IpNet::from),
    ) {
        (Ok(net), _) => Ok(net.trunc()),
        (_, Ok(net)) => Ok(net),
        _ => Err(Fault::at(
            written.referenced,
            format!("{text:?} is no address and no network such as 10.0.5.0/24"),
        )),
    }
}

fn asks_for_credentials(endpoint: &Written) -> bool {
    endpoint.credential_signing.is_some()
        || endpoint.credential_binding.is_some()
        || endpoint.request_body_credential_rewrite
        || endpoint.websocket_credential_rewrite
}

fn credentials(endpoint: &Written) -> Result<(), Fault> {
    if let Some(signing) = &endpoint.credential_signing {
        if !matches!(
            signing.value.as_str(),
            "sigv4" | "sigv4:body" | "sigv4:no_body"
        ) {
            let problem = format!(
                "{:?} is unknown; write sigv4, sigv4:body or sigv4:no_body",
                signing.value
            );
            return Err(Fault::at(signing.referenced, problem));
        }
        if endpoint
            .signing_service
            .as_ref()
            .is_none_or(|service| service.value.is_empty())
        {
            return Err(Fault::at(
                signing.referenced,
                "needs `signing_service` beside it",
            ));
        }
        if endpoint.request_body_credential_rewrite {
            let problem =
                "excludes `request_body_credential_rewrite`: a signed body can't be changed";
            return Err(Fault::at(signing.referenced, problem));
        }
    }
    match (&endpoint.credential_binding, &endpoint.protocol) {
        (Some(binding), Some(protocol)) if protocol.value == Protocol::Tcp => Err(Fault::at(
            binding.referenced,
            "has no meaning with `protocol: tcp`; remove one of them",
        )),
        _ => Ok(()),
    }
}

fn processing(written: &Spanned<Written>, warnings: &mut Vec<Fault>) -> Processing {
    let endpoint = &written.value;
    let text = |value: &Option<Spanned<String>>| value.as_ref().map(|v| v.value.clone());
    if endpoint.enforcement.is_none() && endpoint.protocol.is_some() {
        warnings.push(Fault::at(
            written.referenced,
            "`enforcement` is omitted, which means audit: what the rules refuse passes; write `enforcement: enforce`",
        ));
    }
    Processing {
        protocol: endpoint.protocol.as_ref().map(|p| p.value),
        enforcement: endpoint
            .enforcement
            .as_ref()
            .map_or(Enforcement::Audit, |e| e.value),
        encoded_slash: endpoint.allow_encoded_slash,
        websocket_rewrite: endpoint.websocket_credential_rewrite,
        body_rewrite: endpoint.request_body_credential_rewrite,
        signing: [
            &endpoint.credential_signing,
            &endpoint.signing_service,
            &endpoint.signing_region,
        ]
        .map(text),
        binding: endpoint
            .credential_binding
            .as_ref()
            .map(|b| b.value.clone()),
        persisted: endpoint
            .persisted_queries
            .as_ref()
            .map_or(PersistedQueries::Deny, |p| p.value),
        registered: endpoint
            .graphql_persisted_queries
            .iter()
            .map(|(k, q)| (k.clone(), q.value.clone()))
            .collect(),
        graphql_body_bytes: endpoint
            .graphql_max_body_bytes
            .as_ref()
            .map_or(65_536, |b| b.value),
        json_rpc: endpoint.json_rpc.as_ref().map(|o| o.value.clone()),
        mcp: endpoint.mcp.as_ref().map(|o| o.value.clone()),
    }
}
