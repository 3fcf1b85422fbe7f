"""How many seconds a forwarded connection of each kind lives that carries nothing, as JSON.

    quiet.py KEY AGENT-SOCKET
"""

import asyncio
import json
import sys
import time

import asyncssh

# Listens in the sandbox, says nothing, and holds what comes.
SILENT = """python3 -uc '
import socket, time
port = socket.create_server(("127.0.0.1", 7000))
path = socket.socket(socket.AF_UNIX)
path.bind("in.sock")
path.listen()
print("up")
while True: time.sleep(1)
'"""

# Connects in the sandbox, and tells how long that lasted.
LASTS = """python3 -uc '
import os, socket, time
s = socket.socket({family})
s.connect({place})
begun = time.monotonic()
s.recv(1)
print(time.monotonic() - begun)
'"""


async def lasts(opening):
    reader, writer = await opening
    begun = time.monotonic()
    await reader.read(1)
    return time.monotonic() - begun


async def inside(connection, family, place):
    command = LASTS.format(family=f"socket.{family}", place=place)
    return float((await connection.run(command, check=True)).stdout)


def held():
    """A server on the client's side that says nothing."""

    async def wait(reader, writer):
        await reader.read(1)

    return lambda *_: wait


async def main(key, agent):
    async with asyncssh.connect(
        "127.0.0.1",
        2222,
        username="sandbox",
        client_keys=[key],
        known_hosts=None,
        config=None,
        agent_path=agent,
        agent_forwarding=True,
    ) as connection:
        home = (await connection.run("pwd", check=True)).stdout.strip()
        listening = await connection.create_process(SILENT)
        await listening.stdout.readline()
        await connection.start_server(held(), "127.0.0.1", 7100)
        await connection.start_unix_server(held(), f"{home}/back.sock")
        kinds = {
            "direct_tcpip": lasts(connection.open_connection("127.0.0.1", 7000)),
            "direct_streamlocal": lasts(connection.open_unix_connection(f"{home}/in.sock")),
            "forwarded_tcpip": inside(connection, "AF_INET", '("127.0.0.1", 7100)'),
            "forwarded_streamlocal": inside(connection, "AF_UNIX", f'"{home}/back.sock"'),
            "agent": inside(connection, "AF_UNIX", 'os.environ["SSH_AUTH_SOCK"]'),
        }
        seconds = await asyncio.gather(*kinds.values())
        print(json.dumps(dict(zip(kinds, seconds))))


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 70))
