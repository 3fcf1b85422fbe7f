#!/bin/bash
# OpenSSH's own regression tests, driven against `sandgate sshd`:
#     apt-get source openssh; apt-get install gcc netcat-openbsd
#     tests/programs/openssh-regress.sh target/debug/sandgate openssh-9.2p1/regress exit-status transfer ...
# Each test is one line: ok, failed or fatal, and its name; what it said is kept in the directory printed.
# With SSHD=/usr/sbin/sshd in the environment the same tests are run against that.
# Each has namespaces of its own, so that no server outlives it or keeps its port.
set -euo pipefail
sandgate=$(realpath "$1") source=$(realpath "$2")
shift 2
work=$(mktemp -d /tmp/sgregress.XXXXXX)
chmod 755 "$work"
echo "# $work"
mkdir "$work/obj" "$work/log"
cp -r "$source" "$work/regress"
# Programs that know keys are never run as root.
sed -i 's/AuthorizedKeysCommandUser .*/AuthorizedKeysCommandUser nobody/' "$work/regress/keys-command.sh"
echo '#define HAVE_OPENPTY 1' > "$work/config.h" # of what OpenSSH's configure finds, what tests ask for

# The remote side of the tests works in the local side's directory, and logs where it does.
chmod 1777 "$work/obj"
touch "$work/obj/"{ssh,sshd,regress}.log "$work/obj/data"
chmod 666 "$work/obj/"{ssh,sshd,regress}.log "$work/obj/data"
cat > "$work/policy.yaml" <<POLICY
version: 1
filesystem_policy:
  include_workdir: true
  read_only: [/usr, /bin, /sbin, /lib, /lib64, /etc/alternatives, /etc/ld.so.cache, $work/regress, $work/ssh]
  read_write: [/sandbox, /tmp, $work/obj]
landlock: {compatibility: hard_requirement}
POLICY
cat > "$work/sshd" <<WRAPPER
#!/bin/sh
# Some tests have a server of one connection beside one that listens.
ids="1803000000 1803000001 500"
for word; do [ "\$word" = -i ] && ids="1803001000 1803001001 500"; done
exec $sandgate sshd "\$@" -o SandboxPolicy=$work/policy.yaml -o SandboxAudit=$work/audit.jsonl \
    -o PerSourcePenalties=no -o AllowTcpForwarding=yes -o AllowAgentForwarding=yes \
    -o "SandboxUids=\$ids"
WRAPPER
# Tests try what the client says that it knows: what is offered here of it.
cat > "$work/ssh" <<'WRAPPER'
#!/bin/sh
case " $* " in
*" -Q kex "*) printf '%s\n' curve25519-sha256 curve25519-sha256@libssh.org ;;
*" -Q cipher "* | *" -Q cipher-auth "*)
    printf '%s\n' chacha20-poly1305@openssh.com aes256-gcm@openssh.com aes128-gcm@openssh.com ;;
*" -Q mac "*) test -n "$NO_MACS" || printf '%s\n' hmac-sha2-512-etm@openssh.com hmac-sha2-256-etm@openssh.com ;;
*" -Q "*) exec /usr/bin/ssh "$@" | grep -v '^ssh-dss' ;;
*) exec /usr/bin/ssh "$@" ;;
esac
WRAPPER
chmod 755 "$work/sshd" "$work/ssh"

# The tests' own programs, but for netcat, which OpenBSD's own takes the place of.
cat > "$work/includes.h" <<'INCLUDES'
#pragma once
#define _GNU_SOURCE
#define HAVE_GETOPT
#define HAVE_GETOPT_OPTRESET
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <paths.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* check-perm copies within one buffer. */
static inline size_t strlcpy(char *to, const char *from, size_t size) {
    size_t length = strlen(from), kept = length < size ? length : size - 1;
    memmove(to, from, kept);
    to[kept] = 0;
    return length;
}
INCLUDES
for program in modpipe check-perm; do
    cc -w -I"$work" -I"$source/.." -o "$work/obj/$program" "$source/$program.c"
done
cp "$(command -v nc.openbsd || command -v nc)" "$work/obj/netcat"
printf '#!/bin/sh\nexec mktemp -d "/tmp/$1"\n' > "$work/obj/mkdtemp"
chmod 755 "$work/obj/netcat" "$work/obj/mkdtemp"

export TEST_SHELL=sh OBJ=$work/obj BUILDDIR=$work TEST_SSH_SSHD=${SSHD:-$work/sshd} TEST_SSH_SSH=$work/ssh
export TEST_SSH_SFTPSERVER=/usr/lib/openssh/sftp-server
export TEST_SSH_UNSAFE_PERMISSIONS=1 TEST_SSH_PORT=${TEST_SSH_PORT:-4242}
failed=0
cd "$work/regress"
for test in "$@"; do
    rm -f "$OBJ/pidfile"
    NO_MACS=
    case $test in integrity) NO_MACS=yes ;; esac # it takes them with CTR modes, which are not offered
    export NO_MACS
    if unshare --net --pid --fork --kill-child --mount-proc timeout "${SECONDS_EACH:-180}" \
        sh -c 'ip link set lo up && exec sh test-exec.sh "$@"' sh "$OBJ" "$work/regress/$test.sh" \
        > "$work/log/$test" 2>&1; then
        echo "ok     $test"
    else
        echo "failed $test: $(grep -aE 'failed|FATAL|FAIL' "$work/log/$test" | head -n 1 | cut -c 1-100)"
        failed=$((failed + 1))
    fi
done
exit $((failed > 0))
