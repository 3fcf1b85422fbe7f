#!/bin/bash
# OpenSSH's sshd behind sandgate's command line, to tell a wrong test from a wrong server:
#     SANDGATE_TEST_SERVER=$PWD/tests/programs/sshd.sh cargo test --test ssh exec:: terminal::
# It confines nothing, so that only tests of the SSH side make sense with it. Needs python3-yaml.
set -euo pipefail
[ "$1" = serve ]
source=$3 dir=$(dirname "$3") translate=$(dirname "$0")/sshd_config.py
uid=$(sed -n 's/.*first: \([0-9]*\).*/\1/p' "$source")
port=$(sed -n 's/^listen:.*:\([0-9]*\)".*/\1/p' "$source")
mkdir -p "$dir/home" /run/sshd
chown "$uid:$uid" "$dir/home"
cp /etc/passwd /etc/group /etc/shadow "$dir/"
for file in passwd group shadow; do mount --bind "$dir/$file" "/etc/$file"; done
[ -e "$dir/host_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -f "$dir/host_ed25519"

# Every login is an account of the same uid, as far as the tests can see.
configure() {
    python3 -I "$translate" "$source" > "$dir/sshd_config"
    for login in $(python3 -I "$translate" "$source" logins); do
        grep -q "^$login:" "$dir/passwd" && continue
        echo "$login:x:$uid:$uid::$dir/home:/bin/bash" >> "$dir/passwd"
        echo "$login:x:$uid:" >> "$dir/group"
        echo "$login:*:19000:0:99999:7:::" >> "$dir/shadow"
    done
}
answers() {
    until (: < "/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.05; done
}
reload() {
    configure
    kill -HUP "$sshd"
    # It starts itself anew before it listens again.
    sleep 0.5
    answers
    echo "configuration reloaded" >&2
}
configure
/usr/sbin/sshd -D -e -f "$dir/sshd_config" &
sshd=$!
trap reload HUP
trap 'kill "$sshd"' TERM INT
answers
echo "ssh -p $port sandbox@127.0.0.1"
# A trap's signal ends the waiting, not the server.
while kill -0 "$sshd" 2>/dev/null; do wait "$sshd" || true; done
