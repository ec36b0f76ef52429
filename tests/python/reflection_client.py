"""A client that knows only Parley's address: it discovers the services by reflection and has no generated code.

Performs the steps of the help article over gRPC and follows them on the stream.

    PARLEY_TEST_TOKEN=... reflection_client.py 127.0.0.1:50051

Exits with 0 and one line if everything passed, else with a traceback.
"""

import os
import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

# No call takes this long; this detects hangs.
PATIENCE = 60


class Services:
    """Calls methods by name, with messages built from the server's descriptors."""

    def __init__(self, channel, token):
        self.channel = channel
        self.metadata = (("api_access_token", token),)
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)

    def names(self):
        return set(self.database.get_services())

    def call(self, service, method, /, **fields):
        found = self.pool.FindServiceByName(f"parley.v1.{service}").FindMethodByName(method)
        request = message_factory.GetMessageClass(found.input_type)(**fields)
        answer = message_factory.GetMessageClass(found.output_type)
        path = f"/parley.v1.{service}/{method}"
        kind = self.channel.unary_stream if found.server_streaming else self.channel.unary_unary
        invoke = kind(path, request_serializer=lambda message: message.SerializeToString(), response_deserializer=answer.FromString)
        return invoke(request, metadata=self.metadata, timeout=PATIENCE)


def three_steps(services):
    """Creates a contact with a session, a conversation, and a message in each direction."""
    made = services.call("ContactsService", "CreateContact", account_id=1, inbox_id=1, name="Asha Rao", email="asha@rao.example")
    assert made.contact_inbox.source_id, made
    conversation = services.call(
        "ConversationsService", "CreateConversation", account_id=1, inbox_id=1, source_id=made.contact_inbox.source_id
    ).conversation
    sent = []
    for kind, content in (("MESSAGE_TYPE_INCOMING", "Where is my order?"), ("MESSAGE_TYPE_OUTGOING", "It left today.")):
        answer = services.call(
            "MessagesService",
            "CreateMessage",
            account_id=1,
            conversation_id=conversation.id,
            message={"type": kind, "content": content},
        )
        sent.append((answer.message.id, answer.message.content))
    return made.contact.id, conversation.id, sent


def follow(services, after, until):
    """The events after one cursor up to another position in the log."""
    stream = services.call("EventsService", "Subscribe", account_id=1, after=after)
    events, last = [], None
    for response in stream:
        for delivery in response.events:
            assert last is None or delivery.prev_seq == last, f"a hole: {delivery.prev_seq} after {last}"
            last = delivery.event.seq
            events.append(delivery.event)
        if last is not None and last >= until:
            stream.cancel()
            return events
    raise AssertionError("the stream ended by itself")


def refusal(services):
    """A refused call names the field in the standard error details."""
    try:
        services.call("ContactsService", "CreateContact", account_id=1, email="no address", phone_number="1")
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        assert b"email" in details and b"phone_number" in details, details
    else:
        raise AssertionError("a contact with two bad fields was made")


def main(address):
    with grpc.insecure_channel(address) as channel:
        services = Services(channel, os.environ["PARLEY_TEST_TOKEN"])
        names = services.names()
        nouns = ("Accounts", "Contacts", "Conversations", "Events", "Inboxes", "Messages")
        wanted = {f"parley.v1.{noun}Service" for noun in nouns} | {"grpc.health.v1.Health"}
        assert wanted <= names, f"reflection lists {names}"

        before = services.call("EventsService", "GetLogInfo", account_id=1)
        contact, conversation, sent = three_steps(services)
        head = services.call("EventsService", "GetLogInfo", account_id=1).head_seq
        events = follow(services, before.head_cursor, head)
        told = {}
        for event in events:
            told.setdefault(event.kind_name, []).append(event)
        assert [event.contact.contact.id for event in told["contact.created"]] == [contact], events
        assert [event.conversation.conversation.id for event in told["conversation.created"]] == [conversation], events
        messages = [(event.message.message.id, event.message.message.content) for event in told["message.created"]]
        assert messages == sent, (messages, sent)
        refusal(services)
        print(f"{len(names)} services by reflection, {len(events)} events, {len(messages)} messages")


if __name__ == "__main__":
    main(sys.argv[1])
