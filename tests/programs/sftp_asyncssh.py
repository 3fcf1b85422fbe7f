"""asyncssh against the sftp server: OpenSSH's extensions and names that are bytes.

    sftp_asyncssh.py KEY
"""

import asyncio
import sys

import asyncssh

PAST = 5 << 30
ODD = b"caf\xe9\xff"


async def links(sftp):
    # asyncssh goes by the server's name: only to OpenSSH's it sends the target first, as it is wanted.
    named = "OpenSSH" in sftp._handler._reader.get_extra_info("server_version", "")
    for link, target in [("absolute", "/etc/hostname"), ("dangling", "nowhere"), ("loop", "loop")]:
        await (sftp.symlink(target, link) if named else sftp.symlink(link, target))
    assert await sftp.readlink("absolute") == "/etc/hostname"
    assert await sftp.readlink("dangling") == "nowhere"
    assert (await sftp.stat("absolute")).type == asyncssh.FILEXFER_TYPE_REGULAR
    for name in ["dangling", "loop"]:
        assert await sftp.islink(name) and not await sftp.exists(name), name
    try:
        await sftp.stat("loop")
        raise AssertionError("a loop has attributes")
    except asyncssh.SFTPNoSuchFile:
        pass
    # lsetstat: of the link, not of what it leads to.
    await sftp.utime("dangling", (1, 86400), follow_symlinks=False)
    assert (await sftp.lstat("dangling")).mtime == 86400


async def names(sftp):
    async with sftp.open(ODD, "wb") as file:
        await file.write(ODD)
    assert ODD in await sftp.listdir(b".")
    await sftp.rename(ODD, ODD + b"2")
    async with sftp.open(ODD + b"2", "rb") as file:
        assert await file.read() == ODD
    assert (await sftp.realpath(ODD + b"2")).endswith(b"/" + ODD + b"2")


async def replacing(sftp):
    for name, text in [("old", "old"), ("new", "new")]:
        async with sftp.open(name, "w") as file:
            await file.write(text)
            await file.fsync()
    try:
        await sftp.rename("new", "old")
        raise AssertionError("rename replaced a file")
    except asyncssh.SFTPFailure:
        pass
    await sftp.posix_rename("new", "old")
    await sftp.link("old", "hard")
    async with sftp.open("hard") as file:
        assert await file.read() == "new"
    await sftp.remote_copy("old", "copy")
    assert (await sftp.stat("copy")).size == 3


async def holes(sftp):
    """A file of which only the ends are written, its middle read, and cut short again."""
    async with sftp.open("sparse", "wb+") as file:
        await file.write(b"first", 0)
        await file.write(b"last", PAST)
        assert await file.read(5, 0) == b"first"
        assert await file.read(8, PAST - 4) == b"\0\0\0\0last"
        assert await file.read(1 << 16, 1 << 32) == bytes(1 << 16)
        assert (await file.stat()).size == PAST + 4
        assert (await file.statvfs()).bsize > 0
    await sftp.truncate("sparse", (1 << 32) + 1)
    assert (await sftp.stat("sparse")).size == (1 << 32) + 1
    space = await sftp.statvfs("sparse")
    assert space.namemax == 255 and 0 < space.bavail <= space.blocks, space


async def refused(command):
    try:
        await command
        return "Success"
    except asyncssh.SFTPError as error:
        return error.reason


async def rights(connection, sftp):
    """What a program is refused, with which words, and what this server is."""
    seen = {}
    for path, mode, sign in [
        ("/root", "r", "<"),
        ("/etc/shadow", "r", "<"),
        ("/proc/1/environ", "r", "<"),
        ("/usr/new", "w", ">"),
        ("/etc/new", "w", ">"),
        ("/proc/sys/kernel/hostname", "w", ">"),
        ("/usr/bin/env", "w", ">"),
        ("/usr/bin/env", "r", "<"),
        ("/tmp/new", "w", ">"),
    ]:
        result = await connection.run(f"exec 3{sign}{path}")
        program = result.stderr.strip().rpartition(": ")[2] or "Success"
        seen[path, mode] = program, await refused(sftp.open(path, mode))
    for both in seen.values():
        assert both[0] == both[1], seen
    answers = {program for program, _ in seen.values()}
    assert {"Success", "Permission denied", "No such file or directory"} <= answers, seen


async def main(key):
    options = {"username": "sandbox", "client_keys": [key], "known_hosts": None, "config": None}
    async with asyncssh.connect("127.0.0.1", 2222, **options) as connection:
        async with connection.start_sftp_client() as sftp:
            for scenario in [links, names, replacing, holes]:
                await scenario(sftp)
            await sftp.mkdir("shut")
            await sftp.chmod("shut", 0)
            if "sandgate" in connection.get_extra_info("server_version"):
                await rights(connection, sftp)
            assert sftp.limits.max_read_len >= 32768, sftp.limits
            for path, error in [
                ("missing", asyncssh.SFTPNoSuchFile),
                ("shut/file", asyncssh.SFTPPermissionDenied),
            ]:
                try:
                    async with sftp.open(path):
                        raise AssertionError(path)
                except error:
                    pass


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 50))
