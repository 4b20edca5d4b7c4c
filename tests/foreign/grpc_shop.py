"""The messages and methods of `shop.v1.Shop`, built by hand: nothing here is generated.

Run alone, prints the descriptor set of the file in hexadecimal.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "shop.v1.Shop"

_FIELD = descriptor_pb2.FieldDescriptorProto


def _file():
    file = descriptor_pb2.FileDescriptorProto(
        name="shop/v1/shop.proto", package="shop.v1", syntax="proto3"
    )
    for name, field, kind in [
        ("Text", "text", _FIELD.TYPE_STRING),
        ("Number", "number", _FIELD.TYPE_UINT32),
    ]:
        message = file.message_type.add(name=name)
        message.field.add(name=field, number=1, type=kind, label=_FIELD.LABEL_OPTIONAL)
    service = file.service.add(name="Shop")
    for name, message, many_in, many_out in [
        ("Echo", "Text", False, False),
        ("About", "Text", False, False),
        ("Fail", "Text", False, False),
        ("Hang", "Text", False, False),
        ("Count", "Number", False, True),
        ("Sum", "Number", True, False),
        ("Double", "Number", True, True),
    ]:
        service.method.add(
            name=name,
            input_type=f".shop.v1.{message}",
            output_type=f".shop.v1.{message}",
            client_streaming=many_in,
            server_streaming=many_out,
        )
    return file


FILE = _file()
_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(FILE)


def _message(name):
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"shop.v1.{name}"))


Text, Number = _message("Text"), _message("Number")

if __name__ == "__main__":
    files = descriptor_pb2.FileDescriptorSet(file=[FILE])
    print(files.SerializeToString().hex())
