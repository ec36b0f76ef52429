"""A client with stubs generated as in `docs/grpc.md`: calls with and without compression, errors with their details, and a stream.

    PARLEY_TEST_TOKEN=... python_client.py 127.0.0.1:50051

Exits with 0 and one line if everything passed, else with a traceback.
"""

import os
import pathlib
import sys
import tempfile

import grpc
from google.protobuf import any_pb2  # noqa: F401  the details are of this type
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from grpc_tools import protoc

# No call takes this long; this detects hangs.
PATIENCE = 60
ROOT = pathlib.Path(__file__).resolve().parents[2]


def generate(folder):
    """Generates stubs for every file of the contract, without modifications."""
    protos = sorted(str(path) for path in (ROOT / "proto/parley/v1").glob("*.proto"))
    well_known = pathlib.Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"-I{well_known}", f"--python_out={folder}", f"--grpc_python_out={folder}", *protos]
    assert protoc.main(arguments) == 0, "protoc refused the contract"
    sys.path.insert(0, folder)


def refused(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call was not refused")


def details(error):
    """The error details by type, and the reason from the text trailer."""
    found = {}
    for detail in rpc_status.from_call(error).details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo, error_details_pb2.ResourceInfo):
            if detail.Is(kind.DESCRIPTOR):
                message = kind()
                detail.Unpack(message)
                found[kind.DESCRIPTOR.name] = message
    trailers = {key: value for key, value in error.trailing_metadata()}
    assert trailers["parley-reason"] == found["ErrorInfo"].reason, trailers
    return found


def raw(channel, path, message, metadata, encoding):
    """A call with a hand-made frame: a message that is marked as compressed, with arbitrary content."""
    # grpc-core frames messages itself; this passes it one message, compressed with its own algorithm.
    call = channel.unary_unary(path, request_serializer=lambda data: data, response_deserializer=lambda data: data)
    return call(message, metadata=metadata, timeout=PATIENCE, compression=encoding)


def main():
    address, token = sys.argv[1], os.environ["PARLEY_TEST_TOKEN"]
    metadata = (("api_access_token", token),)
    with tempfile.TemporaryDirectory() as folder:
        generate(folder)
        from parley.v1 import contact_service_pb2, contact_service_pb2_grpc, event_service_pb2, event_service_pb2_grpc

        with grpc.insecure_channel(address) as channel:
            contacts = contact_service_pb2_grpc.ContactsServiceStub(channel)
            for number, compression in enumerate((grpc.Compression.NoCompression, grpc.Compression.Gzip)):
                request = contact_service_pb2.CreateContactRequest(account_id=1, inbox_id=1, name=f"Asha {number} " + "a" * 200)
                made = contacts.CreateContact(request, metadata=metadata, timeout=PATIENCE, compression=compression)
                assert made.contact.name == request.name, made
            error = refused(lambda: contacts.CreateContact(request, metadata=metadata, timeout=PATIENCE, compression=grpc.Compression.Deflate))
            assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

            # Highly compressible, and larger than the message limit: refused.
            bomb = b"\x22" + varint(64 << 20) + bytes(64 << 20)
            path = "/parley.v1.ContactsService/CreateContact"
            error = refused(lambda: raw(channel, path, bomb, metadata, grpc.Compression.Gzip))
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error

            bad = contact_service_pb2.CreateContactRequest(account_id=1, inbox_id=1, email="nobody")
            error = refused(lambda: contacts.CreateContact(bad, metadata=metadata, timeout=PATIENCE))
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
            found = details(error)
            assert found["ErrorInfo"].reason == "INVALID_FIELD" and found["BadRequest"].field_violations[0].field == "email", found
            missing = contact_service_pb2.GetContactRequest(account_id=1, contact_id=10**9)
            error = refused(lambda: contacts.GetContact(missing, metadata=metadata, timeout=PATIENCE))
            assert error.code() == grpc.StatusCode.NOT_FOUND and details(error)["ResourceInfo"].resource_type == "contact", error
            error = refused(lambda: contacts.GetContact(missing, timeout=PATIENCE))
            assert error.code() == grpc.StatusCode.UNAUTHENTICATED and details(error)["ErrorInfo"].reason == "TOKEN_MISSING", error

            events = event_service_pb2_grpc.EventsServiceStub(channel)
            stream = events.Subscribe(event_service_pb2.SubscribeRequest(account_id=1, earliest={}), metadata=metadata, timeout=PATIENCE)
            names = [delivery.event.kind_name for delivery in next(stream).events]
            assert "contact.created" in names, names
            stream.cancel()
    print("stubs for Python: calls, compression, errors and a stream")


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


if __name__ == "__main__":
    main()
