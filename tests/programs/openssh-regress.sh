#!/bin/bash
# OpenSSH's own regression tests, driven against `sandgate sshd`:
#     apt-get source openssh
#     tests/programs/openssh-regress.sh target/debug/sandgate openssh-9.2p1/regress exit-status transfer ...
# Each test is one line: ok, failed or fatal, and its name; what it said is kept in the directory printed.
# With SSHD=/usr/sbin/sshd in the environment the same tests are run against that.
set -euo pipefail
sandgate=$(realpath "$1") source=$(realpath "$2")
shift 2
work=$(mktemp -d /tmp/sgregress.XXXXXX)
chmod 755 "$work"
echo "# $work"
mkdir "$work/obj" "$work/log"
cp -r "$source" "$work/regress"
touch "$work/config.h" # what OpenSSH's configure would have found: nothing special

# The remote side of the tests works in the local side's directory.
chmod 1777 "$work/obj"
cat > "$work/policy.yaml" <<POLICY
version: 1
filesystem_policy:
  include_workdir: true
  read_only: [/usr, /bin, /sbin, /lib, /lib64, /etc/alternatives, /etc/ld.so.cache, $work/regress]
  read_write: [/sandbox, /tmp, $work/obj]
landlock: {compatibility: hard_requirement}
POLICY
cat > "$work/sshd" <<WRAPPER
#!/bin/sh
exec $sandgate sshd "\$@" -o SandboxPolicy=$work/policy.yaml -o SandboxAudit=$work/audit.jsonl \
    -o PerSourcePenalties=no -o AllowTcpForwarding=yes -o "SandboxUids=1803000000 1803000001 500"
WRAPPER
chmod 755 "$work/sshd"

# Theirs have to be compiled.
cat > "$work/obj/netcat" <<'NETCAT'
#!/bin/bash
exec 3<> "/dev/tcp/$1/$2"
cat <&3 &
cat >&3
NETCAT
printf '#!/bin/sh\nexec mktemp -d "/tmp/$1"\n' > "$work/obj/mkdtemp"
chmod 755 "$work/obj/netcat" "$work/obj/mkdtemp"

export TEST_SHELL=sh OBJ=$work/obj BUILDDIR=$work TEST_SSH_SSHD=${SSHD:-$work/sshd}
export TEST_SSH_UNSAFE_PERMISSIONS= TEST_SSH_PORT=${TEST_SSH_PORT:-4242}
failed=0
cd "$work/regress"
for test in "$@"; do
    if timeout 180 sh test-exec.sh "$OBJ" "$work/regress/$test.sh" > "$work/log/$test" 2>&1; then
        echo "ok     $test"
    else
        echo "failed $test: $(grep -aE 'failed|FATAL|FAIL' "$work/log/$test" | head -n 1 | cut -c 1-100)"
        failed=$((failed + 1))
    fi
    pid=$(cat "$OBJ/pidfile" 2>/dev/null) && kill "$pid" 2>/dev/null || true
done
exit $((failed > 0))
