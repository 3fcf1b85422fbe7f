//! Every attempt of the attack suite: what it tries, what stops it, and where it succeeds.
//!
//! `suite.rs` runs it, and holds docs/attacks.md to it.

mod granted;

use Control::{Ablated, Differs, Gate, Host, Nobody, Root, Shown};

/// One attempt.
pub(crate) struct Attempt {
    /// A verb of programs/attack.c and its argument, in which names in braces stand for what the suite
    /// has set up (`Stage` in suite.rs); or, for `Shown`, what is done.
    pub(crate) attack: &'static str,
    /// What it would give.
    pub(crate) tries: &'static str,
    /// What stops it; each of them alone would.
    pub(crate) by: &'static str,
    /// Where it succeeds.
    pub(crate) control: Control,
    /// The answers that count as stopped.
    pub(crate) stopped: &'static [&'static str],
}

/// Where an attempt succeeds, so that its failure in a sandbox means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Outside, by an ordinary user without any capability: only the sandbox is missing.
    Nobody,
    /// Outside, by root in namespaces that are thrown away.
    Root,
    /// Outside, by root in the system's namespaces, on the very same target.
    Host,
    /// In the network namespace of the gate.
    Gate,
    /// In a sandbox without some layers (tests/layers.rs).
    Ablated(&'static str),
    /// On some kernels only: root in fresh namespaces is let in, or gets this answer. That it is another
    /// one inside shows that the sandbox answers, before what is missing or malformed is seen.
    Differs(&'static [&'static str]),
    /// In a test of its own, which has a control of its own: file, function.
    Shown(&'static str, &'static str),
}

/// The sandbox in which attempts are made, by what its definition allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inside {
    Plain,
    Nesting,
    Tracing,
    Both,
}

/// The attempts of one area.
pub(crate) struct Area {
    pub(crate) name: &'static str,
    pub(crate) inside: Inside,
    pub(crate) attempts: &'static [Attempt],
}

const fn attempt(
    attack: &'static str,
    tries: &'static str,
    by: &'static str,
    control: Control,
    stopped: &'static [&'static str],
) -> Attempt {
    Attempt {
        attack,
        tries,
        by,
        control,
        stopped,
    }
}

const EPERM: &[&str] = &["EPERM"];
const ENOSYS: &[&str] = &["ENOSYS"];
const SIGSYS: &[&str] = &["SIGSYS"];
const REFUSED: &[&str] = &["EPERM", "EACCES"];
const UNREACHABLE: &[&str] = &["ENETUNREACH", "EHOSTUNREACH"];
const UNCHANGED: &[&str] = &["EROFS", "EACCES", "EPERM", "EXDEV"];
const ABSENT: &[&str] = &["ENOENT", "EACCES"];
const NOBODY_THERE: &[&str] = &["ESRCH"];
const NO_FAMILY: Control = Differs(&["EAFNOSUPPORT"]);
const NO_PROTOCOL: Control = Differs(&["EPROTONOSUPPORT", "ESOCKTNOSUPPORT"]);

/// The whole suite.
pub(crate) const AREAS: &[Area] = &[
    Area {
        name: "Sockets of other kinds",
        inside: Inside::Plain,
        attempts: SOCKETS,
    },
    Area {
        name: "Past the proxy",
        inside: Inside::Plain,
        attempts: DIRECT,
    },
    Area {
        name: "Sockets of the host",
        inside: Inside::Plain,
        attempts: HOST_SOCKETS,
    },
    Area {
        name: "Mounts and namespaces",
        inside: Inside::Plain,
        attempts: NAMESPACES,
    },
    Area {
        name: "System calls",
        inside: Inside::Plain,
        attempts: CALLS,
    },
    Area {
        name: "Other sessions of the sandbox",
        inside: Inside::Plain,
        attempts: SESSIONS,
    },
    Area {
        name: "Other sandboxes",
        inside: Inside::Plain,
        attempts: NEIGHBOURS,
    },
    Area {
        name: "The daemon",
        inside: Inside::Plain,
        attempts: DAEMON,
    },
    Area {
        name: "Privileges",
        inside: Inside::Plain,
        attempts: PRIVILEGES,
    },
    Area {
        name: "Terminals and what is inherited",
        inside: Inside::Plain,
        attempts: TERMINALS,
    },
    Area {
        name: "What policy lists read-only",
        inside: Inside::Plain,
        attempts: READ_ONLY,
    },
    Area {
        name: "What policy does not list",
        inside: Inside::Plain,
        attempts: UNLISTED,
    },
    Area {
        name: "Devices and the kernel's settings",
        inside: Inside::Plain,
        attempts: DEVICES,
    },
    Area {
        name: "Code from memory",
        inside: Inside::Plain,
        attempts: MEMORY,
    },
    Area {
        name: "Forwarding as a way out",
        inside: Inside::Plain,
        attempts: FORWARDING,
    },
    Area {
        name: "Bombs",
        inside: Inside::Plain,
        attempts: BOMBS,
    },
    Area {
        name: "Crashes",
        inside: Inside::Plain,
        attempts: CRASHES,
    },
    Area {
        name: "An ordinary user's daemon, with the user's one id for all",
        inside: Inside::Plain,
        attempts: ONE_ID,
    },
    Area {
        name: "With `allow: {user_namespaces: true}`",
        inside: Inside::Nesting,
        attempts: granted::NESTING,
    },
    Area {
        name: "With `allow: {ptrace: true}`",
        inside: Inside::Tracing,
        attempts: granted::TRACING,
    },
    Area {
        name: "With both",
        inside: Inside::Both,
        attempts: granted::BOTH,
    },
];

