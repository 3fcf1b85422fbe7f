"""Channel requests that OpenSSH's client cannot be told to make, each scenario a JSON answer.

    channel.py KEY SCENARIO
"""

import asyncio
import json
import sys

import asyncssh

SIGNALS = ["TERM", "KILL", "INT", "HUP", "ABRT", "SEGV", "USR1", "PIPE"]


async def read_until(stream, text, seconds=10):
    seen = ""
    while text not in seen:
        part = await asyncio.wait_for(stream.read(4096), seconds)
        if not part:
            raise EOFError(f"{text!r} did not come: {seen!r}")
        seen += part
    return seen


async def exit_signals(connection):
    answer = {}
    for name in SIGNALS:
        result = await connection.run(f"kill -{name} $$; sleep 5")
        answer[name] = result.exit_signal[0] if result.exit_signal else result.exit_status
    answer["status"] = (await connection.run("exit 7")).exit_status
    return answer


async def signals(connection):
    answer = {"pipe": {}}
    for name in ["TERM", "INT", "HUP", "USR1", "USR2"]:
        process = await connection.create_process("echo ready; exec sleep 20")
        await read_until(process.stdout, "ready")
        process.send_signal(name)
        result = await asyncio.wait_for(process.wait(), 10)
        answer["pipe"][name] = result.exit_signal[0] if result.exit_signal else result.exit_status
    shell = await connection.create_process(term_type="xterm", term_size=(80, 24))
    shell.stdin.write("trap 'echo shell-hit' INT; echo re''ady; sleep 20\n")
    await read_until(shell.stdout, "ready")
    await asyncio.sleep(2)
    shell.send_signal("INT")
    shell.stdin.write("echo al''ive\n")
    await read_until(shell.stdout, "alive", 8)
    answer["foreground"] = "interrupted, shell alive"
    shell.stdin.write("exit\n")
    return answer


async def breaks(process):
    """Whether a break of half a second was granted; asyncssh's send_break does not ask for a reply."""
    request = process.channel._make_request(b"break", asyncssh.packet.UInt32(500))
    return await asyncio.wait_for(request, 10)


async def send_break(connection):
    """What a break does under each mode (termios(3)), and without a terminal."""
    answer = {}
    for mode, show in [
        ("brkint", "trap 'echo in''terrupted; exit' INT; echo re''ady; sleep 20"),
        ("-brkint -ignbrk", "stty -icanon -echo min 1; echo re''ady; head -c 1 | od -An -tx1"),
        ("ignbrk", "stty -icanon -echo min 1; echo re''ady; head -c 1 | od -An -tx1"),
    ]:
        shell = await connection.create_process(
            f"stty {mode}; {show}", term_type="xterm", term_size=(80, 24)
        )
        await read_until(shell.stdout, "ready")
        await asyncio.sleep(0.5)
        granted = await breaks(shell)
        if mode == "ignbrk":
            shell.stdin.write("x")
        rest = await asyncio.wait_for(shell.stdout.read(), 10)
        answer[mode] = [granted, rest.strip()]
    process = await connection.create_process("read line; echo $line")
    granted = await breaks(process)
    process.stdin.write("alive\n")
    answer["without terminal"] = [granted, (await read_until(process.stdout, "alive")).strip()]
    return answer


async def refusals(connection):
    answer = {}
    for name, options in [
        ("subsystem", {"subsystem": "no-such-subsystem"}),
        ("x11", {"command": "true", "x11_forwarding": True, "x11_display": ":0"}),
    ]:
        try:
            process = await connection.create_process(**options)
            process.close()
            answer[name] = "granted"
        except asyncssh.ChannelOpenError:
            answer[name] = "refused"
    answer["after"] = (await connection.run("true")).exit_status
    return answer


async def opened(opening):
    """A refused channel's code and reason, or the first bytes of one that was opened."""
    try:
        reader, writer = await asyncio.wait_for(opening, 15)
    except asyncssh.ChannelOpenError as error:
        return [error.code, error.reason]
    return (await asyncio.wait_for(reader.read(100), 10)).decode()


async def socket_paths(connection):
    """What the server says to paths that OpenSSH's client refuses to ask for."""
    answer = {}
    for path in ["\0abstract", "relative.sock", "", "/tmp/nul\0.sock", "/" + "x" * 107]:
        answer[repr(path)] = await opened(connection.open_unix_connection(path))
    answer["tun"] = await opened(connection.open_tun())
    answer["after"] = (await connection.run("true")).exit_status
    return answer


SCENARIOS = {
    "socket-paths": socket_paths,
    "exit-signals": exit_signals,
    "signals": signals,
    "break": send_break,
    "refusals": refusals,
}


async def main(key, scenario):
    async with asyncssh.connect(
        "127.0.0.1", 2222, username="sandbox", client_keys=[key], known_hosts=None, config=None
    ) as connection:
        print(json.dumps(await SCENARIOS[scenario](connection)))


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 50))
