"""What JetBrains Gateway does over one connection, each part a JSON answer.

    jetbrains.py KEY deploy|attach
"""

import asyncio
import hashlib
import json
import os
import sys

import asyncssh

HOME = ".cache/JetBrains/RemoteDev"
SIZE = 32 * 1024 * 1024

# In the backend's place: a server on a port of its own, which it writes where the client looks.
BACKEND = """#!/usr/bin/python3
import os, socket
listener = socket.create_server(("127.0.0.1", 0))
with open("run.tmp", "w") as out:
    out.write(f"{os.getpid()} {listener.getsockname()[1]}")
os.rename("run.tmp", "run")
while True:
    peer, _ = listener.accept()
    peer.sendall(b"joined")
    peer.close()
"""


async def join(connection, port):
    reader, writer = await connection.open_connection("127.0.0.1", port)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer.decode()


async def deploy(connection):
    statuses = []

    async def status(line):
        statuses.append((await connection.run(line)).exit_status)

    sftp = await connection.start_sftp_client()
    home = await sftp.realpath(".")
    await status("uname -sm")
    await sftp.makedirs(f"{HOME}/dist", exist_ok=True)
    archive = os.urandom(SIZE)
    async with sftp.open(f"{HOME}/dist/backend.tar", "wb") as out:
        await out.write(archive)
    async with sftp.open(f"{HOME}/remote-dev-server.py", "w") as out:
        await out.write(BACKEND)
    await sftp.chmod(f"{HOME}/remote-dev-server.py", 0o755)
    digest = hashlib.sha256(archive).hexdigest()
    await status(f"cd {home}/{HOME}/dist && echo '{digest}  backend.tar' | sha256sum -c --status")
    await status(f"test -f {home}/{HOME}/run")
    await status(f"cd {home}/{HOME} && nohup setsid ./remote-dev-server.py >log 2>&1 </dev/null & :")
    for _ in range(100):
        if await sftp.exists(f"{HOME}/run"):
            break
        await asyncio.sleep(0.1)
    # Several channels at once, as its progress window has them.
    await asyncio.gather(*[connection.run("sleep 0.2") for _ in range(5)])
    await status(f"test -f {home}/{HOME}/run")
    answer = await attach(connection)
    try:
        await connection.open_connection("127.0.0.1", 1)
        refused = False
    except asyncssh.ChannelOpenError:
        refused = True
    size = (await sftp.stat(f"{HOME}/dist/backend.tar")).size
    return {**answer, "statuses": statuses, "uploaded": size, "refused": refused}


async def attach(connection):
    sftp = await connection.start_sftp_client()
    async with sftp.open(f"{HOME}/run") as run:
        pid, port = (await run.read()).split()
    await connection.run(f"kill -0 {pid}", check=True)
    return {"pid": pid, "answer": await join(connection, int(port))}


async def main():
    key, part = sys.argv[1:]
    async with asyncssh.connect(
        "127.0.0.1", 2222, username="sandbox", client_keys=[key], known_hosts=None, config=None
    ) as connection:
        print(json.dumps(await {"deploy": deploy, "attach": attach}[part](connection)))


asyncio.run(main())