#[rustfmt::skip]
const SOCKETS: &[Attempt] = &[
    attempt("packet-socket", "reads every packet of a link", "seccomp, privileges", Root, EPERM),
    attempt("socket:17,2,768", "the same, without link headers", "seccomp, privileges", Root, EPERM),
    attempt("socket:2,10,768", "the same, by SOCK_PACKET of old", "seccomp, privileges", Root, EPERM),
    attempt("raw-socket", "makes ICMP packets by hand", "seccomp, privileges", Root, EPERM),
    attempt("raw-socket6", "makes ICMPv6 packets by hand", "seccomp, privileges", Root, EPERM),
    attempt("socket:2,3,255", "makes whole IPv4 packets by hand", "seccomp, privileges", Root, EPERM),
    attempt("socket:10,3,255", "makes whole IPv6 packets by hand", "seccomp, privileges", Root, EPERM),
    attempt("ping-socket", "pings without a raw socket", "seccomp, net", Root, EPERM),
    attempt("socket:44,3,0", "AF_XDP: packets past the stack", "seccomp, privileges", Root, EPERM),
    attempt("vsock-socket", "AF_VSOCK: the hypervisor, past every namespace", "seccomp", Differs(&["EAFNOSUPPORT"]), EPERM),
    attempt("vsock-high-bits", "the same, with bits that the kernel ignores", "seccomp", Differs(&["EAFNOSUPPORT"]), EPERM),
    attempt("alg-socket", "AF_ALG: the kernel's ciphers", "seccomp", NO_FAMILY, EPERM),
    attempt("socket:31,3,1", "AF_BLUETOOTH", "seccomp", NO_FAMILY, EPERM),
    attempt("socket:15,3,2", "AF_KEY: IPsec's keys", "seccomp", NO_FAMILY, EPERM),
    attempt("socket:21,5,0", "AF_RDS", "seccomp", NO_FAMILY, EPERM),
    attempt("socket:30,1,0", "AF_TIPC", "seccomp", NO_FAMILY, EPERM),
    attempt("socket:43,1,0", "AF_SMC", "seccomp", NO_FAMILY, EPERM),
    attempt("socket:29,3,1", "AF_CAN", "seccomp", NO_FAMILY, EPERM),
    attempt("socket:41,2,0", "AF_KCM", "seccomp", NO_FAMILY, EPERM),
    attempt("socket:33,2,2", "AF_RXRPC", "seccomp", NO_FAMILY, EPERM),
    attempt("socket:42,2,0", "AF_QIPCRTR", "seccomp", NO_FAMILY, EPERM),
    attempt("socket:24,1,0", "AF_PPPOX", "seccomp", NO_FAMILY, EPERM),
    attempt("socket:9,5,0", "AF_X25", "seccomp", NO_FAMILY, EPERM),
    attempt("socketpair:30,1,0", "AF_TIPC by socketpair(2), which a filter of socket(2) does not see", "seccomp", NO_FAMILY, EPERM),
    attempt("sctp-socket", "SCTP", "seccomp", NO_PROTOCOL, EPERM),
    attempt("socket:2,6,33", "DCCP", "seccomp", NO_PROTOCOL, EPERM),
    attempt("socket:2,2,136", "UDP-Lite", "seccomp", NO_PROTOCOL, EPERM),
    attempt("socket:2,2,115", "L2TP", "seccomp", NO_PROTOCOL, EPERM),
    attempt("mptcp-socket", "MPTCP: paths that a look at TCP does not see", "seccomp", Nobody, EPERM),
    attempt("netfilter-socket", "netlink: nftables", "seccomp", Nobody, EPERM),
    attempt("generic-netlink", "netlink: families by name", "seccomp", Nobody, EPERM),
    attempt("xfrm-socket", "netlink: IPsec", "seccomp", Nobody, EPERM),
    attempt("socket:16,3,2", "netlink: between programs", "seccomp", Nobody, EPERM),
    attempt("socket:16,3,4", "netlink: who holds which socket", "seccomp", Nobody, EPERM),
    attempt("socket:16,3,9", "netlink: the audit subsystem", "seccomp", Differs(&["EPROTONOSUPPORT"]), EPERM),
    attempt("socket:16,3,10", "netlink: lookups in routing tables", "seccomp", Nobody, EPERM),
    attempt("socket:16,3,11", "netlink: the connector, which tells of processes", "seccomp", Differs(&["EPROTONOSUPPORT"]), EPERM),
    attempt("socket:16,3,15", "netlink: events of devices", "seccomp", Nobody, EPERM),
    attempt("promiscuous:lo", "changes a link's flags", "privileges", Root, EPERM),
    attempt("add-address:lo", "gives a link an address", "privileges", Root, EPERM),
    attempt("new-link", "makes a pair of links by netlink's route family, which is allowed", "privileges", Root, EPERM),
    attempt("new-route", "adds a route by the same", "privileges", Root, EPERM),
    attempt("transparent", "answers for addresses that are not its own", "privileges", Root, EPERM),
    attempt("mark", "marks packets past rules of routing", "privileges", Root, EPERM),
    attempt("low-port:80", "serves on a port below 1024", "privileges", Root, REFUSED),
    attempt("tcp-socket", "a plain TCP socket works, or all of these would prove nothing", "-", Nobody, &["ok"]),
];

#[rustfmt::skip]
const DIRECT: &[Attempt] = &[
    attempt("tcp-connect:20.30.40.10,80", "a public address", "net", Gate, UNREACHABLE),
    attempt("tcp-connect:2a00:1:1::10,80", "a public IPv6 address", "net", Gate, UNREACHABLE),
    attempt("tcp-connect:::ffff:20.30.40.10,80", "an IPv4 address in IPv6's clothes", "net", Gate, UNREACHABLE),
    attempt("tcp-connect:10.9.9.9,80", "a private address", "net", Gate, UNREACHABLE),
    attempt("tcp-connect:fd00:9::9,80", "a unique local address", "net", Gate, UNREACHABLE),
    attempt("tcp-connect:100.64.9.9,80", "an address behind a carrier's NAT", "net", Gate, UNREACHABLE),
    attempt("tcp-connect:169.254.169.254,80", "the cloud's metadata", "net", Gate, UNREACHABLE),
    attempt("tcp-connect:fd00:ec2::254,80", "the cloud's metadata by IPv6", "net", Gate, UNREACHABLE),
    attempt("tcp-connect:20.30.40.1,8080", "a service of the gate's own host", "net", Gate, UNREACHABLE),
    attempt("tcp-connect:127.0.0.1,8080", "a service of the host's loopback", "net", Gate, &["ECONNREFUSED"]),
    attempt("tcp-connect:::1,8080", "a service of the host's IPv6 loopback", "net", Gate, &["ECONNREFUSED"]),
    attempt("tcp-connect:127.0.0.1,2222", "the daemon's own port", "net", Gate, &["ECONNREFUSED"]),
    attempt("fast-open:20.30.40.10,80", "data in a connection's first packet, without connect(2)", "net", Gate, UNREACHABLE),
    attempt("udp-send:20.30.40.10,53", "a datagram to a resolver", "net", Gate, UNREACHABLE),
    attempt("udp-send:2a00:1:1::10,53", "the same by IPv6", "net", Gate, UNREACHABLE),
    attempt("udp-send:20.30.40.1,53", "a datagram to the host", "net", Gate, UNREACHABLE),
    attempt("udp-send:10.9.9.9,53", "a datagram to a private address", "net", Gate, UNREACHABLE),
    attempt("udp-send:169.254.169.254,53", "a datagram to the metadata's resolver", "net", Gate, UNREACHABLE),
    attempt("udp-send:20.30.40.255,9", "a broadcast", "net", Gate, UNREACHABLE),
    attempt("`curl` without the proxy's variables, nine addresses and names", "past the proxy", "net", Shown("tests/egress/direct.rs", "without_the_proxy_variables_there_is_no_way_out"), &[]),
    attempt("`getent hosts`", "a name's address; a question is a message to whoever answers", "net, mnt", Shown("tests/egress/direct.rs", "names_do_not_resolve_inside"), &[]),
    attempt("`curl` to a name that no rule has", "by the proxy", "policy", Shown("tests/egress/denied.rs", "a_host_that_no_rule_names_is_denied_unresolved"), &[]),
    attempt("`curl` by another program than the rule's", "by the proxy", "policy", Shown("tests/egress/denied.rs", "a_binary_that_no_rule_names_is_denied"), &[]),
    attempt("an allowed name with a private address", "the network behind the gate", "vetting", Shown("tests/egress/denied.rs", "names_of_private_addresses_are_denied_below_a_wildcard"), &[]),
    attempt("an allowed name with the address of loopback or metadata", "the gate's host, the cloud's keys", "vetting", Shown("tests/egress/denied.rs", "loopback_and_link_local_are_denied_even_by_name"), &[]),
    attempt("CONNECT to loopback, metadata, 0.0.0.0", "the same by address", "vetting", Shown("tests/egress/denied.rs", "loopback_metadata_and_unspecified_are_denied_even_as_named_addresses"), &[]),
    attempt("the proxy's port bound again, with each option of reuse", "other programs' requests", "the listener", Shown("tests/confinement/neighbours.rs", "the_proxys_port_cannot_be_taken_over"), &[]),
];

