//! `egress.upstream_proxy`: the proxy that the gate itself has to go through.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::no_proxy::NoProxy;
use crate::config::text::wrong;
use crate::model::{Destination, Host};
use crate::yaml::Fault;

/// How to reach the outside where the gate can't by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamProxy {
    /// Whether it is spoken to in TLS, verified like an upstream.
    pub tls: bool,
    /// Where it listens.
    pub address: Destination,
    /// The file of the `user:password` that it is told, readable by root alone.
    pub credentials: Option<PathBuf>,
    /// What is dialled without it.
    pub no_proxy: NoProxy,
    /// Who turns names into addresses.
    pub resolve: Resolve,
}

/// Who turns the names of destinations behind the proxy into addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolve {
    /// The gate: every address is vetted, and the proxy is asked for the vetted one.
    #[default]
    Gate,
    /// Both: every address that the gate finds is vetted, and the proxy is asked for the name. Weaker: the
    /// proxy may find other addresses.
    Both,
    /// The proxy. Weaker: no address of a name is vetted.
    Proxy,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamProxyFile {
    url: Spanned<String>,
    credentials: Option<PathBuf>,
    #[serde(default)]
    no_proxy: Vec<Spanned<String>>,
    #[serde(default)]
    resolve: Resolve,
}

/// No message repeats the URL: somebody may have written a password into it.
pub(super) fn check(base: &Path, file: UpstreamProxyFile) -> Result<UpstreamProxy, Fault> {
    let place = file.url.referenced;
    let url = file.url.value.strip_suffix('/').unwrap_or(&file.url.value);
    let (tls, authority) = match url.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        _ => return wrong(place, "give http://host:port or https://host:port"),
    };
    if authority.contains('@') {
        // Every process of the daemon reads this file; only the gate reads that one.
        let mend = "write user:password into a file of mode 0600, and name that in `credentials`";
        return wrong(place, mend);
    }
    let Ok(address) = Destination::parse(authority) else {
        return wrong(
            place,
            "give http://host:port or https://host:port, and nothing behind it",
        );
    };
    if matches!(&address.host, Host::Name(name) if name.ends_with('.')) {
        return wrong(place, "its host ends in a dot; remove that");
    }
    Ok(UpstreamProxy {
        tls,
        address,
        credentials: file.credentials.map(|path| base.join(path)),
        no_proxy: NoProxy::check(file.no_proxy)?,
        resolve: file.resolve,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(lines: &str) -> Result<UpstreamProxy, String> {
        let text = format!(
            "host_keys: [k]\nlogins: {{a: {{authorized_keys: [a], policy: p}}}}\negress: {{upstream_proxy: {{{lines}}}}}\n"
        );
        let parsed = crate::config::parse(Path::new("/etc/sandgate.yaml"), &text);
        let found = parsed.map(|config| config.egress.upstream_proxy.unwrap());
        found.map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_has_its_parts() {
        let plain = proxy("url: 'http://proxy.example:3128/'").unwrap();
        assert!(!plain.tls && plain.credentials.is_none());
        assert_eq!(plain.address.to_string(), "proxy.example:3128");
        assert_eq!(plain.resolve, Resolve::Gate);
        let more = "url: 'https://[2001:db8::1]:443', credentials: who, resolve: both";
        let other = proxy(more).unwrap();
        assert!(other.tls && other.resolve == Resolve::Both);
        assert_eq!(other.address.to_string(), "[2001:db8::1]:443");
        assert_eq!(other.credentials, Some("/etc/who".into()));
    }

    #[test]
    fn what_is_wrong_is_said_without_a_password() {
        for url in [
            "proxy:3128",
            "socks5://u:hush@proxy:3128",
            "http://u:hush@proxy:3128",
            "http://proxy",
            "http://proxy:3128/hush",
            "http://proxy.:3128",
            "http://:3128",
        ] {
            let error = proxy(&format!("url: '{url}'")).unwrap_err();
            assert!(error.contains("sandgate.yaml:3:"), "{url}: {error}");
            assert!(!error.contains("hush"), "{url}: {error}");
        }
        let error = proxy("url: 'http://p:1', no_proxy: ['*.x']").unwrap_err();
        assert!(error.contains("none of `*`, a name"), "{error}");
    }
}
