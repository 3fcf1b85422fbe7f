//! System call filters: an allow list for sessions, a short one for a sandbox's init, one each for gate and keeper.

use std::collections::BTreeSet;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use crate::config::{Allow, Scope};

mod calls;
mod memory_files;
mod scheduling;
mod sessions;
#[cfg(test)]
mod tests;
mod thinkers;

pub(crate) use memory_files::MemoryFiles;
pub(crate) use sessions::SessionFilters;

/// Why a filter could not be built or put in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeccompError {
    /// A rule does not compile.
    #[error("seccomp: {0}")]
    Build(#[from] seccompiler::BackendError),
    /// The kernel refused the filter.
    #[error("seccomp: {0}")]
    Apply(#[from] seccompiler::Error),
    /// A jump of the Berkeley Packet Filter is of one byte.
    #[error("seccomp: too many calls are listed")]
    TooFar,
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
    /// For sessions: what Docker's default profile allows, less what could reach around the other layers, and
    /// what the operator allows beside it. Where nobody shares a sandbox its sessions are kept from each other's
    /// schedules.
    pub(crate) fn session(allow: Allow, scope: Scope) -> Result<Self, SeccompError> {
        let given = |granted, calls| if granted { calls } else { &[][..] };
        let conditions = session_conditions(allow, scope)?;
        let always = [
            calls::SESSION,
            calls::SESSION_LEGACY,
            given(scope.is_shared(), calls::SCHEDULING),
            given(allow.user_namespaces, calls::NESTING),
            given(allow.ptrace, calls::TRACING),
        ];
        let always = always.into_iter().flatten();
        let always = always.filter(|call| !conditions.iter().any(|(other, _)| other == *call));
        let always: Vec<_> = always.collect();
        let otherwise = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        compile(always.into_iter(), conditions, otherwise)
    }

    /// For a sandbox's init, which sleeps until it is killed.
    pub(crate) fn init() -> Result<Self, SeccompError> {
        let always = calls::INIT.iter().chain(calls::INIT_LEGACY);
        compile(always, Rules::new(), SeccompAction::KillProcess)
    }

    /// For the gate: threads, memory, sockets and unnamed files; no program, no other process.
    pub(crate) fn gate() -> Result<Self, SeccompError> {
        let always = calls::GATE.iter().chain(calls::GATE_LEGACY);
        let threads = vec![rule([masked(0, calls::NAMESPACES, 0)?])?];
        let conditions = vec![(libc::SYS_socket, sockets()?), (libc::SYS_clone, threads)];
        let otherwise = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        compile(always, conditions, otherwise)
    }

    /// For the keeper, whose programs inherit it: what sessions may, clone3(2), which is how it starts them in their
    /// cgroups, and a keyring of their own. They get the sessions' filter on top.
    pub(crate) fn keeper() -> Result<Self, SeccompError> {
        let conditions = session_conditions(Allow::default(), Scope::Connection)?;
        let always = [calls::SESSION, calls::SESSION_LEGACY, calls::KEEPER];
        let always = always.into_iter().flatten();
        let otherwise = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        compile(always, conditions, otherwise)
    }

    /// Puts the filter in force on this thread and what it starts; sets no_new_privs on the way.
    pub(crate) fn apply(&self) -> Result<InForce, SeccompError> {
        seccompiler::apply_filter(&self.0)?;
        Ok(InForce(()))
    }
}

/// Our own instructions for what depends on the call's number alone, then seccompiler's for what depends
/// on arguments.
fn compile<'a>(
    always: impl Iterator<Item = &'a libc::c_long>,
    conditions: Rules,
    otherwise: SeccompAction,
) -> Result<Filter, SeccompError> {
    let architecture: TargetArch = std::env::consts::ARCH
        .try_into()
        .map_err(|_| SeccompError::Architecture)?;
    let conditional = SeccompFilter::new(
        conditions.into_iter().collect(),
        otherwise,
        SeccompAction::Allow,
        architecture,
    )?;
    let mut program = by_number(always)?;
    program.extend(BpfProgram::try_from(conditional)?);
    Ok(Filter(program))
}

/// Foreign architectures and x32 kill. clone3, whose flags lie in memory out of a filter's sight, unless it is
/// listed, and calls newer than the list answer ENOSYS, on which C libraries fall back to what they used before. What is
/// always allowed is looked for among ranges, by halves: when a filter is put in force the kernel runs it once for every
/// call number, and seccompiler's five instructions for each allowed call cost a session 0.7 ms.
fn by_number<'a>(
    always: impl Iterator<Item = &'a libc::c_long>,
) -> Result<BpfProgram, SeccompError> {
    // linux/bpf_common.h, linux/seccomp.h: load the architecture or the call's number; jump; return.
    const LOAD: u16 = 0x20;
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    const RETURN: u16 = 0x06;
    const KILL_PROCESS: u32 = 0x8000_0000;
    const ERRNO: u32 = 0x0005_0000;
    const ALLOW: u32 = 0x7fff_0000;
    let mut program = vec![
        step(LOAD, 0, 0, ARCHITECTURE),
        step(JUMP_EQ, 1, 0, calls::AUDIT_ARCHITECTURE),
        step(RETURN, 0, 0, KILL_PROCESS),
        step(LOAD, 0, 0, NUMBER),
        step(JUMP_GE, 0, 1, 0x4000_0000),
        step(RETURN, 0, 0, KILL_PROCESS),
        step(JUMP_GE, 0, 1, number(calls::FIRST_UNKNOWN)),
        step(RETURN, 0, 0, ERRNO | libc::ENOSYS.cast_unsigned()),
    ];
    program.extend(search(&ranges(always))?);
    program.extend([
        step(RETURN, 0, 0, ALLOW),
        step(JUMP_EQ, 0, 1, number(libc::SYS_clone3)),
        step(RETURN, 0, 0, ERRNO | libc::ENOSYS.cast_unsigned()),
    ]);
    Ok(program)
}

