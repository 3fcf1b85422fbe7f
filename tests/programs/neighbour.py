"""Two parties on one host: `set` leaves something of every kind, `try` goes after it and says how far it came.

`try` prints `KIND: ok` for what is reached, and the reason for what is not.
"""
import ctypes
import glob
import os
import signal
import socket
import sys
import time

KEY, PORT = 0x5A17, 7001
libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def listen(family, address):
    listener = socket.socket(family)
    listener.bind(address)
    listener.listen()
    return listener


def connect(family, address):
    client = socket.socket(family)
    client.settimeout(5)
    client.connect(address)


def victim():
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            words = open(path, "rb").read().split(b"\0")
        except OSError:
            continue
        if b"set" in words and words[0] != b"bash":
            return int(path.split("/")[2])
    raise LookupError("no such process")


def leave():
    kept = [
        listen(socket.AF_INET, ("127.0.0.1", PORT)),
        listen(socket.AF_INET6, ("::1", PORT)),
        listen(socket.AF_UNIX, "\0neighbour"),
        listen(socket.AF_UNIX, "/tmp/neighbour"),
    ]
    for path in ("/sandbox/mine", "/tmp/mine", "/dev/shm/mine"):
        with open(path, "w") as file:
            file.write("mine")
        os.chmod(path, 0o777)
    os.chmod("/sandbox", 0o777)
    os.mkfifo("/tmp/pipe", 0o777)
    checked(libc.shmget(KEY, 4096, 0o1666))
    checked(libc.semget(KEY, 1, 0o1666))
    checked(libc.msgget(KEY, 0o1666))
    signal.signal(signal.SIGUSR1, lambda *_: print("signalled", flush=True))
    print("ready", flush=True)
    while kept:
        time.sleep(60)


ATTEMPTS = {
    "see": victim,
    "signal": lambda: os.kill(victim(), signal.SIGUSR1),
    "cmdline": lambda: open(f"/proc/{victim()}/cmdline").read(),
    "tcp": lambda: connect(socket.AF_INET, ("127.0.0.1", PORT)),
    "tcp6": lambda: connect(socket.AF_INET6, ("::1", PORT)),
    "abstract": lambda: connect(socket.AF_UNIX, "\0neighbour"),
    "socket": lambda: connect(socket.AF_UNIX, "/tmp/neighbour"),
    "home": lambda: open("/sandbox/mine").read(),
    "file": lambda: open("/tmp/mine").read(),
    "posix-memory": lambda: open("/dev/shm/mine").read(),
    "fifo": lambda: os.open("/tmp/pipe", os.O_RDWR),
    "memory": lambda: checked(libc.shmget(KEY, 4096, 0)),
    "semaphore": lambda: checked(libc.semget(KEY, 1, 0)),
    "messages": lambda: checked(libc.msgget(KEY, 0)),
}

if sys.argv[1] == "set":
    leave()
for name, attempt in ATTEMPTS.items():
    try:
        attempt()
        print(f"{name}: ok")
    except (OSError, LookupError) as error:
        print(f"{name}: {getattr(error, 'strerror', None) or error}")
try:
    # Whoever can be reached without being seen.
    os.kill(-1, signal.SIGUSR1)
except OSError:
    pass
