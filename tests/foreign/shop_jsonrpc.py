"""Calls the example `protocols` at the given host and port with jsonrpcclient."""

import json
import sys
import urllib.request

from jsonrpcclient import Error, notification, parse, request

URL = f"http://{sys.argv[1]}/rpc"


def post(document):
    body = json.dumps(document).encode()
    call = urllib.request.Request(URL, body, {"content-type": "application/json"})
    with urllib.request.urlopen(call, timeout=30) as response:
        text = response.read().decode()
        return json.loads(text) if text else None


assert parse(post(request("Shop.Echo", {"text": "x"}))).result == {"text": "x"}
failed = parse(post(request("shop.Shop.Fail", {"text": "on purpose"})))
assert isinstance(failed, Error) and failed.data["code"] == 400, failed
assert parse(post(request("Shop.Gone"))).code == -32601
batch = [request("Shop.Echo", {"text": str(n)}) for n in range(3)]
answers = parse(post(batch + [notification("Shop.Echo", {"text": "x"})]))
assert [one.result["text"] for one in answers] == ["0", "1", "2"]
print("done")
