"""Calls the example `protocols` at the given host and port by WebSocket, in all four kinds."""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


def call(endpoint):
    return connect(f"ws://{sys.argv[1]}/shop/Shop.{endpoint}", open_timeout=30)


def number(value):
    return json.dumps({"number": value})


async def rest(socket):
    """Reads what is left, and how it ends."""
    messages = []
    try:
        while True:
            messages.append(json.loads(await socket.recv()))
    except ConnectionClosed as closed:
        return messages, closed.rcvd.code, closed.rcvd.reason


async def main():
    async with call("Echo") as socket:
        await socket.send('{"text":"x"}')
        assert await rest(socket) == ([{"text": "x"}], 1000, "")
    async with call("Count") as socket:
        await socket.send(number(3))
        assert await rest(socket) == ([{"number": n} for n in range(3)], 1000, "")
    async with call("Sum") as socket:
        for value in range(1, 11):
            await socket.send(number(value))
        await socket.send("")
        assert await rest(socket) == ([{"number": 55}], 1000, "")
    async with call("Double") as socket:
        for value in range(10):
            await socket.send(number(value))
            assert json.loads(await socket.recv()) == {"number": 2 * value}
        await socket.send("")
        assert await rest(socket) == ([], 1000, "")
    async with call("Fail") as socket:
        await socket.send('{"text":"on purpose"}')
        messages, code, reason = await rest(socket)
        assert (code, reason) == (4400, "on purpose"), (code, reason)
        assert messages[-1]["error"]["code"] == 400, messages
    print("done")


asyncio.run(main())
