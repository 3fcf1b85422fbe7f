#!/bin/bash
# OpenSSH's sshd behind sandgate's command line, to tell a wrong test from a wrong server:
#     SANDGATE_TEST_SERVER=$PWD/tests/programs/sshd.sh cargo test --test ssh exec:: terminal::
# It confines nothing, so that only tests of the SSH side make sense with it.
set -euo pipefail
[ "$1" = serve ]
dir=$(dirname "$3")
uid=$(sed -n 's/.*first: \([0-9]*\).*/\1/p' "$3")
port=$(sed -n 's/^listen:.*:\([0-9]*\)".*/\1/p' "$3")

mkdir -p "$dir/home" /run/sshd
chown "$uid:$uid" "$dir/home"
cp /etc/passwd /etc/group /etc/shadow "$dir/"
echo "sandbox:x:$uid:$uid::$dir/home:/bin/bash" >> "$dir/passwd"
echo "sandbox:x:$uid:" >> "$dir/group"
echo "sandbox:*:19000:0:99999:7:::" >> "$dir/shadow"
for file in passwd group shadow; do mount --bind "$dir/$file" "/etc/$file"; done
keys=() certificates=()
for key in $(sed -n 's/^host_keys: \[\(.*\)\]/\1/p' "$3" | tr -d ,); do keys+=(-h "$dir/$key"); done
for file in $(sed -n 's/^host_certificates: \[\(.*\)\]/\1/p' "$3"); do
    certificates+=(-o "HostCertificate=$dir/$file")
done
methods=$(sed -n "s/^ *authentication_methods: \[\(.*\)\]/\1/p" "$3" | sed "s/', '/ /g; s/'//g")
command=$(sed -n 's/^ *authorized_keys_command: {program: \[\(.*\)\], user.*/\1/p' "$3" | tr -d "',")
[ -e "$dir/host_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -f "$dir/host_ed25519"

(
    until (: < /dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.05; done
    echo "ssh -p $port sandbox@127.0.0.1"
) &
exec /usr/sbin/sshd -D -e -f /dev/null -p "$port" "${keys[@]}" "${certificates[@]}" \
    -o "AuthenticationMethods=${methods:-any}" -o "AuthorizedKeysCommand=${command:-none}" \
    -o "AuthorizedKeysCommandUser=nobody" \
    -o ListenAddress=127.0.0.1 -o AuthorizedKeysFile="$dir/authorized_keys" -o StrictModes=no \
    -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no -o MaxSessions=100 \
    -o "AcceptEnv=LANG LC_* COLORTERM GIT_PROTOCOL SGT_OPERATOR SGTX_*" -o PrintMotd=no \
    -o PermitUserEnvironment=yes -o "Subsystem=sftp /usr/lib/openssh/sftp-server" -o PrintLastLog=no -o PidFile=none -o MaxStartups=100