#[rustfmt::skip]
const HOST_SOCKETS: &[Attempt] = &[
    attempt("unix-connect:{socket}", "a service of the host by its path", "mnt", Nobody, ABSENT),
    attempt("abstract-connect:{abstract}", "a service of the host by its abstract name", "net, landlock", Nobody, &["ECONNREFUSED", "EPERM"]),
    attempt("abstract-listen", "an abstract name of one session from another", "landlock", Shown("tests/confinement/neighbours.rs", "an_abstract_socket_of_another_session_is_out_of_reach"), &[]),
];

#[rustfmt::skip]
const NAMESPACES: &[Attempt] = &[
    attempt("mount-tmpfs", "mounts over what is there", "seccomp, privileges, landlock", Root, EPERM),
    attempt("mount-bind", "shows a tree a second time, elsewhere", "seccomp, privileges, landlock", Root, EPERM),
    attempt("mount:proc", "a /proc without hidepid", "seccomp, privileges, landlock", Root, EPERM),
    attempt("mount:sysfs", "a /sys", "seccomp, privileges, landlock", Root, EPERM),
    attempt("mount:devpts", "other terminals", "seccomp, privileges, landlock", Root, EPERM),
    attempt("mount:cgroup2", "the cgroups", "seccomp, privileges, landlock", Root, EPERM),
    attempt("mount-overlay:/usr", "a writable layer over what is read-only", "seccomp, privileges, landlock", Root, EPERM),
    attempt("remount-root", "makes the root writable", "seccomp, privileges, landlock", Root, EPERM),
    attempt("share-root", "has mounts spread to elsewhere", "seccomp, privileges, landlock", Root, EPERM),
    attempt("umount-proc", "uncovers what a mount hides", "seccomp, privileges, landlock", Root, EPERM),
    attempt("chroot", "a root of its own", "seccomp, privileges", Root, EPERM),
    attempt("pivot-root", "another root for everybody", "seccomp, privileges, landlock", Differs(&["EINVAL", "EBUSY"]), EPERM),
    attempt("open-tree", "a copy of a mount, as a descriptor", "seccomp, privileges", Root, EPERM),
    attempt("fsopen", "a file system, as a descriptor", "seccomp, privileges", Root, EPERM),
    attempt("fspick", "a mounted file system, to be set otherwise", "seccomp, privileges", Root, EPERM),
    attempt("move-mount", "fsopen to move_mount, the whole new way", "seccomp, privileges, landlock", Root, EPERM),
    attempt("mount-setattr", "takes `read-only` off a mount", "seccomp, privileges", Root, EPERM),
    attempt("listmount", "the mounts, by number", "seccomp", Nobody, EPERM),
    attempt("quotactl", "quotas of the host's file systems", "seccomp", Nobody, EPERM),
    attempt("open-by-handle", "a file by its number, past every directory", "seccomp, privileges", Root, EPERM),
    attempt("fanotify", "is told of every file that anybody opens", "seccomp, privileges", Root, EPERM),
    attempt("unshare-user", "a user namespace, and every capability in it", "seccomp", Nobody, EPERM),
    attempt("unshare-net", "a network namespace", "seccomp, privileges", Root, EPERM),
    attempt("unshare-mount", "a mount namespace", "seccomp, privileges", Root, EPERM),
    attempt("unshare:20000000", "a pid namespace", "seccomp, privileges", Root, EPERM),
    attempt("unshare:8000000", "an IPC namespace", "seccomp, privileges", Root, EPERM),
    attempt("unshare:4000000", "a UTS namespace", "seccomp, privileges", Root, EPERM),
    attempt("unshare:2000000", "a cgroup namespace", "seccomp, privileges", Root, EPERM),
    attempt("unshare:80", "a time namespace", "privileges", Root, EPERM),
    attempt("unshare:400", "a table of descriptors that the search for a connection's owner does not see", "seccomp", Nobody, EPERM),
    attempt("close-range-unshare", "the same by close_range(2)", "seccomp", Nobody, EPERM),
    attempt("clone-user", "a user namespace by clone(2)", "seccomp", Nobody, EPERM),
    attempt("clone-user-high-bits", "the same, with bits that the kernel ignores", "seccomp", Nobody, EPERM),
    attempt("clone:20000000", "a pid namespace by clone(2)", "seccomp, privileges", Root, EPERM),
    attempt("clone:40000000", "a network namespace by clone(2)", "seccomp, privileges", Root, EPERM),
    attempt("clone:20000", "a mount namespace by clone(2)", "seccomp, privileges", Root, EPERM),
    attempt("clone-parent", "a child that is the monitor's, not its own", "seccomp", Nobody, EPERM),
    attempt("clone3", "clone3(2), whose flags no filter sees", "seccomp", Nobody, ENOSYS),
    attempt("clone3-user", "a user namespace by clone3(2)", "seccomp", Nobody, ENOSYS),
    attempt("setns", "joins a namespace by /proc/self/ns", "seccomp, privileges", Root, REFUSED),
    attempt("setns-path:/proc/1/ns/mnt", "joins the init's mounts", "seccomp, privileges, landlock", Root, &["EPERM", "EACCES", "ENOENT"]),
    attempt("setns-pidfd:1", "joins by a pidfd", "seccomp, privileges, landlock", Root, EPERM),
    attempt("sethostname", "names the host", "seccomp, privileges", Root, EPERM),
    attempt("setdomainname", "names its domain", "seccomp, privileges", Root, EPERM),
    attempt("attach-segment", "System V memory of the host", "ipc", Shown("tests/layers.rs", "the_ipc_namespace_holds_shared_memory"), &[]),
    attempt("host-is-named", "the host's name", "uts", Shown("tests/layers.rs", "the_uts_namespace_holds_the_hosts_name"), &[]),
];

