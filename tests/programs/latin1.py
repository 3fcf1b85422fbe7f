"""Strings that are not UTF-8 where RFC 4254 has a string, each answer as JSON.

    latin1.py KEY

paramiko sends bytes as they are.
"""

import json
import logging
import sys

import paramiko
from paramiko.common import (
    cMSG_CHANNEL_OPEN_FAILURE,
    cMSG_CHANNEL_REQUEST,
    MSG_CHANNEL_OPEN_FAILURE,
)
from paramiko.message import Message

NAME = b"caf\xe9"

said = []


class Listener(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())


logging.getLogger("paramiko").addHandler(Listener(logging.ERROR))


class Transport(paramiko.Transport):
    """Refuses the server's channels in Latin-1."""

    def _send_message(self, message):
        data = message.asbytes()
        if data[0] == MSG_CHANNEL_OPEN_FAILURE:
            given = Message(data[1:])
            message = Message()
            message.add_byte(cMSG_CHANNEL_OPEN_FAILURE)
            message.add_int(given.get_int())
            message.add_int(given.get_int())
            message.add_string(b"refus\xe9")
            message.add_string(b"fran\xe7ais")
        super()._send_message(message)


def opened(transport, kind, place, source):
    try:
        transport.open_channel(kind, place, source, timeout=10).close()
        return "opened"
    except paramiko.ChannelException as error:
        # The server's own words are in the log alone: "Secsh channel 0 open FAILED: WORDS: CODE'S NAME".
        return [error.code, said.pop().split(": ", 1)[1].rsplit(": ", 1)[0]]


def asked(transport, kind, *fields, before=b"", after=b""):
    """Whether a request was granted, on a channel of its own: paramiko closes one whose request was not."""
    channel = transport.open_session(timeout=10)
    request = Message()
    request.add_byte(cMSG_CHANNEL_REQUEST)
    request.add_int(channel.remote_chanid)
    request.add_string(kind)
    request.add_boolean(True)
    request.add_bytes(before)
    for field in fields:
        request.add_string(field)
    request.add_bytes(after)
    channel._event_pending()
    transport._send_user_message(request)
    try:
        channel._wait_for_event()
        return True
    except paramiko.SSHException:
        return False
    finally:
        channel.close()


def connected():
    transport = Transport(("127.0.0.1", 2222))
    transport.start_client(timeout=10)
    return transport


def main(path):
    key = paramiko.Ed25519Key.from_private_key_file(path)
    answer = {}
    transport = connected()
    try:
        transport.auth_publickey(NAME, key)
    except paramiko.AuthenticationException as error:
        answer["login"] = str(error)
    transport.auth_publickey("sandbox", key)
    here = ("127.0.0.1", 1)
    answer["host"] = opened(transport, "direct-tcpip", (NAME, 80), here)
    answer["originator"] = opened(transport, "direct-tcpip", ("127.0.0.1", 9), (NAME, 1))
    answer["kind"] = opened(transport, NAME, here, here)
    for kind in ["tcpip-forward", "cancel-tcpip-forward"]:
        answer[kind] = transport.global_request(kind, (NAME, 7100), wait=True) is not None
    answer["global"] = transport.global_request(NAME, wait=True) is not None
    answer["request"] = asked(transport, NAME)
    answer["env"] = asked(transport, b"env", NAME, NAME)
    answer["x11"] = asked(transport, b"x11-req", NAME, NAME, before=b"\0", after=bytes(4))
    answer["subsystem"] = asked(transport, b"subsystem", NAME)
    # The client refuses what comes to a port that it has asked for, in words of its own.
    granted = transport.global_request("tcpip-forward", ("127.0.0.1", 7101), wait=True)
    assert granted is not None
    channel = transport.open_session(timeout=10)
    channel.exec_command("exec 3<>/dev/tcp/127.0.0.1/7101; cat <&3; echo -n over")
    answer["refusal"] = channel.makefile().read().decode()
    assert channel.recv_exit_status() == 0
    transport.close()
    print(json.dumps(answer))


main(*sys.argv[1:])
