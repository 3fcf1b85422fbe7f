"""A test's sandgate.yaml as an sshd_config(5), as far as sshd 9.2 has the same.

    sshd_config.py sandgate.yaml [logins]

prints the configuration, or the logins' names. What sshd lacks is left out: the tests of it say so.
"""

import os
import sys

import yaml

CHANNELS = {
    "shell": "session:shell",
    "command": "session:command",
    "sftp": "session:subsystem:sftp",
    "direct_tcpip": "direct-tcpip",
    "direct_streamlocal": "direct-streamlocal@openssh.com",
    "forwarded_tcpip": "forwarded-tcpip",
    "forwarded_streamlocal": "forwarded-streamlocal@openssh.com",
    "agent": "agent-connection",
}

ALWAYS = """\
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitUserEnvironment yes
PrintMotd no
PrintLastLog no
PidFile none"""

ENVIRONMENT = "LANG LC_* COLORTERM GIT_PROTOCOL SGT_OPERATOR SGTX_*"


def manners(file):
    """What stands at the top of the file."""
    limits, startups = file.get("limits") or {}, file.get("startups") or {}
    timeouts, rekey = file.get("timeouts") or {}, file.get("rekey") or {}
    yield "LoginGraceTime", limits.get("login_grace", 60)
    yield "MaxAuthTries", limits.get("auth_tries", 6)
    yield "MaxSessions", limits.get("channels", 100)
    full = startups.get("full", 256)
    yield "MaxStartups", f"{startups.get('start', 64)}:{startups.get('rate', 30)}:{full}"
    yield "PerSourceMaxStartups", startups.get("per_source", 32)
    prefixes = startups.get("ipv4_prefix", 32), startups.get("ipv6_prefix", 64)
    yield "PerSourceNetBlockSize", ":".join(map(str, prefixes))
    yield "ClientAliveInterval", timeouts.get("alive_interval", 60)
    yield "ClientAliveCountMax", timeouts.get("alive_count", 5)
    channels = [f"{CHANNELS[kind]}={time}" for kind, time in timeouts.get("channels", {}).items()]
    if timeouts.get("idle"):
        # The first that matches counts.
        channels.append(f"*={timeouts['idle']}")
    if channels:
        yield "ChannelTimeout", " ".join(channels)
    if timeouts.get("unused"):
        yield "UnusedConnectionTimeout", timeouts["unused"]
    if rekey:
        yield "RekeyLimit", f"{rekey.get('bytes', 'default')} {rekey.get('seconds', 'none')}"
    forced = any("force_command" in login for login in (file.get("logins") or {}).values())
    # A forced command is told the subsystem's; others look for the program.
    yield "Subsystem", f"sftp {'internal-sftp' if forced else '/usr/lib/openssh/sftp-server'}"
    if "banner" in file:
        yield "Banner", os.path.abspath(file["banner"])


def rights(whole, login):
    """What stands in a login, or at the top for all."""

    def paths(key):
        return [os.path.abspath(path) for path in login.get(key, whole.get(key)) or []]

    yield "AuthorizedKeysFile", " ".join(paths("authorized_keys"))
    yield "AcceptEnv", " ".join([ENVIRONMENT, *login.get("accept_env", [])])
    for key, keyword in [("trusted_user_ca_keys", "TrustedUserCAKeys"), ("revoked_keys", "RevokedKeys")]:
        for path in paths(key):
            yield keyword, path
    if "authorized_principals" in login:
        names = os.path.abspath("principals")
        with open(names, "w", encoding="utf-8") as file:
            file.write("\n".join(login["authorized_principals"]) + "\n")
        yield "AuthorizedPrincipalsFile", names
    methods = login.get("authentication_methods", whole.get("authentication_methods"))
    if methods:
        yield "AuthenticationMethods", " ".join(methods)
    command = login.get("authorized_keys_command")
    if command:
        yield "AuthorizedKeysCommand", " ".join(command["program"])
        yield "AuthorizedKeysCommandUser", "nobody"
    if "force_command" in login:
        yield "ForceCommand", login["force_command"]


def main(path, what="configuration"):
    with open(path, encoding="utf-8") as text:
        file = yaml.safe_load(text)
    os.chdir(os.path.dirname(os.path.abspath(path)))
    logins = file.get("logins") or {"sandbox": {"authorized_keys": ["authorized_keys"]}}
    if what == "logins":
        print(*logins)
        return
    for address in file["listen"]:
        print("ListenAddress", address)
    for key in file.get("host_keys", ["host_ed25519"]):
        print("HostKey", os.path.abspath(key))
    for certificate in file.get("host_certificates", []):
        print("HostCertificate", os.path.abspath(certificate))
    print(ALWAYS)
    for keyword, value in manners(file):
        print(keyword, value)
    for name, login in logins.items():
        print("Match User", name)
        for keyword, value in rights(file, login):
            print("   ", keyword, value)


main(*sys.argv[1:])
