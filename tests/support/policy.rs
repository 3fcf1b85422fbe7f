//! Policies for the tests: a plain Debian's programs, and whatever network a test wants.

/// What a session may see of the system: its programs, and a home of its own.
const FILES: &str = "\
version: 1
filesystem_policy:
  include_workdir: true
  read_only: [/usr, /bin, /sbin, /lib, /lib64, /etc/ssl, /etc/alternatives, /etc/ld.so.cache]
  read_write: [/sandbox, /tmp]
landlock:
  compatibility: hard_requirement
";

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
    format!("{FILES}{network}")
}
