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


SCENARIOS = {
    "many-channels": many_channels,
}


async def main(key, scenario, *arguments):
    async with asyncssh.connect(
        "127.0.0.1", 2222, username="sandbox", client_keys=[key], known_hosts=None, config=None
    ) as connection:
        print(json.dumps(await SCENARIOS[scenario](connection, *arguments)))


asyncio.run(main(*sys.argv[1:]))