#[rustfmt::skip]
const CALLS: &[Attempt] = &[
    attempt("io-uring", "a ring whose requests no filter sees", "seccomp", Nobody, EPERM),
    attempt("io-uring-enter", "a ring that somebody else made", "seccomp", Differs(&["EBADF", "EOPNOTSUPP"]), EPERM),
    attempt("bpf", "a map in the kernel", "seccomp, privileges", Root, EPERM),
    attempt("bpf-program", "a program in the kernel", "seccomp, privileges", Root, EPERM),
    attempt("userfaultfd", "stops the kernel in the middle of a copy", "seccomp", Nobody, EPERM),
    attempt("perf", "counts what others do", "seccomp", Root, EPERM),
    attempt("keyctl", "joins a keyring", "seccomp", Nobody, EPERM),
    attempt("add-key", "leaves something in a keyring", "seccomp", Nobody, EPERM),
    attempt("request-key", "searches keyrings, and runs /sbin/request-key", "seccomp", Nobody, EPERM),
    attempt("session-key", "a key of the keyring that the daemon was started with", "keyring, seccomp", Shown("tests/layers.rs", "keyring_and_seccomp_hold_the_daemons_keys"), &[]),
    attempt("x32", "the other numbers of the same calls", "seccomp", Differs(&["ENOSYS"]), SIGSYS),
    attempt("int80", "the calls of 32-bit programs", "seccomp", Nobody, SIGSYS),
    attempt("personality:400000", "data that may be executed", "seccomp", Nobody, EPERM),
    attempt("personality:40000", "addresses that are not random", "seccomp", Nobody, EPERM),
    attempt("modify-ldt", "segments of its own", "seccomp", Nobody, EPERM),
    attempt("move-pages", "moves memory between nodes", "seccomp", Nobody, EPERM),
    attempt("migrate-pages", "moves a process's memory between nodes", "seccomp", Differs(&["EINVAL"]), EPERM),
    attempt("memfd-secret", "memory that the kernel itself cannot read", "seccomp", Differs(&["ENOSYS"]), EPERM),
    attempt("trace-me", "asks to be traced, to come past a filter's decisions", "seccomp", Nobody, EPERM),
    attempt("adjtimex", "the clock's rate", "seccomp", Nobody, EPERM),
    attempt("clock-settime", "the time", "seccomp, privileges", Root, EPERM),
    attempt("settimeofday", "the time, by the older call", "seccomp, privileges", Root, EPERM),
    attempt("syslog", "the kernel's log", "seccomp, privileges", Root, EPERM),
    attempt("acct", "accounting of processes", "seccomp, privileges", Root, EPERM),
    attempt("swapon", "swap", "seccomp, privileges", Differs(&["ENOENT"]), EPERM),
    attempt("swapoff", "swap", "seccomp, privileges", Differs(&["ENOENT"]), EPERM),
    attempt("init-module", "a kernel module", "seccomp, privileges", Differs(&["ENOSYS", "ENOEXEC", "EFAULT"]), EPERM),
    attempt("finit-module", "a kernel module from a file", "seccomp, privileges", Differs(&["ENOSYS", "EBADF"]), EPERM),
    attempt("delete-module", "a kernel module less", "seccomp, privileges", Differs(&["ENOSYS", "ENOENT"]), EPERM),
    attempt("kexec", "another kernel", "seccomp, privileges", Differs(&["ENOSYS"]), EPERM),
    attempt("kexec-file", "another kernel, from a file", "seccomp, privileges", Differs(&["ENOSYS", "EBADF"]), EPERM),
    attempt("reboot", "a restart", "seccomp, privileges", Differs(&["EINVAL"]), EPERM),
    attempt("ioperm", "ports of the hardware", "seccomp, privileges", Differs(&["ENOSYS"]), EPERM),
    attempt("iopl", "all ports of the hardware", "seccomp, privileges", Differs(&["ENOSYS"]), EPERM),
    attempt("file-getattr:/usr", "a call that is newer than the filter: missing, not forbidden", "seccomp", Differs(&["EOPNOTSUPP"]), ENOSYS),
    attempt("unknown-call", "a call that does not exist yet", "-", Differs(&["ENOSYS"]), ENOSYS),
];

#[rustfmt::skip]
const SESSIONS: &[Attempt] = &[
    attempt("ptrace:{session}", "stops it and reads it", "seccomp, landlock", Nobody, EPERM),
    attempt("seize:{session}", "the same without stopping it", "seccomp, landlock", Nobody, EPERM),
    attempt("read-memory:{session}", "its memory, by process_vm_readv", "seccomp, landlock", Nobody, EPERM),
    attempt("write-memory:{session}", "its memory, by process_vm_writev", "seccomp, landlock", Nobody, EPERM),
    attempt("proc:{session}/mem", "its memory, by /proc", "landlock with hidepid", Nobody, ABSENT),
    attempt("proc:{session}/maps", "where its memory is", "landlock with hidepid", Nobody, ABSENT),
    attempt("proc:{session}/auxv", "the secrets of its loader", "landlock with hidepid", Nobody, ABSENT),
    attempt("environ:{session}", "its environment", "landlock with hidepid", Nobody, ABSENT),
    attempt("proc-link:{session}/root", "its root", "landlock with hidepid", Nobody, ABSENT),
    attempt("proc-link:{session}/cwd", "its directory", "landlock with hidepid", Nobody, ABSENT),
    attempt("proc-link:{session}/exe", "its program", "landlock with hidepid", Nobody, ABSENT),
    attempt("proc-link:{session}/fd/0", "what its descriptors are", "landlock with hidepid", Nobody, ABSENT),
    attempt("proc:{session}/fd", "which descriptors it has", "landlock with hidepid", Nobody, ABSENT),
    attempt("steal-descriptor:{session}", "its descriptors, by pidfd_getfd", "seccomp, landlock", Nobody, EPERM),
    attempt("kcmp:{session}", "what it shares with others", "seccomp, landlock", Nobody, EPERM),
    attempt("signal:{session}", "a signal", "landlock", Nobody, EPERM),
    attempt("pidfd-signal:{session}", "a signal by a pidfd", "landlock", Nobody, EPERM),
    attempt("sigqueue:{session}", "a signal with a value", "landlock", Nobody, EPERM),
    attempt("tkill:{session}", "a signal to a thread", "landlock", Nobody, EPERM),
    attempt("prlimit:{session}", "a bound on its processor time, which ends it by SIGKILL", "seccomp", Nobody, EPERM),
    attempt("proc-write:{session}/oom_score_adj", "has the kernel end it first", "landlock with hidepid", Nobody, ABSENT),
    attempt("proc-write:{session}/clear_refs", "watches which memory it uses", "landlock with hidepid", Nobody, ABSENT),
    attempt("SSH_AUTH_SOCK of another session", "its client's keys", "the monitor's witness", Shown("tests/ssh/agent.rs", "another_session_does_not_reach_it_of_the_same_sandbox_or_of_another"), &[]),
];

