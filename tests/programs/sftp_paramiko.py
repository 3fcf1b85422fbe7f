"""paramiko against the sftp server: files, names, times, errors and a transfer that reads ahead.

    sftp_paramiko.py KEY
"""

import hashlib
import io
import stat
import sys

import paramiko

client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(
    "127.0.0.1",
    2222,
    username="sandbox",
    key_filename=sys.argv[1],
    allow_agent=False,
    look_for_keys=False,
)
sftp = client.open_sftp()

content = hashlib.shake_256(b"sandgate").digest(5_000_001)
assert sftp.putfo(io.BytesIO(content), "large").st_size == len(content)
back = io.BytesIO()
sftp.getfo("large", back)
assert back.getvalue() == content
with sftp.open("large", "rb") as file:
    parts = [(1, 3), (4_999_999, 2), (65_535, 2)]
    assert list(file.readv(parts)) == [content[at : at + count] for at, count in parts]
with sftp.open("large", "r+b") as file:
    file.seek(7)
    file.write(b"seven")
    file.truncate(100)
with sftp.open("large", "ab") as file:
    file.write(b"end")
with sftp.open("large", "rb") as file:
    assert file.read() == content[:7] + b"seven" + content[12:100] + b"end"

sftp.utime("large", (1_000_000_000, 1_100_000_000))
sftp.chmod("large", 0o640)
seen = sftp.stat("large")
assert (seen.st_atime, seen.st_mtime) == (1_000_000_000, 1_100_000_000), seen
assert stat.filemode(seen.st_mode) == "-rw-r-----", seen

sftp.mkdir("d", 0o700)
for name in [b"caf\xe9", "snowman \u2603", "new\nline"]:
    path = name if isinstance(name, bytes) else name.encode()
    with sftp.open(b"d/" + path, "wb") as file:
        file.write(path)
with sftp.open(b"d/caf\xe9", "rb") as file:
    assert file.read() == b"caf\xe9"
# paramiko itself can't list names that are not UTF-8.
sftp.rename(b"d/caf\xe9", "d/caf")
assert set(sftp.listdir("d")) == {"caf", "snowman \u2603", "new\nline"}
sftp.chdir("d")
assert sftp.normalize(".").endswith("/d")
sftp.chdir()

sftp.symlink("nowhere", "dangling")
assert sftp.readlink("dangling") == "nowhere"
assert stat.S_ISLNK(sftp.lstat("dangling").st_mode)
sftp.posix_rename("large", "renamed")

sftp.mkdir("shut")
sftp.open("shut/file", "w").close()
sftp.chmod("shut", 0)
for call, error in [
    (lambda: sftp.stat("dangling"), FileNotFoundError),
    (lambda: sftp.open("shut/file"), PermissionError),
    (lambda: sftp.listdir("shut"), PermissionError),
    (lambda: sftp.rmdir("d"), OSError),
]:
    try:
        call()
        raise AssertionError("it was done")
    except error:
        pass
