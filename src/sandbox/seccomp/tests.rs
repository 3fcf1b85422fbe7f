//! Programs run as the kernel runs them.

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

pub(super) fn judge(filter: &Filter, architecture: u32, call: u32, arguments: &[u32]) -> u32 {
    // struct seccomp_data: number, architecture, instruction pointer, six 64-bit arguments.
    let mut data = [0; 16];
    (data[0], data[1]) = (call, architecture);
    for (index, argument) in arguments.iter().enumerate() {
        data[4 + 2 * index] = *argument;
    }
    answer(&filter.0, &data)
}

pub(super) const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
pub(super) const EPERM: u32 = 0x0005_0001;
pub(super) const ENOSYS: u32 = 0x0005_0026;

/// Every number that there is but those in `other`, which arguments decide.
#[track_caller]
fn allows_exactly(filter: &Filter, listed: &BTreeSet<u32>, other: &BTreeSet<u32>, otherwise: u32) {
    for call in (0..number(calls::FIRST_UNKNOWN)).filter(|call| !other.contains(call)) {
        let expected = match call {
            call if call == number(libc::SYS_clone3) => ENOSYS,
            call if listed.contains(&call) => ALLOW,
            _ => otherwise,
        };
        let got = judge(filter, calls::AUDIT_ARCHITECTURE, call, &[]);
        assert_eq!(got, expected, "call {call}: {got:#x}");
    }
}

#[test]
fn exactly_the_listed_calls_are_allowed_whatever_their_arguments() {
    let filter = Filter::session(Allow::default(), Scope::Connection).unwrap();
    let listed: BTreeSet<u32> = calls::SESSION
        .iter()
        .chain(calls::SESSION_LEGACY)
        .map(|&call| number(call))
        .collect();
    let conditional: BTreeSet<u32> = session_conditions(Allow::default(), Scope::Connection)
        .unwrap()
        .iter()
        .map(|(call, _)| number(*call))
        .collect();
    allows_exactly(&filter, &listed, &conditional, EPERM);
    assert!(
        conditional.is_disjoint(&listed),
        "a listed call's conditions would never be asked"
    );
}

#[test]
fn an_init_sleeps_and_does_nothing_else() {
    let filter = Filter::init().unwrap();
    let listed: BTreeSet<u32> = (calls::INIT.iter().chain(calls::INIT_LEGACY))
        .map(|&call| number(call))
        .collect();
    allows_exactly(&filter, &listed, &BTreeSet::new(), KILL);
}

#[test]
fn what_lists_no_call_finds_none() {
    let otherwise = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = compile([].iter(), Rules::new(), otherwise).unwrap();
    for call in [0, 1, number(calls::FIRST_UNKNOWN) - 1] {
        assert_eq!(judge(&filter, calls::AUDIT_ARCHITECTURE, call, &[]), EPERM);
    }
}

#[test]
fn what_is_foreign_or_newer_is_no_call_of_ours() {
    let filter = Filter::session(Allow::default(), Scope::Connection).unwrap();
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
            let filter = Filter::session(allow(nest, trace), Scope::Connection).unwrap();
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
        Filter::session(Allow::default(), Scope::Connection).unwrap(),
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
fn sessions_that_are_kept_apart_schedule_themselves_alone() {
    let ask = |scope, call, arguments: &[u32]| {
        let filter = Filter::session(Allow::default(), scope).unwrap();
        judge(&filter, calls::AUDIT_ARCHITECTURE, number(call), arguments)
    };
    let idle = libc::SCHED_IDLE.cast_unsigned();
    // setpriority(2): 0, 1 and 2 are a process, a group, a user; ioprio_set(2) counts from 1.
    for (call, arguments, apart) in [
        (libc::SYS_setpriority, &[0, 0, 19][..], ALLOW),
        (libc::SYS_setpriority, &[0, 7, 19], EPERM),
        (libc::SYS_setpriority, &[1, 0, 19], ALLOW),
        (libc::SYS_setpriority, &[1, 7, 19], EPERM),
        (libc::SYS_setpriority, &[2, 0, 19], EPERM),
        (libc::SYS_setpriority, &[2, 7, 19], EPERM),
        (libc::SYS_ioprio_set, &[1, 0], ALLOW),
        (libc::SYS_ioprio_set, &[1, 7], EPERM),
        (libc::SYS_ioprio_set, &[2, 0], ALLOW),
        (libc::SYS_ioprio_set, &[3, 0], EPERM),
        (libc::SYS_sched_setaffinity, &[0], ALLOW),
        (libc::SYS_sched_setaffinity, &[7], EPERM),
        (libc::SYS_sched_setattr, &[0], ALLOW),
        (libc::SYS_sched_setattr, &[7], EPERM),
        (libc::SYS_sched_setscheduler, &[0, idle], ALLOW),
        (libc::SYS_sched_setscheduler, &[7, idle], EPERM),
        (libc::SYS_sched_setscheduler, &[7, 0], ALLOW),
        (libc::SYS_sched_setparam, &[7], ALLOW),
        (libc::SYS_sched_getaffinity, &[7], ALLOW),
    ] {
        assert_eq!(
            ask(Scope::Connection, call, arguments),
            apart,
            "{call} {arguments:?}"
        );
        assert_eq!(
            ask(Scope::Login, call, arguments),
            ALLOW,
            "{call} {arguments:?}"
        );
    }
}

#[test]
fn arguments_decide_where_they_must() {
    let filter = Filter::session(Allow::default(), Scope::Connection).unwrap();
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