#[rustfmt::skip]
const NEIGHBOURS: &[Attempt] = &[
    attempt("ptrace:{neighbour}", "stops it and reads it", "pid, seccomp, landlock, privileges", Host, &["ESRCH", "EPERM"]),
    attempt("read-memory:{neighbour}", "its memory", "pid, seccomp, landlock, privileges", Host, &["ESRCH", "EPERM"]),
    attempt("proc:{neighbour}/mem", "its memory, by /proc", "pid, landlock, privileges", Host, ABSENT),
    attempt("environ:{neighbour}", "its environment", "pid, landlock, privileges", Host, ABSENT),
    attempt("proc-link:{neighbour}/root", "its root", "pid, landlock, privileges", Host, ABSENT),
    attempt("proc:{neighbour}/fd/0", "its descriptors", "pid, landlock, privileges", Host, ABSENT),
    attempt("proc:{neighbour}/cmdline", "what it runs", "pid", Host, ABSENT),
    attempt("steal-descriptor:{neighbour}", "its descriptors, by pidfd_getfd", "pid, seccomp, landlock, privileges", Host, NOBODY_THERE),
    attempt("probe:{neighbour}", "a signal", "pid, landlock, privileges", Host, NOBODY_THERE),
    attempt("pidfd-signal:{neighbour}", "a signal by a pidfd", "pid, landlock, privileges", Host, NOBODY_THERE),
    attempt("its port on 127.0.0.1", "its services", "net", Shown("tests/egress/direct.rs", "the_namespace_has_a_loopback_of_its_own_and_nothing_else"), &[]),
    attempt("its files in /sandbox and /tmp", "its files", "mnt", Shown("tests/confinement/neighbours.rs", "sandboxes_do_not_see_each_other"), &[]),
];

#[rustfmt::skip]
const DAEMON: &[Attempt] = &[
    attempt("ptrace:{gate}", "the gate", "pid, seccomp, landlock, privileges", Host, &["ESRCH", "EPERM"]),
    attempt("read-memory:{gate}", "the host keys, in the gate's memory", "pid, seccomp, landlock, privileges", Host, &["ESRCH", "EPERM"]),
    attempt("proc:{gate}/mem", "the same, by /proc", "pid, landlock, privileges", Host, ABSENT),
    attempt("environ:{gate}", "the gate's environment", "pid, landlock, privileges", Host, ABSENT),
    attempt("proc-link:{gate}/root", "the gate's root", "pid, landlock, privileges", Host, ABSENT),
    attempt("steal-descriptor:{gate}", "the gate's sockets", "pid, seccomp, landlock, privileges", Host, NOBODY_THERE),
    attempt("probe:{gate}", "a signal to the gate", "pid, landlock, privileges", Host, NOBODY_THERE),
    attempt("ptrace:{monitor}", "the monitor, which is root", "pid, seccomp, landlock, privileges", Host, &["ESRCH", "EPERM"]),
    attempt("proc:{monitor}/mem", "the monitor's memory", "pid, landlock, privileges", Host, ABSENT),
    attempt("environ:{monitor}", "the monitor's environment", "pid, landlock, privileges", Host, ABSENT),
    attempt("proc-link:{monitor}/fd/0", "the monitor's descriptors", "pid, landlock, privileges", Host, ABSENT),
    attempt("steal-descriptor:{monitor}", "the same, by pidfd_getfd", "pid, seccomp, landlock, privileges", Host, NOBODY_THERE),
    attempt("probe:{monitor}", "a signal to the monitor", "pid, landlock, privileges", Host, NOBODY_THERE),
    attempt("prlimit:{monitor}", "the monitor's bounds", "pid, seccomp, privileges", Host, &["ESRCH", "EPERM"]),
    attempt("probe:{init}", "a signal to its own init", "landlock", Host, EPERM),
    attempt("ptrace:{init}", "its own init", "seccomp, landlock", Host, EPERM),
    attempt("environ:{init}", "its own init's environment, which was the daemon's", "landlock, hidepid", Host, ABSENT),
    attempt("proc:{init}/mem", "its own init's memory, which was the monitor's", "landlock, hidepid", Host, ABSENT),
    attempt("proc-link:{init}/root", "its own init's root", "landlock, hidepid", Host, ABSENT),
    attempt("proc-link:{init}/exe", "its own init's program", "landlock, hidepid", Host, ABSENT),
];

