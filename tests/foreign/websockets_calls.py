"""Calls the service `numbers` at the given host and port by WebSocket, in every way there is."""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

BASE = "ws://" + sys.argv[1]


def call(endpoint, **options):
    return connect(f"{BASE}/numbers/Numbers.{endpoint}", open_timeout=30, **options)


async def rest(socket):
    """Reads what is left, and how it ends."""
    messages = []
    try:
        while True:
            messages.append(await socket.recv())
    except ConnectionClosed as closed:
        return messages, closed.rcvd.code, closed.rcvd.reason


async def main():
    async with call("Double") as socket:
        await socket.send("21")
        assert await rest(socket) == (["42"], 1000, "")

    async with call("Count") as socket:
        await socket.send("3")
        assert await rest(socket) == (["1", "2", "3"], 1000, "")

    # The end of the requests is an empty text.
    async with call("Sum") as socket:
        for number in range(1, 11):
            await socket.send(str(number))
        await socket.send("")
        assert await rest(socket) == (["55"], 1000, "")

    async with call("Square") as socket:
        for number in range(100):
            await socket.send(str(number))
            assert await socket.recv() == str(number * number)
        await (await socket.ping())
        await socket.send("")
        assert await rest(socket) == ([], 1000, "")

    async with call("Square", subprotocols=["micro.msgpack", "micro.json"]) as socket:
        assert socket.subprotocol == "micro.msgpack"
        await socket.send(b"\x07")
        assert await socket.recv() == b"\x31"
        await socket.send("")
        assert await rest(socket) == ([], 1000, "")

    async with call("Fail") as socket:
        await socket.send("null")
        messages, code, reason = await rest(socket)
        assert (code, reason) == (4409, "on purpose")
        error = json.loads(messages[-1])["error"]
        assert (error["code"], error["detail"]) == (409, "on purpose"), error

    async with call("Double") as socket:
        await socket.send('"no number"')
        messages, code, _ = await rest(socket)
        assert code == 4400 and json.loads(messages[-1])["error"]["code"] == 400

    long = json.dumps("x" * (1024 * 1024))
    async with call("Say", max_size=None) as socket:
        await socket.send(long)
        assert await rest(socket) == ([long], 1000, "")
    async with call("Say", max_size=None) as socket:
        await socket.send(json.dumps("x" * (5 * 1024 * 1024)))
        assert (await rest(socket))[1] == 1009

    # In fragments, as `websockets` makes of an iterable.
    async with call("Say") as socket:
        await socket.send(iter(['"a', "b", 'c"']))
        assert await rest(socket) == (['"abc"'], 1000, "")

    async with connect(BASE + "/rpc") as socket:
        batch = [
            {"jsonrpc": "2.0", "method": "Numbers.Double", "params": [4], "id": 1},
            {"jsonrpc": "2.0", "method": "Numbers.Double", "params": [5]},
            {"jsonrpc": "2.0", "method": "Numbers.Fail", "id": 2},
        ]
        await socket.send(json.dumps(batch))
        first, second = json.loads(await socket.recv())
        assert first == {"jsonrpc": "2.0", "result": 8, "id": 1}
        assert second["error"]["data"]["code"] == 409, second

    # Whoever leaves takes the handler along.
    async with call("Hang") as socket:
        await socket.send("null")
    async with call("Left") as socket:
        await socket.send("null")
        assert await rest(socket) == (["1"], 1000, "")

    print("done")


asyncio.run(main())
