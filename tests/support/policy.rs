//! Policies for the tests: a plain Debian's programs, and whatever network a test wants.

use std::path::Path;

/// What a session may see of the system, where the system has it: programs, libraries, certificates.
const READ_ONLY: [&str; 8] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/etc/ssl",
    "/etc/alternatives",
    "/etc/ld.so.cache",
];

/// curl may go to the allowed hosts; nothing else may go anywhere.
pub(crate) const ALLOW_CURL: &str = "\
network_policies:
  web:
    name: web
    endpoints:
      - {host: allowed.example, port: 80}
      - {host: allowed.example, port: 8080}
      - {host: six.example, port: 80}
      - {host: '*.wild.example', port: 80}
    binaries:
      - {path: /usr/bin/curl}
  inside:
    name: inside
    endpoints:
      - {host: private.example, port: 80}
      - {host: metadata.example, port: 80}
      - {host: loopback.example, port: 80}
      - {host: zero.example, port: 80}
    binaries:
      - {path: /usr/bin/curl}
  ranges:
    name: ranges
    endpoints:
      - {host: ula.example, port: 80, allowed_ips: ['fd00:9::/64']}
    binaries:
      - {path: /usr/bin/curl}
  literal:
    name: literal
    endpoints:
      - {host: 20.30.40.10, port: 8080}
    binaries:
      - {path: /usr/bin/curl}
";

/// A policy file with these network policies (a YAML text, possibly empty).
pub(crate) fn policy_with(network: &str) -> String {
    let there = READ_ONLY
        .into_iter()
        .filter(|path| Path::new(path).exists());
    let read_only = there.collect::<Vec<_>>().join(", ");
    format!(
        "version: 1\n\
         filesystem_policy:\n  include_workdir: true\n  read_only: [{read_only}]\n  \
         read_write: [/sandbox, /tmp]\n\
         landlock:\n  compatibility: hard_requirement\n\
         {network}"
    )
}
