"""What no honest client does, each scenario a JSON answer.

    hostile.py KEY SCENARIO [ARGUMENT...]
"""

import json
import socket
import sys
import threading

import paramiko
from paramiko.common import (
    cMSG_CHANNEL_OPEN,
    cMSG_CHANNEL_OPEN_SUCCESS,
    cMSG_CHANNEL_REQUEST,
    cMSG_USERAUTH_REQUEST,
)

ADDRESS = ("127.0.0.1", 2222)
key = paramiko.Ed25519Key.from_private_key_file(sys.argv[1])


def connect():
    transport = paramiko.Transport(socket.create_connection(ADDRESS))
    transport.start_client(timeout=20)
    return transport


def log_in():
    transport = connect()
    transport.auth_publickey("sandbox", key)
    return transport


def message(kind, *fields):
    made = paramiko.Message()
    made.add_byte(kind)
    for field in fields:
        if isinstance(field, bool):
            made.add_boolean(field)
        elif isinstance(field, int):
            made.add_int(field)
        else:
            made.add_string(field)
    return made


def ask(question):
    """Says a line, and waits for the answer of whoever measures."""
    print(question, flush=True)
    sys.stdin.readline()


def shut_window():
    """A shell on a terminal whose first word the client has no room for; then the client is gone."""
    transport = log_in()
    transport._sanitize_window_size = lambda size: 0
    channel = transport.open_session(window_size=0)
    channel.get_pty()
    channel.invoke_shell()
    ask("open")
    transport.close()
    return "gone"


def own_confirmed(count):
    """Confirms channels that it opened itself, sends what nobody reads, and closes them."""
    transport = log_in()
    done = 0
    for _ in range(int(count)):
        try:
            channel = transport.open_session(timeout=10)
            channel.exec_command("sleep 0.3")
            fields = (channel.remote_chanid, channel.chanid, 1 << 20, 1 << 15)
            transport._send_user_message(message(cMSG_CHANNEL_OPEN_SUCCESS, *fields))
            channel.sendall(bytes(300_000))
            channel.recv_exit_status()
            channel.close()
            done += 1
        except (paramiko.SSHException, EOFError, OSError):
            break
    ask("closed")
    # A sender can learn of the end before the thread that reads does.
    transport.join(5)
    return [done, transport.is_active()]


def many_places(count):
    """Asks to be connected to as many places as that, one beside the other."""
    transport = log_in()
    for number in range(int(count)):
        fields = ("direct-tcpip", number, 1 << 20, 1 << 15, "example.com", 80, "127.0.0.1", 1)
        transport._send_message(message(cMSG_CHANNEL_OPEN, *fields))
    ask("asked")
    return transport.is_active()


def forged_log():
    """Asks for what nobody knows, by a name that looks like a line of the log."""
    transport = log_in()
    channel = transport.open_session()
    name = "x\n2026-01-01T00:00:00.000000Z  INFO forged: logged in"
    fields = (channel.remote_chanid, name, False)
    transport._send_user_message(message(cMSG_CHANNEL_REQUEST, *fields))
    channel.exec_command("exit 3")
    return channel.recv_exit_status()


class Probes:
    """Counts what the server says to offers."""

    username = "sandbox"

    def __init__(self):
        self.agreed = self.refused = 0
        self.answered = threading.Semaphore(0)
        count = {60: "agreed", 51: "refused"}
        handle = lambda name: lambda _: (setattr(self, name, getattr(self, name) + 1), self.answered.release())
        self._handler_table = {6: lambda _: self.answered.release()}
        self._handler_table |= {kind: handle(name) for kind, name in count.items()}
        self.is_authenticated = lambda: False
        self.abort = lambda: None


def offers(count):
    """Offers one good key again and again, and never proves it."""
    transport = connect()
    transport.auth_handler = probes = Probes()
    transport._send_message(message(bytes([5]), "ssh-userauth"))
    probes.answered.acquire(timeout=10)
    offer = ("sandbox", "ssh-connection", "publickey", False, key.get_name(), key.asbytes())
    for _ in range(int(count)):
        if not transport.is_active():
            break
        transport._send_message(message(cMSG_USERAUTH_REQUEST, *offer))
        while transport.is_active() and not probes.answered.acquire(timeout=0.2):
            pass
    return [probes.agreed, probes.refused, transport.is_active()]


def variables(length):
    """How many of 128 variables of this length one channel's program gets."""
    transport = log_in()
    channel = transport.open_session()
    for number in range(128):
        channel.set_environment_variable(f"LC_{number}", "x" * int(length))
    channel.exec_command("env | grep -c ^LC_")
    return int(channel.makefile().read())


SCENARIOS = {
    "shut-window": shut_window,
    "own-confirmed": own_confirmed,
    "forged-log": forged_log,
    "many-places": many_places,
    "offers": offers,
    "variables": variables,
}

print(json.dumps(SCENARIOS[sys.argv[2]](*sys.argv[3:])))
