//! What every session finds in its environment.

use std::collections::BTreeMap;
use std::ffi::{CString, NulError};
use std::os::unix::ffi::OsStrExt;

use super::blueprint::{Blueprint, HOME, PROXY};
use super::files::{BUNDLE, JAVA_STORE};

/// Where programs look for a file of certificates to trust: OpenSSL and what follows it, Node.js, Deno,
/// Python's requests, curl, git, pip, cargo, the AWS tools, npm, gRPC.
const TRUST: [&str; 11] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "DENO_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "NPM_CONFIG_CAFILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
];

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image's variables, the client's, then ours, which win; but for PATH, which an image knows better.
pub(super) fn compose(
    blueprint: &Blueprint,
    client: Vec<(Vec<u8>, Vec<u8>)>,
    terminal: Option<Vec<u8>>,
) -> Result<Vec<CString>, NulError> {
    let image = blueprint.variables.iter().filter_map(|variable| {
        let (name, value) = variable.split_once('=')?;
        Some((name.into(), value.into()))
    });
    let mut variables: BTreeMap<Vec<u8>, Vec<u8>> = image.collect();
    let path = variables.remove(&b"PATH"[..]);
    let path = path.unwrap_or_else(|| PATH.into());
    variables.extend(client);
    let java = variables.remove(&b"JAVA_TOOL_OPTIONS"[..]);
    let mut set = |name: &str, value: &[u8]| variables.insert(name.into(), value.into());
    let login = blueprint.login.as_str().as_bytes();
    for (name, value) in [
        ("USER", login),
        ("LOGNAME", login),
        ("HOME", HOME.as_bytes()),
        ("SHELL", blueprint.shell.as_os_str().as_bytes()),
        ("PATH", &*path),
        // Node.js 24 and later asks for the proxy only then.
        ("NODE_USE_ENV_PROXY", b"1"),
    ] {
        set(name, value);
    }
    set("MAIL", &[b"/var/mail/", login].concat());
    if let Some(terminal) = terminal {
        set("SSH_TTY", &terminal);
    }
    let proxy = format!("http://{PROXY}");
    for (name, value) in [
        ("HTTP_PROXY", &*proxy),
        ("HTTPS_PROXY", &proxy),
        ("ALL_PROXY", &proxy),
        ("GRPC_PROXY", &proxy),
        ("NO_PROXY", "localhost,127.0.0.1,::1"),
    ] {
        set(name, value.as_bytes());
        set(&name.to_ascii_lowercase(), value.as_bytes());
    }
    for name in TRUST {
        set(name, BUNDLE.as_bytes());
    }
    // OpenSSL finds nothing there by its hash, and the file beside it; Go reads every file.
    let directory = BUNDLE.rsplit_once('/').map_or("/", |(parent, _)| parent);
    set("SSL_CERT_DIR", directory.as_bytes());
    set("JAVA_TOOL_OPTIONS", &java_options(java.as_deref()));
    variables
        .into_iter()
        .map(|(name, value)| CString::new([name, b"=".to_vec(), value].concat()))
        .collect()
}

/// Java has properties where others have variables, and this variable for them (JVM Tool Interface, "Tool
/// Interface Startup"). What is there already stays in front: of two, the later property counts.
fn java_options(before: Option<&[u8]>) -> Vec<u8> {
    let (host, port) = (PROXY.ip(), PROXY.port());
    let ours = format!(
        "-Djavax.net.ssl.trustStore={JAVA_STORE} -Djavax.net.ssl.trustStoreType=JKS \
         -Dhttp.proxyHost={host} -Dhttp.proxyPort={port} -Dhttps.proxyHost={host} -Dhttps.proxyPort={port} \
         -Dhttp.nonProxyHosts=localhost|127.*|[::1]"
    );
    match before {
        None => ours.into_bytes(),
        Some(before) => [before, b" ", ours.as_bytes()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javas_options_stand_behind_those_that_are_there() {
        let options = |before| String::from_utf8(java_options(before)).unwrap();
        let ours = options(None);
        let (host, port) = (PROXY.ip(), PROXY.port());
        for option in [
            "-Djavax.net.ssl.trustStore=/.sandgate/ca-bundle.jks".to_owned(),
            format!("-Dhttps.proxyHost={host}"),
            format!("-Dhttps.proxyPort={port}"),
        ] {
            assert!(ours.split(' ').any(|word| word == option), "{ours}");
        }
        assert_eq!(options(Some(b"-Xmx64m")), format!("-Xmx64m {ours}"));
    }
}
