"""Serves `shop.v1.Shop` on a free port of loopback, prints the port, and ends with its input."""

import sys
import threading
from concurrent import futures

import grpc

from grpc_shop import SERVICE, Number, Text


def echo(ask, _context):
    return ask


def about(_ask, context):
    sent = dict(context.invocation_metadata())
    left = context.time_remaining()
    parts = [sent.get("tenant", ""), repr(sent.get("key-bin", b"")), str(left is not None and left < 5)]
    return Text(text=" ".join(parts))


def fail(ask, context):
    code = next(code for code in grpc.StatusCode if code.value[0] == int(ask.text))
    context.abort(code, "100% gr\u00fcn")


def hang(ask, context):
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(60)
    print("ended", flush=True)
    return ask


def count(ask, _context):
    for number in range(ask.number):
        yield Number(number=number)


def add(asked, _context):
    return Number(number=sum(n.number for n in asked))


def double(asked, _context):
    for n in asked:
        yield Number(number=2 * n.number)


def handler(make, behaviour, message):
    return make(behaviour, message.FromString, message.SerializeToString)


METHODS = {
    "Echo": handler(grpc.unary_unary_rpc_method_handler, echo, Text),
    "About": handler(grpc.unary_unary_rpc_method_handler, about, Text),
    "Fail": handler(grpc.unary_unary_rpc_method_handler, fail, Text),
    "Hang": handler(grpc.unary_unary_rpc_method_handler, hang, Text),
    "Count": handler(grpc.unary_stream_rpc_method_handler, count, Number),
    "Sum": handler(grpc.stream_unary_rpc_method_handler, add, Number),
    "Double": handler(grpc.stream_stream_rpc_method_handler, double, Number),
}


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    handlers = grpc.method_handlers_generic_handler(SERVICE, METHODS)
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(0)


if __name__ == "__main__":
    main()
