"""Calls the service `numbers` at the given address with jsonrpcclient."""

import json
import sys
import urllib.request

from jsonrpcclient import Error, Ok, notification, parse, request

URL = sys.argv[1] + "/rpc"


def post(document):
    body = json.dumps(document).encode()
    call = urllib.request.Request(URL, body, {"content-type": "application/json"})
    with urllib.request.urlopen(call, timeout=30) as response:
        text = response.read().decode()
        return response.status, json.loads(text) if text else None


def ask(method, params=None):
    status, answer = post(request(method, params))
    assert status == 200
    return parse(answer)


assert ask("numbers.Numbers.Double", [21]).result == 42
assert ask("Numbers.Double", (4,)).result == 8
assert ask("Numbers.Distance", {"from": 2, "to": 5}).result == 3
assert ask("Numbers.Distance", [2, 5]).result == 3

for method, params, code in [
    ("Numbers.Gone", None, -32601),
    ("Numbers.Double", ["x"], -32602),
    ("Numbers.Fail", None, -32000),
    ("Numbers.Count", [3], -32000),
]:
    refused = ask(method, params)
    assert isinstance(refused, Error) and refused.code == code, refused
    assert refused.data["code"] >= 400

assert post(notification("Numbers.Double", [1])) == (204, None)

status, answers = post([request("Numbers.Double", [n]) for n in range(20)] + [notification("Numbers.Double", [1])])
results = list(parse(answers))
assert status == 200 and all(isinstance(one, Ok) for one in results)
assert [one.result for one in results] == [2 * n for n in range(20)]

print("done")