#[rustfmt::skip]
const PRIVILEGES: &[Attempt] = &[
    attempt("setuid-root", "root", "privileges", Root, EPERM),
    attempt("setreuid-root", "root by setreuid", "privileges", Root, EPERM),
    attempt("setresuid", "another user", "privileges", Root, EPERM),
    attempt("setgid-root", "root's group", "privileges", Root, EPERM),
    attempt("setregid-root", "root's group by setregid", "privileges", Root, EPERM),
    attempt("setresgid", "another group", "privileges", Root, EPERM),
    attempt("setgroups", "more groups", "privileges", Root, EPERM),
    attempt("setfsuid", "root's files", "privileges", Root, EPERM),
    attempt("setfsgid", "root's group's files", "privileges", Root, EPERM),
    attempt("capset", "a capability", "privileges", Root, EPERM),
    attempt("ambient", "a capability that lasts through execve", "privileges", Root, EPERM),
    attempt("securebits", "the rules by which capabilities are given", "privileges", Root, EPERM),
    attempt("clear-no-new-privs", "takes back the promise that execve gives nothing", "the kernel", Differs(&["EINVAL"]), &["EINVAL"]),
    attempt("execute:{programs}/setuid,--uid", "a setuid program of root's", "privileges, mnt", Nobody, EPERM),
    attempt("execute:{programs}/setgid,--gid", "a setgid program", "privileges, mnt", Nobody, EPERM),
    attempt("execute:{programs}/capable,--capability", "a program with capabilities on its file", "privileges, mnt", Nobody, EPERM),
    attempt("file-capability", "puts capabilities on a file of its own", "privileges", Root, EPERM),
    attempt("raise-priority", "goes before others", "privileges", Root, REFUSED),
    attempt("real-time", "runs before all others", "privileges", Root, EPERM),
    attempt("real-time-io", "goes before others at the disk", "privileges", Root, EPERM),
    attempt("`su`, `passwd` and all that is setuid in /usr/bin", "root", "privileges, mnt", Shown("tests/confinement/privileges.rs", "setuid_programs_give_nothing"), &[]),
];

#[rustfmt::skip]
const TERMINALS: &[Attempt] = &[
    attempt("tiocsti", "types into a terminal", "seccomp", Ablated("seccomp"), EPERM),
    attempt("tiocsti-high-bits", "the same, with bits that the kernel ignores (CVE-2019-10063)", "seccomp", Ablated("seccomp"), EPERM),
    attempt("tioclinux", "pastes into a console", "seccomp", Differs(&["ENOTTY"]), EPERM),
    attempt("tiocsetd", "loads a line discipline", "seccomp", Nobody, EPERM),
    attempt("steal-terminal", "takes a terminal from the session that has it", "privileges", Root, EPERM),
    attempt("write:{pts}", "a terminal of the host", "mnt, landlock", Host, ABSENT),
    attempt("write:/dev/console", "the host's console", "mnt, landlock", Host, ABSENT),
    attempt("read:/dev/tty0", "the host's foreground terminal", "mnt, landlock", Host, ABSENT),
    attempt("inherited-descriptors", "what the daemon had open", "close_range", Shown("tests/confinement/privileges.rs", "no_descriptor_is_inherited"), &[]),
    attempt("TIOCSTI into the terminal that the daemon was started from", "its operator", "setsid, seccomp", Shown("tests/layers.rs", "session_and_seccomp_hold_the_terminal_of_whoever_started_the_daemon"), &[]),
];

#[rustfmt::skip]
const READ_ONLY: &[Attempt] = &[
    attempt("write:{ro}/file", "opens it for writing", "mnt, landlock", Nobody, UNCHANGED),
    attempt("open-truncating:{ro}/file", "empties it by open(2)", "mnt, landlock", Nobody, UNCHANGED),
    attempt("truncate:{ro}/file", "empties it by its path", "mnt, landlock", Nobody, UNCHANGED),
    attempt("reopen:{ro}/file", "opens it again by /proc/self/fd", "mnt, landlock", Nobody, UNCHANGED),
    attempt("map:{ro}/file", "writes through a mapping", "mnt, landlock", Nobody, UNCHANGED),
    attempt("create:{ro}/new", "a new file", "mnt, landlock", Nobody, UNCHANGED),
    attempt("tmpfile:{ro}", "a new file without a name", "mnt", Nobody, UNCHANGED),
    attempt("mkdir:{ro}/new", "a new directory", "mnt, landlock", Nobody, UNCHANGED),
    attempt("mkfifo:{ro}/new", "a new pipe", "mnt, landlock", Nobody, UNCHANGED),
    attempt("symlink:{ro}/new", "a new link", "mnt, landlock", Nobody, UNCHANGED),
    attempt("unix-bind:{ro}/new", "a new socket", "mnt, landlock", Nobody, UNCHANGED),
    attempt("link:{ro}/file,{ro}/new", "a second name beside the first", "mnt, landlock", Nobody, UNCHANGED),
    attempt("link-to-tmp:{ro}/file", "a second name where it may write", "mnt, landlock", Nobody, UNCHANGED),
    attempt("rename:{ro}/file,{ro}/directory/file", "another name", "mnt, landlock", Nobody, UNCHANGED),
    attempt("exchange:{ro}/file,{ro}/directory", "two names exchanged", "mnt, landlock", Nobody, UNCHANGED),
    attempt("unlink:{ro}/file", "no name", "mnt, landlock", Nobody, UNCHANGED),
    attempt("rmdir:{ro}/directory", "no directory", "mnt, landlock", Nobody, UNCHANGED),
    attempt("chmod:{ro}/file", "its mode", "mnt", Nobody, UNCHANGED),
    attempt("fchmod:{ro}/file", "its mode, by a descriptor for reading", "mnt", Nobody, UNCHANGED),
    attempt("chown:{ro}/file", "its owner", "mnt", Nobody, UNCHANGED),
    attempt("utime:{ro}/file", "its times", "mnt", Nobody, UNCHANGED),
    attempt("futimens:{ro}/file", "its times, by a descriptor for reading", "mnt", Nobody, UNCHANGED),
    attempt("setxattr:{ro}/file", "its attributes", "mnt", Nobody, UNCHANGED),
    attempt("fsetxattr:{ro}/file", "its attributes, by a descriptor for reading", "mnt", Nobody, UNCHANGED),
    attempt("write:{rw}/way/guarded/file", "what is read-only inside of what may be written", "mnt", Nobody, UNCHANGED),
    attempt("move-and-write:{rw}/way,{rw}/moved,guarded/file", "the same, by another name of a directory on the way", "mnt", Nobody, &["EBUSY"]),
    attempt("exchange:{rw}/way,{rw}/other", "another directory in the place of the one on the way", "mnt", Nobody, &["EBUSY"]),
    attempt("read:{ro}/file", "reading works, or all of these would prove nothing", "-", Nobody, &["ok"]),
    attempt("list:{ro}", "listing works", "-", Nobody, &["ok"]),
    attempt("the parent of a read-only directory renamed for the next login", "what is read-only, later", "mnt", Shown("tests/confinement/files.rs", "the_way_to_a_read_only_directory_stays_for_the_next_login"), &[]),
];

