"""Runs a program on a terminal of its own and plays a dialogue with it.

    terminal.py COLUMNS ROWS XPIXELS YPIXELS STEPS PROGRAM...

STEPS is a JSON list: ["send", TEXT], ["expect", REGEX], ["resize", COLUMNS, ROWS, X, Y],
["signal", NAME] (to the program), ["pause", SECONDS]. Everything that the program wrote is printed
to standard output; the exit status is the program's, 98 if an expected text did not come within
10 s, 128+N if signal N ended it.
"""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time


def set_size(terminal, columns, rows, x, y):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, x, y))


def play(child, terminal, steps):
    seen, at = b"", 0
    ended = False

    def read(seconds):
        nonlocal seen, ended
        if ended:
            return
        if select.select([terminal], [], [], seconds)[0]:
            try:
                data = os.read(terminal, 65536)
            except OSError:  # EIO: the last slave was closed
                data = b""
            ended = not data
            seen += data
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    for verb, *arguments in steps:
        if verb == "send":
            os.write(terminal, arguments[0].encode("utf-8", "surrogateescape"))
        elif verb == "resize":
            set_size(terminal, *arguments)
        elif verb == "signal":
            os.kill(child, getattr(signal, arguments[0]))
        elif verb == "pause":
            until = time.monotonic() + arguments[0]
            while time.monotonic() < until and not ended:
                read(0.05)
        elif verb == "expect":
            until = time.monotonic() + 10
            wanted = re.compile(arguments[0].encode(), re.S)
            while not (found := wanted.search(seen, at)):
                if ended or time.monotonic() > until:
                    print(f"\nNOT SEEN: {arguments[0]}", flush=True)
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    return 98
                read(0.1)
            at = found.end()
    until = time.monotonic() + 15
    while not ended and time.monotonic() < until:
        read(0.1)
    if not ended:
        print("\nNOT ENDED", flush=True)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    return 97 if not ended else os.waitstatus_to_exitcode(status)


def main():
    size = [int(number) for number in sys.argv[1:5]]
    steps = json.loads(sys.argv[5])
    child, terminal = pty.fork()
    if child == 0:
        set_size(0, *size)
        os.execv(sys.argv[6], sys.argv[6:])
    code = play(child, terminal, steps)
    sys.exit(code if code >= 0 else 128 - code)


main()
