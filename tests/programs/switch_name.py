"""Logs in with a key and a code and, between the two, asks once for nothing under another name.

    switch_name.py KEY NAME CODE

prints `in` or `out`. What was proved under one name must not count after a request under another
(RFC 4252, section 5).
"""

import asyncio
import sys

import asyncssh
from asyncssh.connection import SSHClientConnection

FAILURE = 51  # SSH_MSG_USERAUTH_FAILURE, RFC 4252, section 6

key, name, code = sys.argv[1:]
send = SSHClientConnection.send_userauth_request
handlers = dict(SSHClientConnection._packet_handlers)
failed = handlers[FAILURE]
swallow = 0


async def send_with_another_before(self, method, *rest, **options):
    global swallow
    if method == b"keyboard-interactive" and not swallow:
        own, self._username = self._username, name
        await send(self, b"none")
        self._username = own
        swallow = 1
    await send(self, method, *rest, **options)


def fail(self, pkttype, pktid, packet):
    global swallow
    if swallow == 1:
        swallow = 2
    else:
        failed(self, pkttype, pktid, packet)


handlers[FAILURE] = fail
SSHClientConnection._packet_handlers = handlers
SSHClientConnection.send_userauth_request = send_with_another_before


class Client(asyncssh.SSHClient):
    def kbdint_auth_requested(self):
        return ""

    def kbdint_challenge_received(self, name, instructions, lang, prompts):
        return [code for _ in prompts]


async def main():
    try:
        async with asyncssh.connect(
            "127.0.0.1", 2222, username="sandbox", client_factory=Client, config=None,
            client_keys=[key], agent_path=None, known_hosts=None,
        ):
            print("in")
    except asyncssh.PermissionDenied:
        print("out")
    assert swallow == 2


asyncio.run(main())
