/* Follows a process and what it forks by ptrace(2), writes down each system call, and strikes at one.
 *
 *     strike PID LOG
 *     strike PID LOG ROLE CALL NTH error=EPERM | return=0 | kill
 *
 * Roles: `monitor` is PID itself; `init` a child of it that is born into a new pid namespace, `session` any other;
 * a child of one of these is of a role with `/child` behind it. NTH counts the calls of that name in one process.
 * The first process to come there is struck, once: the call fails, or is said to have succeeded, without having been
 * made; or the process gets SIGKILL in its place. Nobody is followed past execve(2).
 *
 * A line of the log is ROLE CALL NTH and the six arguments in hexadecimal; one that begins with `!` was struck.
 * `names.h` is made of the kernel's header (tests/support/programs.rs). SIGTERM ends it, and lets all of them go. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/ptrace.h>
#include <linux/sched.h>

#define CALLS 1024
#define TASKS 256

static const char *const NAMES[CALLS] = {
#include "names.h"
};

struct task {
    pid_t pid;
    char role[48];          /* empty: its parent's event has not come yet */
    unsigned long flags;    /* of the clone that it is in */
    int struck;             /* the call that it is in is */
    int waits;              /* stopped until its role is known */
    unsigned count[CALLS];
};

static struct task tasks[TASKS];
static FILE *out;
static const char *role, *call;
static unsigned nth;
static enum { NOTHING, RETURN, KILL } action;
static long value;
static int done;

static void fail(const char *what) {
    fprintf(stderr, "strike: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct task *of(pid_t pid) {
    struct task *room = NULL;
    for (int i = 0; i < TASKS; i++) {
        if (tasks[i].pid == pid) return &tasks[i];
        if (!tasks[i].pid && !room) room = &tasks[i];
    }
    if (!room) { errno = ENOSPC; fail("too many processes"); }
    memset(room, 0, sizeof *room);
    room->pid = pid;
    return room;
}

/* Where the kernel is told which call is made, and what it gave (the numbers of registers are each processor's). */
static int set_call(pid_t pid, long number) {
#if defined(__x86_64__)
    return ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), number);
#elif defined(__aarch64__)
    int wanted = number;
    struct iovec vector = {&wanted, sizeof wanted};
    return ptrace(PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &vector);
#endif
}
static int set_result(pid_t pid, long result) {
#if defined(__x86_64__)
    return ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), result);
#elif defined(__aarch64__)
    struct user_regs_struct registers;
    struct iovec vector = {&registers, sizeof registers};
    if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &vector) < 0) return -1;
    registers.regs[0] = result;
    return ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &vector);
#endif
}

static void go_on(pid_t pid, int with) { ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(intptr_t)with); }

static unsigned long clone_flags(pid_t pid, const struct __ptrace_syscall_info *info) {
    unsigned long flags = 0;
    struct iovec here = {&flags, sizeof flags}, there = {(void *)(uintptr_t)info->entry.args[0], sizeof flags};
    if (info->entry.nr == SYS_clone) return info->entry.args[0];
    if (info->entry.nr == SYS_clone3 && process_vm_readv(pid, &here, 1, &there, 1, 0) == sizeof flags) return flags;
    return 0;
}

static void entered(struct task *task, const struct __ptrace_syscall_info *info) {
    uint64_t number = info->entry.nr;
    const char *name = number < CALLS && NAMES[number] ? NAMES[number] : "unknown";
    unsigned count = number < CALLS ? ++task->count[number] : 0;
    task->flags = clone_flags(task->pid, info);
    int now = action && !done && count == nth && !strcmp(role, task->role) && !strcmp(call, name);
    const unsigned long long *a = (const unsigned long long *)info->entry.args;
    fprintf(out, "%s%s %s %u %llx %llx %llx %llx %llx %llx\n", now ? "!" : "", task->role, name, count, a[0], a[1],
            a[2], a[3], a[4], a[5]);
    fflush(out);
    if (!now) return;
    done = 1;
    if (action == KILL) {
        kill(task->pid, SIGKILL);
        return;
    }
    /* One that does nothing, and that every filter lets pass which a session has. */
    if (set_call(task->pid, SYS_getpid) < 0) fail("no other call");
    task->struck = 1;
}

static void stopped_in_call(struct task *task) {
    struct __ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, task->pid, sizeof info, &info) < 0) return;
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
        entered(task, &info);
    } else if (info.op == PTRACE_SYSCALL_INFO_EXIT && task->struck) {
        task->struck = 0;
        if (set_result(task->pid, value) < 0) fail("no other result");
    }
}

static void forked(struct task *parent) {
    unsigned long child = 0;
    ptrace(PTRACE_GETEVENTMSG, parent->pid, NULL, &child);
    struct task *task = of(child);
    if (strcmp(parent->role, "monitor"))
        snprintf(task->role, sizeof task->role, "%.39s/child", parent->role);
    else
        strcpy(task->role, parent->flags & CLONE_NEWPID ? "init" : "session");
    if (task->waits) go_on(child, 0);
}

static void stopped(pid_t pid, int status) {
    struct task *task = of(pid);
    int with = WSTOPSIG(status), event = status >> 16;
    switch (event) {
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
    case PTRACE_EVENT_CLONE:
        forked(task);
        break;
    case PTRACE_EVENT_EXEC:
        ptrace(PTRACE_DETACH, pid, NULL, NULL);
        task->pid = 0;
        return;
    case PTRACE_EVENT_STOP:
        if (with != SIGTRAP) {
            ptrace(PTRACE_LISTEN, pid, NULL, NULL);
            return;
        }
        if (!*task->role) {
            task->waits = 1;
            return;
        }
        break;
    default:
        if (with == (SIGTRAP | 0x80)) {
            stopped_in_call(task);
            break;
        }
        go_on(pid, with);
        return;
    }
    go_on(pid, 0);
}

static void read_action(const char *text) {
    if (!strcmp(text, "kill")) {
        action = KILL;
        return;
    }
    action = RETURN;
    if (sscanf(text, "return=%ld", &value) == 1) return;
    for (int number = 1; number < 134; number++) {
        const char *name = strerrorname_np(number);
        if (name && !strncmp(text, "error=", 6) && !strcmp(text + 6, name)) value = -number;
    }
    if (!value) { errno = EINVAL; fail(text); }
}

static void end(int signal) {
    (void)signal;
    _exit(0); /* the kernel lets all of them go on (ptrace(2)) */
}

int main(int count, char **words) {
    if (count != 3 && count != 7) { errno = EINVAL; fail("PID LOG [ROLE CALL NTH ACTION]"); }
    if (count == 7) {
        role = words[3];
        call = words[4];
        nth = atoi(words[5]);
        read_action(words[6]);
    }
    pid_t first = atoi(words[1]);
    if (!(out = fopen(words[2], "w"))) fail(words[2]);
    signal(SIGTERM, end);
    strcpy(of(first)->role, "monitor");
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;
    if (ptrace(PTRACE_SEIZE, first, NULL, options) < 0) fail("seize");
    if (ptrace(PTRACE_INTERRUPT, first, NULL, NULL) < 0) fail("interrupt");
    int greeted = 0;
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0) {
            if (errno == ECHILD) return 0;
            fail("waitpid");
        }
        if (WIFSTOPPED(status)) stopped(pid, status);
        else of(pid)->pid = 0;
        if (!greeted) {
            greeted = 1;
            puts("following");
            fflush(stdout);
        }
    }
}
