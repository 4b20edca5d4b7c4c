"""Calls `shop.v1.Shop` at the given address: one case by its name, which fails by an exception."""

import sys
import time

import grpc
from google.protobuf import descriptor_pool, message_factory, struct_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status

from grpc_shop import SERVICE, Number, Text

PATIENCE = 30


def path(method):
    return f"/{SERVICE}/{method}"


def unary(channel, method, message=Text):
    return channel.unary_unary(
        path(method), message.SerializeToString, message.FromString
    )


def failure(call, *arguments, **options):
    """Returns the error of a call that has to fail."""
    try:
        call(*arguments, **options)
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call went well")


def four_kinds(channel):
    assert unary(channel, "Echo")(Text(text="x"), timeout=PATIENCE).text == "x"
    count = channel.unary_stream(path("Count"), Number.SerializeToString, Number.FromString)
    counted = [n.number for n in count(Number(number=1000), timeout=PATIENCE)]
    assert counted == list(range(1000)), counted
    add = channel.stream_unary(path("Sum"), Number.SerializeToString, Number.FromString)
    numbers = (Number(number=n) for n in range(101))
    assert add(numbers, timeout=PATIENCE).number == 5050
    double = channel.stream_stream(path("Double"), Number.SerializeToString, Number.FromString)
    numbers = (Number(number=n) for n in range(100))
    doubled = [n.number for n in double(numbers, timeout=PATIENCE)]
    assert doubled == [2 * n for n in range(100)], doubled


def deadline(channel):
    began = time.monotonic()
    error = failure(unary(channel, "Hang"), Text(text="x"), timeout=0.3)
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert time.monotonic() - began < 10


def details(channel):
    error = failure(unary(channel, "Fail"), Text(text="100% gr\u00fcn"), timeout=PATIENCE)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    assert error.details() == "100% gr\u00fcn", error.details()
    # Fails where code or message differ from those of the status.
    status = rpc_status.from_call(error)
    first, second = status.details
    assert first.type_url == "type.googleapis.com/errors.Error", first
    why = struct_pb2.Value()
    assert second.Unpack(why), second
    assert dict(why.struct_value) == {"field": "text", "most": 7.0}, why
    missing = failure(unary(channel, "Gone"), Text(), timeout=PATIENCE)
    assert missing.code() == grpc.StatusCode.UNIMPLEMENTED, missing


def metadata(channel):
    sent = (("tenant", "acme"), ("key-bin", b"\x00\x01\x02"))
    about = unary(channel, "About")(Text(), metadata=sent, timeout=4)
    assert about.text.startswith("acme AAEC true"), about.text


def compression(channel):
    long = Text(text="x" * 100_000)
    echo = unary(channel, "Echo")
    echoed = echo(long, compression=grpc.Compression.Gzip, timeout=PATIENCE)
    assert echoed == long
    error = failure(echo, long, compression=grpc.Compression.Deflate, timeout=PATIENCE)
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def limits(channel):
    echo = unary(channel, "Echo")
    error = failure(echo, Text(text="x" * (4 << 20)), timeout=PATIENCE)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
    assert echo(Text(text="x"), timeout=PATIENCE).text == "x"


def cancellation(channel):
    call = unary(channel, "Hang").future(Text(text="x"))
    time.sleep(0.3)
    assert call.cancel()
    print("cancelled", flush=True)
    # The test waits for the handler to be dropped, over this very connection.
    unary(channel, "Echo")(Text(text="x"), timeout=PATIENCE)
    sys.stdin.read()


def health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    for service in ["", "shop", "shop.Shop", SERVICE]:
        asked = health_pb2.HealthCheckRequest(service=service)
        assert stub.Check(asked, timeout=PATIENCE).status == serving, service
    unknown = health_pb2.HealthCheckRequest(service="gone")
    error = failure(stub.Check, unknown, timeout=PATIENCE)
    assert error.code() == grpc.StatusCode.NOT_FOUND, error
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    assert next(watch).status == serving
    watch.cancel()


def reflection(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    expected = {
        SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert services == expected, services
    pool = descriptor_pool.DescriptorPool(database)
    method = pool.FindServiceByName(SERVICE).FindMethodByName("Echo")
    message = message_factory.GetMessageClass(method.input_type)
    call = unary(channel, "Echo", message)
    assert call(message(text="reflected"), timeout=PATIENCE).text == "reflected"
    newer = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        reflection_pb2.ServerReflectionRequest(file_by_filename="gone.proto"),
    ]
    found, missing = newer(iter(asked), timeout=PATIENCE)
    assert len(found.file_descriptor_response.file_descriptor_proto) == 1, found
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0], missing


def main():
    address, case = sys.argv[1:]
    with grpc.insecure_channel(address) as channel:
        globals()[case](channel)


if __name__ == "__main__":
    main()