// linux/bpf_common.h: how the accumulator is compared.
const JUMP_EQ: u16 = 0x15;
const JUMP_GT: u16 = 0x25;
const JUMP_GE: u16 = 0x35;

fn step(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// A comparison of the call's number, and where it leads.
struct Comparison {
    code: u16,
    with: u32,
    holds: Aim,
    fails: Aim,
}

#[derive(Clone, Copy)]
enum Aim {
    /// Another comparison, by its place.
    At(usize),
    /// Right behind all of them: it is in a range.
    Found,
    /// One instruction further on.
    Missed,
}

/// Whether the number is in one of these ranges, which ascend.
fn search(ranges: &[(u32, u32)]) -> Result<BpfProgram, SeccompError> {
    let first = ranges.first().map_or(u32::MAX, |(first, _)| *first);
    let mut comparisons = vec![Comparison {
        code: JUMP_GE,
        with: first,
        holds: if ranges.is_empty() {
            Aim::Missed
        } else {
            Aim::At(1)
        },
        fails: Aim::Missed,
    }];
    halve(ranges, &mut comparisons);
    let behind = comparisons.len();
    let jump = |from: usize, aim: Aim| {
        let to = match aim {
            Aim::At(place) => place,
            Aim::Found => behind,
            Aim::Missed => behind + 1,
        };
        u8::try_from(to - from - 1).map_err(|_| SeccompError::TooFar)
    };
    let program = comparisons.iter().enumerate().map(|(at, one)| {
        let (holds, fails) = (jump(at, one.holds)?, jump(at, one.fails)?);
        Ok(step(one.code, holds, fails, one.with))
    });
    program.collect()
}

/// For a number that is not below the first of them.
fn halve(ranges: &[(u32, u32)], comparisons: &mut Vec<Comparison>) {
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    match (lower, upper) {
        (_, []) => {}
        ([], [(_, last), ..]) => comparisons.push(Comparison {
            code: JUMP_GT,
            with: *last,
            holds: Aim::Missed,
            fails: Aim::Found,
        }),
        (_, [(first, _), ..]) => {
            let here = comparisons.len();
            comparisons.push(Comparison {
                code: JUMP_GE,
                with: *first,
                holds: Aim::Missed,
                fails: Aim::At(here + 1),
            });
            halve(lower, comparisons);
            let there = comparisons.len();
            if let Some(comparison) = comparisons.get_mut(here) {
                comparison.holds = Aim::At(there);
            }
            halve(upper, comparisons);
        }
    }
}

/// The numbers in as few ranges as they form, ascending.
fn ranges<'a>(calls: impl Iterator<Item = &'a libc::c_long>) -> Vec<(u32, u32)> {
    let numbers: BTreeSet<u32> = calls.map(|&call| number(call)).collect();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

/// A call's number; one that is none lies above every allowed one.
fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX - 1)
}

fn session_conditions(allow: Allow, scope: Scope) -> Result<Rules, SeccompError> {
    use calls::{MFD_EXEC, PARENT, SHARED_FILES, THREAD, UNSHARE_FILES};
    let namespaces = if allow.user_namespaces {
        0
    } else {
        calls::NAMESPACES
    };
    let process = masked(0, namespaces | PARENT | THREAD, 0)?;
    let thread = masked(
        0,
        namespaces | PARENT | THREAD | SHARED_FILES,
        THREAD | SHARED_FILES,
    )?;
    let harmless = calls::INJECTING_IOCTLS.map(|request| differs(1, request));
    let harmless: Vec<_> = harmless.into_iter().collect::<Result<_, _>>()?;
    let personalities = calls::PERSONALITIES.iter();
    let personalities = personalities.map(|&persona| rule([equal_u32(0, persona)?]));
    let mut rules = vec![
        (libc::SYS_clone, vec![rule([process])?, rule([thread])?]),
        (
            libc::SYS_unshare,
            vec![rule([masked(0, namespaces | SHARED_FILES, 0)?])?],
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
        (libc::SYS_prlimit64, limits()?),
        (
            libc::SYS_personality,
            personalities.collect::<Result<_, _>>()?,
        ),
    ];
    if !scope.is_shared() {
        rules.extend(scheduling::own()?);
    }
    if allow.user_namespaces {
        // Root of a user namespace may say which program it is, and that of whom it shares its memory with, by
        // /proc/PID/exe (PR_SET_MM_MAP): policy would take its word.
        let others = rule([differs(0, calls::SET_MEMORY_MAP)?])?;
        rules.push((libc::SYS_prctl, vec![others]));
    }
    Ok(rules)
}

/// A process's own bounds, and looking at others'. Of one account all would be its to change (prlimit(2)),
/// and a bound on processor time ends another session's process by a SIGKILL that Landlock does not see.
fn limits() -> Result<Vec<SeccompRule>, SeccompError> {
    let unchanged = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    Ok(vec![rule([equal(0, 0)?])?, rule([unchanged])?])
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
