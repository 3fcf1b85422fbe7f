//! System call filters: an allow list for sessions, a short one for a sandbox's init, one each for gate and keeper.

use std::collections::BTreeSet;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use crate::config::Allow;

mod calls;
mod sessions;
mod thinkers;

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
    /// what the operator allows beside it.
    pub(crate) fn session(allow: Allow) -> Result<Self, SeccompError> {
        let given = |granted, calls| if granted { calls } else { &[][..] };
        let conditions = session_conditions(allow)?;
        let always = [
            calls::SESSION,
            calls::SESSION_LEGACY,
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
        let conditions = session_conditions(Allow::default())?;
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
    let mut program = by_number(always);
    program.extend(BpfProgram::try_from(conditional)?);
    Ok(Filter(program))
}

/// Foreign architectures and x32 kill. clone3, whose flags lie in memory out of a filter's sight, unless it is
/// listed, and calls newer than the list answer ENOSYS, on which C libraries fall back to what they used before. What is
/// always allowed is allowed by ranges: when a filter is put in force the kernel runs it once for every
/// call number, and seccompiler's five instructions for each allowed call cost a session 0.7 ms.
fn by_number<'a>(always: impl Iterator<Item = &'a libc::c_long>) -> BpfProgram {
    // linux/bpf_common.h, linux/seccomp.h: load the architecture or the call's number; jump; return.
    const LOAD: u16 = 0x20;
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    const JUMP_EQ: u16 = 0x15;
    const JUMP_GT: u16 = 0x25;
    const JUMP_GE: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const KILL_PROCESS: u32 = 0x8000_0000;
    const ERRNO: u32 = 0x0005_0000;
    const ALLOW: u32 = 0x7fff_0000;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
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
    for (first, last) in ranges(always) {
        program.extend([
            step(JUMP_GT, 2, 0, last),
            step(JUMP_GE, 0, 1, first),
            step(RETURN, 0, 0, ALLOW),
        ]);
    }
    program.extend([
        step(JUMP_EQ, 0, 1, number(libc::SYS_clone3)),
        step(RETURN, 0, 0, ERRNO | libc::ENOSYS.cast_unsigned()),
    ]);
    program
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

fn session_conditions(allow: Allow) -> Result<Rules, SeccompError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would, for the instructions that these programs use.
    fn answer(program: &[sock_filter], data: &[u32; 16]) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            let jump = |taken: bool| at + 1 + usize::from(if taken { jt } else { jf });
            at = match code {
                0x20 => {
                    accumulator = data[k as usize / 4];
                    at + 1
                }
                0x54 => {
                    accumulator &= k;
                    at + 1
                }
                0x05 => at + 1 + k as usize,
                0x15 => jump(accumulator == k),
                0x25 => jump(accumulator > k),
                0x35 => jump(accumulator >= k),
                0x06 => return k,
                other => panic!("instruction {other:#x}"),
            };
        }
    }

    fn judge(filter: &Filter, architecture: u32, call: u32, arguments: &[u32]) -> u32 {
        // struct seccomp_data: number, architecture, instruction pointer, six 64-bit arguments.
        let mut data = [0; 16];
        (data[0], data[1]) = (call, architecture);
        for (index, argument) in arguments.iter().enumerate() {
            data[4 + 2 * index] = *argument;
        }
        answer(&filter.0, &data)
    }

    const ALLOW: u32 = 0x7fff_0000;
    const KILL: u32 = 0x8000_0000;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0026;

    #[test]
    fn exactly_the_listed_calls_are_allowed_whatever_their_arguments() {
        let filter = Filter::session(Allow::default()).unwrap();
        let listed: BTreeSet<u32> = calls::SESSION
            .iter()
            .chain(calls::SESSION_LEGACY)
            .map(|&call| number(call))
            .collect();
        let conditional: BTreeSet<u32> = session_conditions(Allow::default())
            .unwrap()
            .iter()
            .map(|(call, _)| number(*call))
            .collect();
        for call in (0..number(calls::FIRST_UNKNOWN)).filter(|call| !conditional.contains(call)) {
            let expected = match call {
                call if call == number(libc::SYS_clone3) => ENOSYS,
                call if listed.contains(&call) => ALLOW,
                _ => EPERM,
            };
            let got = judge(&filter, calls::AUDIT_ARCHITECTURE, call, &[]);
            assert_eq!(got, expected, "call {call}: {got:#x}");
        }
        assert!(
            conditional.is_disjoint(&listed),
            "a listed call's conditions would never be asked"
        );
    }

    #[test]
    fn what_is_foreign_or_newer_is_no_call_of_ours() {
        let filter = Filter::session(Allow::default()).unwrap();
        let own = calls::AUDIT_ARCHITECTURE;
        assert_eq!(
            judge(&filter, own, number(calls::FIRST_UNKNOWN), &[]),
            ENOSYS
        );
        // read(2) by x32, and by the 32-bit x86 table (AUDIT_ARCH_I386).
        assert_eq!(judge(&filter, own, 0x4000_0000, &[]), KILL);
        assert_eq!(judge(&filter, 0x4000_0003, 3, &[]), KILL);
    }

    #[test]
    fn what_is_allowed_by_a_word_is_allowed_by_no_other() {
        let allow = |user_namespaces, ptrace| Allow {
            user_namespaces,
            ptrace,
        };
        let answers = |call, first: libc::c_int| {
            [(false, false), (false, true), (true, false), (true, true)].map(|(nest, trace)| {
                let filter = Filter::session(allow(nest, trace)).unwrap();
                let arguments = [first.cast_unsigned()];
                judge(&filter, calls::AUDIT_ARCHITECTURE, number(call), &arguments)
            })
        };
        for call in calls::TRACING {
            assert_eq!(answers(*call, 0), [EPERM, ALLOW, EPERM, ALLOW], "{call}");
        }
        for call in calls::NESTING {
            assert_eq!(answers(*call, 0), [EPERM, EPERM, ALLOW, ALLOW], "{call}");
        }
        for call in [libc::SYS_clone, libc::SYS_unshare] {
            let user = answers(call, libc::CLONE_NEWUSER);
            assert_eq!(user, [EPERM, EPERM, ALLOW, ALLOW], "{call}");
        }
        let everywhere = [EPERM; 4];
        assert_eq!(answers(libc::SYS_clone, libc::CLONE_PARENT), everywhere);
        assert_eq!(answers(libc::SYS_unshare, libc::CLONE_FILES), everywhere);
        assert_eq!(answers(libc::SYS_pidfd_getfd, 0), everywhere);
        assert_eq!(answers(libc::SYS_clone3, 0), [ENOSYS; 4]);
        let memory_map = calls::SET_MEMORY_MAP.cast_signed();
        let forging = answers(libc::SYS_prctl, memory_map);
        assert_eq!(forging, [ALLOW, ALLOW, EPERM, EPERM]);
        assert_eq!(answers(libc::SYS_prctl, 38), [ALLOW; 4]);
    }

    #[test]
    fn the_keeper_may_what_its_programs_may_and_start_them() {
        let (keeper, session) = (
            Filter::keeper().unwrap(),
            Filter::session(Allow::default()).unwrap(),
        );
        let own = [libc::SYS_clone3, libc::SYS_keyctl].map(number);
        for call in 0..number(calls::FIRST_UNKNOWN) {
            let [keepers, sessions] =
                [&keeper, &session].map(|of| judge(of, calls::AUDIT_ARCHITECTURE, call, &[]));
            let expected = if own.contains(&call) { ALLOW } else { sessions };
            assert_eq!(keepers, expected, "call {call}: {keepers:#x}");
        }
        for call in [
            libc::SYS_mount,
            libc::SYS_setns,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_open_by_handle_at,
            libc::SYS_bpf,
            libc::SYS_init_module,
        ] {
            let answer = judge(&keeper, calls::AUDIT_ARCHITECTURE, number(call), &[]);
            assert_eq!(answer, EPERM, "{call}");
        }
    }

    #[test]
    fn arguments_decide_where_they_must() {
        let filter = Filter::session(Allow::default()).unwrap();
        let ask = |call, arguments: &[u32]| {
            judge(&filter, calls::AUDIT_ARCHITECTURE, number(call), arguments)
        };
        let flags = |flags: libc::c_int| flags.cast_unsigned();
        assert_eq!(ask(libc::SYS_clone, &[flags(libc::SIGCHLD)]), ALLOW);
        assert_eq!(ask(libc::SYS_clone, &[flags(libc::CLONE_NEWUSER)]), EPERM);
        assert_eq!(ask(libc::SYS_clone, &[flags(libc::CLONE_PARENT)]), EPERM);
        assert_eq!(
            ask(
                libc::SYS_clone,
                &[flags(libc::CLONE_THREAD | libc::CLONE_FILES)]
            ),
            ALLOW
        );
        assert_eq!(ask(libc::SYS_clone, &[flags(libc::CLONE_THREAD)]), EPERM);
        assert_eq!(ask(libc::SYS_ioctl, &[0, 0x5412]), EPERM);
        assert_eq!(ask(libc::SYS_ioctl, &[0, 0x5413]), ALLOW);
        assert_eq!(ask(libc::SYS_prlimit64, &[0, 0, 1]), ALLOW);
        assert_eq!(ask(libc::SYS_prlimit64, &[7, 0, 0]), ALLOW);
        assert_eq!(ask(libc::SYS_prlimit64, &[7, 0, 1]), EPERM);
        let tcp = flags(libc::SOCK_STREAM | libc::SOCK_CLOEXEC);
        assert_eq!(
            ask(libc::SYS_socket, &[flags(libc::AF_INET), tcp, 0]),
            ALLOW
        );
        assert_eq!(
            ask(
                libc::SYS_socket,
                &[flags(libc::AF_INET), flags(libc::SOCK_RAW), 1]
            ),
            EPERM
        );
    }
}