#[rustfmt::skip]
const UNLISTED: &[Attempt] = &[
    attempt("read:{hidden}/file", "reads it", "mnt, landlock", Nobody, ABSENT),
    attempt("stat:{hidden}/file", "whether it is there", "mnt", Nobody, ABSENT),
    attempt("list:{hidden}", "what is there", "mnt, landlock", Nobody, ABSENT),
    attempt("chdir:{hidden}", "goes there", "mnt", Nobody, ABSENT),
    attempt("write:{hidden}/file", "writes to it", "mnt, landlock", Nobody, ABSENT),
    attempt("create:{hidden}/new", "a new file", "mnt, landlock", Nobody, ABSENT),
    attempt("truncate:{hidden}/file", "empties it", "mnt, landlock", Nobody, ABSENT),
    attempt("unlink:{hidden}/file", "removes it", "mnt, landlock", Nobody, ABSENT),
    attempt("rename:{hidden}/file,{hidden}/moved", "renames it", "mnt, landlock", Nobody, ABSENT),
    attempt("link-to-tmp:{hidden}/file", "a name for it where it may read", "mnt, landlock", Nobody, ABSENT),
    attempt("through-symlink:{hidden}/file", "by a link of its own", "mnt, landlock", Nobody, ABSENT),
    attempt("through-dots:{hidden}/file", "above the root", "mnt, landlock", Nobody, ABSENT),
    attempt("read:/proc/self/root{hidden}/file", "by its own root", "mnt, landlock", Nobody, ABSENT),
    attempt("read:/proc/{gate}/root{hidden}/file", "by the gate's root", "pid, landlock, privileges", Host, ABSENT),
    attempt("a denied path by links, moves, mounts of its parent", "what is denied inside of what is listed", "mnt", Shown("tests/confinement/denied.rs", "no_trick_of_a_session_leads_to_a_denied_path"), &[]),
    attempt("a denied path that is made later", "the same, by waiting for it", "mnt", Shown("tests/confinement/denied.rs", "what_the_host_makes_later_is_denied_too"), &[]),
    attempt("a link left where the next sandbox looks", "what it leads to on the host", "mnt", Shown("tests/confinement/denied.rs", "a_link_left_in_a_writable_tree_shows_nothing_more_of_the_host"), &[]),
    attempt("a device that another login's definition lists", "the device", "mnt, landlock", Shown("tests/confinement/roots.rs", "a_listed_device_is_there_for_sessions_and_no_other"), &[]),
    attempt("the host's keys, /etc/shadow, /root and fourteen more", "the host's secrets", "mnt, landlock", Shown("tests/confinement/namespaces.rs", "the_hosts_files_are_not_there"), &[]),
];

#[rustfmt::skip]
const DEVICES: &[Attempt] = &[
    attempt("mknod", "a device's node", "privileges, landlock", Root, REFUSED),
    attempt("mknod-block", "a disk's node", "privileges, landlock", Root, REFUSED),
    attempt("read:/dev/kmsg", "the kernel's log", "mnt, landlock", Host, ABSENT),
    attempt("write:/dev/net/tun", "a link of its own", "mnt, landlock", Host, ABSENT),
    attempt("write:/dev/fuse", "a file system of its own", "mnt, landlock", Host, ABSENT),
    attempt("proc-write:sys/kernel/core_pattern", "a program that the kernel runs as root", "privileges, landlock", Host, UNCHANGED),
    attempt("proc-write:sys/kernel/randomize_va_space", "addresses that are not random", "privileges, landlock", Host, UNCHANGED),
    attempt("proc-write:sys/vm/memfd_noexec", "lets memory be executed", "privileges, landlock", Host, UNCHANGED),
    attempt("proc-write:sys/net/ipv4/ip_forward", "forwards packets", "privileges, landlock", Host, UNCHANGED),
    attempt("proc:kmsg", "the kernel's log", "privileges", Host, REFUSED),
    attempt("list:/sys", "devices, cgroups, the kernel's insides", "mnt, landlock", Host, ABSENT),
];

#[rustfmt::skip]
const MEMORY: &[Attempt] = &[
    attempt("memfd-exec", "a program that has no file", "vm.memfd_noexec", Nobody, REFUSED),
    attempt("memfd-exec-path", "the same by /proc/self/fd", "vm.memfd_noexec, landlock", Nobody, REFUSED),
    attempt("memfd-flag", "a memory file that may be executed", "seccomp", Nobody, EPERM),
];

#[rustfmt::skip]
const FORWARDING: &[Attempt] = &[
    attempt("`ssh -W`, `-L` to the host's loopback and addresses", "the host's services", "the monitor's sockets", Shown("tests/ssh/forwarding.rs", "the_hosts_own_loopback_is_not_reached"), &[]),
    attempt("`ssh -W` to the outside", "a way out past policy", "policy", Shown("tests/ssh/forwarding.rs", "the_outside_is_judged_and_written_down"), &[]),
    attempt("`ssh -W` to the sandbox's proxy", "a program's rights for a client", "the gate", Shown("tests/ssh/forwarding.rs", "the_proxy_is_not_for_clients"), &[]),
    attempt("`ssh -D`, SOCKS 4 and 5", "a way out past policy", "policy", Shown("tests/ssh/outbound.rs", "what_is_for_clients_is_not_for_programs_and_the_other_way_round"), &[]),
    attempt("`ssh -W` to metadata, loopback and private addresses by name", "the network behind the gate", "vetting", Shown("tests/ssh/outbound.rs", "each_refusal_has_its_reason_on_the_clients_terminal"), &[]),
    attempt("`ssh -R` without the operator's leave", "a way out that policy does not see", "the gate", Shown("tests/ssh/forwarding.rs", "a_way_out_that_policy_does_not_see_is_refused_unless_the_operator_allows_it"), &[]),
    attempt("`ssh -R` on the proxy's port, low ports, foreign addresses", "other programs' requests", "the monitor", Shown("tests/ssh/forwarding.rs", "ports_that_cannot_be_listened_on_are_refused"), &[]),
    attempt("`ssh -L SOCKET` to sockets of the host and of others", "the host's services by path", "a session's rights", Shown("tests/ssh/sockets.rs", "sockets_of_others_are_as_far_as_they_are_for_a_program"), &[]),
    attempt("`ssh -R SOCKET` where the session may not write", "a socket in the host's directories", "a session's rights", Shown("tests/ssh/sockets.rs", "a_listener_needs_a_place_that_the_session_may_write"), &[]),
    attempt("`ssh -A` without the operator's leave", "the client's keys", "the gate", Shown("tests/ssh/agent.rs", "without_the_operators_leave_there_is_no_agent_and_the_client_hears_why"), &[]),
    attempt("`ssh -X`, `-w`", "a display, a tunnel device", "the gate", Shown("tests/ssh/outbound.rs", "displays_and_tunnels_are_refused_with_a_reason"), &[]),
];

