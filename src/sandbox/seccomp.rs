//! System call filters: an allow list for sessions, a short one for a sandbox's init, one for the gate.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

mod calls;

/// Why a filter could not be built or put in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeccompError {
    /// A rule does not compile.
    #[error("seccomp: {0}")]
    Build(#[from] seccompiler::BackendError),
    /// The kernel refused the filter.
    #[error("seccomp: {0}")]
    Apply(#[from] seccompiler::Error),
    /// Filters are written for x86-64 and 64-bit ARM.
    #[error("seccomp: no filter is written for this processor")]
    Architecture,
}

/// A compiled filter.
#[derive(Debug, Clone)]
pub(crate) struct Filter(BpfProgram);

/// Proof that a filter is in force on this thread.
#[derive(Debug)]
pub(crate) struct InForce(());

type Rules = Vec<(libc::c_long, Vec<SeccompRule>)>;

impl Filter {
    /// For sessions: what Docker's default profile allows, less what could reach around the other layers.
    pub(crate) fn session() -> Result<Self, SeccompError> {
        let mut rules: Rules = calls::SESSION
            .iter()
            .chain(calls::SESSION_LEGACY)
            .map(|&call| (call, Vec::new()))
            .collect();
        rules.extend(session_conditions()?);
        compile(rules, SeccompAction::Errno(libc::EPERM.cast_unsigned()))
    }

    /// For a sandbox's init, which sleeps until it is killed.
    pub(crate) fn init() -> Result<Self, SeccompError> {
        let rules = calls::INIT
            .iter()
            .chain(calls::INIT_LEGACY)
            .map(|&call| (call, Vec::new()))
            .collect();
        compile(rules, SeccompAction::KillProcess)
    }

    /// For the gate: threads, memory, sockets and unnamed files; no program, no other process.
    pub(crate) fn gate() -> Result<Self, SeccompError> {
        let mut rules: Rules = calls::GATE
            .iter()
            .chain(calls::GATE_LEGACY)
            .map(|&call| (call, Vec::new()))
            .collect();
        rules.push((libc::SYS_socket, sockets()?));
        rules.push((
            libc::SYS_clone,
            vec![rule([masked(0, calls::NAMESPACES, 0)?])?],
        ));
        compile(rules, SeccompAction::Errno(libc::EPERM.cast_unsigned()))
    }

    /// Puts the filter in force on this thread and what it starts; sets no_new_privs on the way.
    pub(crate) fn apply(&self) -> Result<InForce, SeccompError> {
        seccompiler::apply_filter(&self.0)?;
        Ok(InForce(()))
    }
}

fn compile(rules: Rules, otherwise: SeccompAction) -> Result<Filter, SeccompError> {
    let architecture: TargetArch = std::env::consts::ARCH
        .try_into()
        .map_err(|_| SeccompError::Architecture)?;
    let filter = SeccompFilter::new(
        rules.into_iter().collect(),
        otherwise,
        SeccompAction::Allow,
        architecture,
    )?;
    let mut program = preamble();
    program.extend(BpfProgram::try_from(filter)?);
    Ok(Filter(program))
}

/// What seccompiler has no words for, before its program: x32 calls kill; clone3, whose flags lie in
/// memory out of a filter's sight, and calls newer than this list answer ENOSYS, on which C libraries
/// fall back to what they used before.
fn preamble() -> BpfProgram {
    // linux/bpf_common.h, linux/seccomp.h: load the call's number; jump if >= / ==; return.
    const LOAD: u16 = 0x20;
    const JUMP_GE: u16 = 0x35;
    const JUMP_EQ: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const KILL_PROCESS: u32 = 0x8000_0000;
    const ERRNO: u32 = 0x0005_0000;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let number = |call: libc::c_long| u32::try_from(call).unwrap_or(u32::MAX);
    vec![
        step(LOAD, 0, 0, 0),
        step(JUMP_GE, 0, 1, 0x4000_0000),
        step(RETURN, 0, 0, KILL_PROCESS),
        step(JUMP_GE, 1, 0, number(calls::FIRST_UNKNOWN)),
        step(JUMP_EQ, 0, 1, number(libc::SYS_clone3)),
        step(RETURN, 0, 0, ERRNO | libc::ENOSYS.cast_unsigned()),
    ]
}

fn session_conditions() -> Result<Rules, SeccompError> {
    use calls::{MFD_EXEC, NAMESPACES, PARENT, SHARED_FILES, THREAD, UNSHARE_FILES};
    let process = masked(0, NAMESPACES | PARENT | THREAD, 0)?;
    let thread = masked(
        0,
        NAMESPACES | PARENT | THREAD | SHARED_FILES,
        THREAD | SHARED_FILES,
    )?;
    let harmless = calls::INJECTING_IOCTLS.map(|request| differs(1, request));
    let harmless: Vec<_> = harmless.into_iter().collect::<Result<_, _>>()?;
    let personalities = calls::PERSONALITIES.iter();
    let personalities = personalities.map(|&persona| rule([equal_u32(0, persona)?]));
    Ok(vec![
        (libc::SYS_clone, vec![rule([process])?, rule([thread])?]),
        (
            libc::SYS_unshare,
            vec![rule([masked(0, NAMESPACES | SHARED_FILES, 0)?])?],
        ),
        (
            libc::SYS_close_range,
            vec![rule([masked(2, UNSHARE_FILES, 0)?])?],
        ),
        (libc::SYS_socket, sockets()?),
        (
            libc::SYS_socketpair,
            vec![rule([equal(0, libc::AF_UNIX)?])?],
        ),
        (libc::SYS_ioctl, vec![rule(harmless)?]),
        (
            libc::SYS_memfd_create,
            vec![rule([masked(1, MFD_EXEC, 0)?])?],
        ),
        (
            libc::SYS_personality,
            personalities.collect::<Result<_, _>>()?,
        ),
    ])
}

/// UNIX sockets; TCP and UDP over IPv4 and IPv6; netlink's route family, for getifaddrs(3).
fn sockets() -> Result<Vec<SeccompRule>, SeccompError> {
    let kind = |kind: i32| masked(1, calls::SOCKET_TYPE, u64::from(kind.cast_unsigned()));
    let mut rules = vec![
        rule([equal(0, libc::AF_UNIX)?])?,
        rule([equal(0, libc::AF_NETLINK)?, equal(2, libc::NETLINK_ROUTE)?])?,
    ];
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (stream, protocol) in [
            (libc::SOCK_STREAM, 0),
            (libc::SOCK_STREAM, libc::IPPROTO_TCP),
            (libc::SOCK_DGRAM, 0),
            (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
        ] {
            rules.push(rule([
                equal(0, family)?,
                kind(stream)?,
                equal(2, protocol)?,
            ])?);
        }
    }
    Ok(rules)
}

// 32-bit compares throughout: the kernel reads these arguments as ints and ignores what a caller
// puts above them (CVE-2019-10063).

fn rule(
    conditions: impl IntoIterator<Item = SeccompCondition>,
) -> Result<SeccompRule, SeccompError> {
    Ok(SeccompRule::new(conditions.into_iter().collect())?)
}

fn equal(argument: u8, value: i32) -> Result<SeccompCondition, SeccompError> {
    equal_u32(argument, value.cast_unsigned())
}

fn equal_u32(argument: u8, value: u32) -> Result<SeccompCondition, SeccompError> {
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        value.into(),
    )?)
}

fn differs(argument: u8, value: u32) -> Result<SeccompCondition, SeccompError> {
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Ne,
        value.into(),
    )?)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, SeccompError> {
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(mask),
        value,
    )?)
}
