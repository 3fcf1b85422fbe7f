"""What only a library can make of a connection, each scenario a JSON answer.

    debts.py KEY SCENARIO [ARGUMENT...]
"""

import asyncio
import json
import sys

import asyncssh


async def ask(question):
    """Says a line, and waits for the answer of whoever measures."""
    print(question, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def many_channels(connection, warm, count):
    """Runs `count` commands, sixteen at a time, after some that make the server as large as it will be."""

    async def some(numbers):
        for number in numbers:
            result = await connection.run(f"exit {number % 7}")
            assert result.exit_status == number % 7, result

    for word, total in [("warm", int(warm)), ("done", int(count))]:
        numbers = iter(range(total))
        await asyncio.gather(*(some(numbers) for _ in range(16)))
        await ask(word)
    return "ok"


async def read_until(stream, text):
    seen = ""
    while text not in seen:
        part = await asyncio.wait_for(stream.read(65536), 20)
        if not part:
            raise EOFError(f"{text!r} did not come: {seen[-200:]!r}")
        seen += part
    return seen


async def run(connection, command, **options):
    try:
        result = await asyncio.wait_for(connection.run(command, **options), 20)
        return [result.exit_status, result.stdout]
    except asyncssh.ChannelOpenError as error:
        return ["refused", error.reason]


async def commands(connection):
    """Nearly nothing, and the longest."""
    head = "echo $((1+1)) #"
    answer = {"blank": await run(connection, " ")}
    for length in [131071, 131072, 200000]:
        answer[length] = await run(connection, head + "x" * (length - len(head)))
    answer["after"] = await run(connection, "echo on")
    return answer


async def no_window(connection):
    """A terminal of no size, which then gets one."""
    options = {"term_type": "xterm", "term_size": (0, 0)}
    process = await connection.create_process("stty size; read line; stty size; exit 5", **options)
    first = await read_until(process.stdout, "\n")
    process.change_terminal_size(132, 43)
    await asyncio.sleep(0.5)
    process.stdin.write("go\n")
    result = await process.wait()
    return [first.strip(), result.stdout.split()[-2:], result.exit_status]


async def resize_storm(connection):
    """Thousands of sizes while output flows; none of it is lost, and the last size holds."""
    lines, changes = 200_000, 5000
    command = f"stty -opost; echo ready; seq {lines}; read line; stty size"
    options = {"term_type": "xterm", "term_size": (80, 24)}
    process = await connection.create_process(command, **options)
    # The first lines may come along.
    begun = await read_until(process.stdout, "ready\n")
    reading = asyncio.ensure_future(read_until(process.stdout, f"\n{lines}\n"))
    for change in range(changes):
        process.change_terminal_size(20 + change % 200, 10 + change % 50)
        if change % 50 == 0:
            await asyncio.sleep(0.01)
    seen = begun + await reading
    process.change_terminal_size(111, 77)
    await asyncio.sleep(0.5)
    process.stdin.write("go\n")
    result = await asyncio.wait_for(process.wait(), 20)
    expected = "".join(f"{number}\n" for number in range(1, lines + 1))
    return [seen.replace("ready\n", "") == expected, result.stdout.split("\n")[-2].strip()]


async def group(connection):
    """An interrupt reaches every process of the foreground's pipeline, and not the shell."""
    shell = await connection.create_process("bash --norc -i", term_type="dumb", term_size=(200, 24))
    part = "bash -c 'trap \"echo hit-$0 >&2; exit\" INT; echo up-$0 >&2; while :; do sleep 0.1; done' "
    shell.stdin.write(part + "a | " + part + "b | " + part + "c\n")
    seen = ""
    while not all(f"up-{name}" in seen for name in "abc"):
        seen += await asyncio.wait_for(shell.stdout.read(4096), 20)
    shell.channel.send_signal("INT")
    seen = ""
    while not all(f"hit-{name}" in seen for name in "abc"):
        seen += await asyncio.wait_for(shell.stdout.read(4096), 20)
    shell.stdin.write("echo al''ive; exit 6\n")
    await read_until(shell.stdout, "alive")
    return (await shell.wait()).exit_status


async def hold(connection, count):
    """Many more connections, each with a command that does not end."""
    async def one():
        another = await asyncssh.connect(**CONNECT)
        return another, await another.create_process("echo up; sleep 600")

    held, most = [], asyncio.Semaphore(16)

    async def slowly():
        async with most:
            another, process = await one()
            await read_until(process.stdout, "up")
            held.append((another, process))

    await asyncio.gather(*(slowly() for _ in range(int(count))))
    await ask("held")
    return len(held)


SCENARIOS = {
    "many-channels": many_channels,
    "commands": commands,
    "no-window": no_window,
    "resize-storm": resize_storm,
    "group": group,
    "hold": hold,
}
CONNECT = {
    "host": "127.0.0.1",
    "port": 2222,
    "username": "sandbox",
    "client_keys": [sys.argv[1]],
    "known_hosts": None,
    "config": None,
}


async def main(scenario, *arguments):
    async with asyncssh.connect(**CONNECT) as connection:
        print(json.dumps(await SCENARIOS[scenario](connection, *arguments)))


asyncio.run(main(*sys.argv[2:]))