#[rustfmt::skip]
const BOMBS: &[Attempt] = &[
    attempt("a fork bomb", "the host's processes", "bounds", Shown("tests/bounds.rs", "a_fork_bomb_stops_at_the_sandboxes_bound"), &[]),
    attempt("a memory bomb", "the host's memory", "bounds", Shown("tests/bounds.rs", "a_memory_bomb_ends_its_sandbox_and_only_that"), &[]),
    attempt("a memory bomb in one session of two", "the other's memory", "bounds", Shown("tests/bounds.rs", "a_session_out_of_memory_ends_whole_and_alone"), &[]),
    attempt("a full disk", "the neighbours' files", "bounds", Shown("tests/bounds.rs", "a_full_disk_is_full_for_its_sandbox_alone"), &[]),
    attempt("files without end, all empty", "the kernel's memory", "bounds", Shown("tests/bounds.rs", "files_are_counted"), &[]),
    attempt("open files and one long file", "the host's tables, its disk", "bounds", Shown("tests/bounds.rs", "open_files_and_long_files_are_bounded"), &[]),
    attempt("a processor kept busy", "the neighbours' time", "bounds", Shown("tests/bounds.rs", "processor_time_is_bounded"), &[]),
    attempt("700 processes that do not hang up", "the daemon's descriptors", "the monitor", Shown("tests/confinement/exhaustion.rs", "more_processes_than_the_daemon_has_descriptors_end_nobody_else"), &[]),
    attempt("7,200 descriptors, 200 questions of the proxy", "the monitor's time", "bounds on the search", Shown("tests/confinement/exhaustion.rs", "a_crowd_of_descriptors_and_questions_does_not_stop_the_monitor"), &[]),
    attempt("every terminal", "the kernel's terminals", "devpts' max", Shown("tests/confinement/exhaustion.rs", "terminals_of_one_sandbox_leave_some_for_others"), &[]),
    attempt("connections without a login", "the gate's descriptors", "startups", Shown("tests/ssh/limits.rs", "a_flood_past_the_descriptor_limit_does_not_end_the_server"), &[]),
    attempt("channels without end", "the gate's and the sandbox's", "limits.channels", Shown("tests/ssh/limits.rs", "channels_are_counted_for_each_connection"), &[]),
    attempt("forwarded connections without end", "the same", "limits.channels", Shown("tests/ssh/forwarding.rs", "forwarded_connections_are_counted"), &[]),
];

#[rustfmt::skip]
const CRASHES: &[Attempt] = &[
    attempt("SIGKILL to the gate", "something left, or confined less", "docs/processes.md", Shown("tests/crash.rs", "a_killed_gate_takes_everything_with_it"), &[]),
    attempt("SIGKILL to the monitor", "the same", "docs/processes.md", Shown("tests/crash.rs", "a_killed_monitor_takes_everything_with_it"), &[]),
    attempt("SIGKILL to gate and monitor at once", "the same", "docs/processes.md", Shown("tests/crash.rs", "a_killed_gate_and_monitor_take_everything_with_them"), &[]),
    attempt("SIGKILL to the supervisor", "the same", "docs/processes.md", Shown("tests/crash.rs", "a_killed_supervisor_takes_every_process_with_it"), &[]),
    attempt("SIGKILL to all three", "the same", "docs/processes.md", Shown("tests/crash.rs", "all_three_killed_leave_no_process"), &[]),
    attempt("SIGSTOP to the monitor, SIGKILL to the gate", "the same", "docs/processes.md", Shown("tests/crash.rs", "a_stopped_monitor_does_not_outlive_its_gate"), &[]),
    attempt("SIGKILL to any of them, an init or a session, at random, under load", "the same", "docs/processes.md", Shown("tests/chaos/main.rs", "what_is_killed_takes_its_own_with_it_and_nothing_else"), &[]),
    attempt("each mount of a sandbox failing", "a session that is confined less", "the init's report", Shown("tests/faults.rs", "no_failed_mount_leaves_a_weaker_session"), &[]),
    attempt("each change of ids and rights failing", "the same", "confine's proofs", Shown("tests/faults.rs", "no_failed_change_of_rights_leaves_a_weaker_session"), &[]),
    attempt("each rule of Landlock and seccomp failing", "the same", "confine's proofs", Shown("tests/faults.rs", "no_failed_rule_leaves_a_weaker_session"), &[]),
    attempt("each pipe, descriptor and fork failing", "the same", "confine's proofs", Shown("tests/faults.rs", "no_failed_supply_leaves_a_weaker_session"), &[]),
];

#[rustfmt::skip]
const ONE_ID: &[Attempt] = &[
    attempt("signals to gate, monitor, supervisor, another program of the user's", "their end", "pid", Shown("tests/rootless/attacks.rs", "a_session_with_the_users_one_id_reaches_nothing_else_that_has_it"), &[]),
    attempt("ptrace, process_vm_readv and its twin, /proc/PID/{mem,fd,environ,root}, pidfd_getfd, setns on them and on the sandbox's init", "the host keys, every session, the user's programs", "pid, seccomp, landlock, hidepid", Shown("tests/rootless/attacks.rs", "a_session_with_the_users_one_id_reaches_nothing_else_that_has_it"), &[]),
    attempt("the user's keys, the configuration, the audit trail, the daemon's cgroup", "what is the user's by its id", "mnt", Shown("tests/rootless/attacks.rs", "a_session_with_the_users_one_id_reaches_nothing_else_that_has_it"), &[]),
    attempt("sockets of the user's programs, by path and by abstract name", "a bus that runs programs for the user", "mnt, net, landlock", Shown("tests/rootless/attacks.rs", "a_session_with_the_users_one_id_reaches_nothing_else_that_has_it"), &[]),
    attempt("`kill -9 -1`", "everything that has the id", "pid", Shown("tests/rootless/attacks.rs", "a_session_with_the_users_one_id_reaches_nothing_else_that_has_it"), &[]),
    attempt("the daemon's own socket, which policy lists", "a list of sandboxes, their end", "the monitor's look at the caller's pid", Shown("tests/rootless/attacks.rs", "sessions_ask_the_daemon_nothing_whatever_their_id"), &[]),
    attempt("$XDG_RUNTIME_DIR, which policy lists", "the user's service manager and bus", "`check`, `serve`", Shown("tests/rootless/attacks.rs", "the_users_runtime_directory_is_not_shown_to_sessions_with_the_users_id"), &[]),
    attempt("a program in memory, under an allowed one's name", "that one's rights by policy", "the name that the kernel gives it", Shown("tests/rootless/attacks.rs", "code_from_memory_gets_nothing_out"), &[]),
];
