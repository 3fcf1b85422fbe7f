"""What no honest client does, each scenario a JSON answer.

    hostile.py KEY SCENARIO [ARGUMENT...]
"""

import json
import socket
import sys

import paramiko

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


SCENARIOS = {
    "shut-window": shut_window,
}

print(json.dumps(SCENARIOS[sys.argv[2]](*sys.argv[3:])))
