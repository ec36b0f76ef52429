"""chatwoot-sdk (PyPI), its synchronous and its asynchronous client: every resource."""

import asyncio
import os

from chatwoot import AsyncChatwootClient, ChatwootAPIError, ChatwootAuthError, ChatwootClient, ChatwootNotFoundError

URL, TOKEN, ACCOUNT = os.environ["PARLEY_URL"], os.environ["PARLEY_TOKEN"], 1


def article(client: ChatwootClient, inbox: int) -> tuple[int, int]:
    """The three steps of the help article: a contact with a session, a conversation, messages both ways."""
    made = client.contacts.create(ACCOUNT, inbox, name="Asha Rao", email="asha@rao.example", phone_number="+351912345678")
    assert (made.contact.name, made.contact.email, made.contact.phone_number) == ("Asha Rao", "asha@rao.example", "+351912345678"), made
    assert made.contact.created_at is not None and made.contact_inbox.source_id, made
    conversation = client.conversations.create(ACCOUNT, made.contact_inbox.source_id, inbox, contact_id=made.contact.id)
    assert (conversation.account_id, conversation.inbox_id, conversation.status.value) == (ACCOUNT, inbox, "open"), conversation
    assert conversation.meta.sender.id == made.contact.id, conversation
    incoming = client.messages.create(ACCOUNT, conversation.id, "Where is my order?", message_type="incoming")
    assert (incoming.message_type, incoming.content_type.value, incoming.status) == (0, "text", "sent"), incoming
    assert (incoming.sender.id, incoming.sender.type) == (made.contact.id, "contact"), incoming
    outgoing = client.messages.create(ACCOUNT, conversation.id, "It left today.")
    assert (outgoing.message_type, outgoing.sender.type, outgoing.conversation_id) == (1, "user", conversation.id), outgoing
    note = client.messages.create(ACCOUNT, conversation.id, "Called the courier.", private=True)
    assert note.private and not outgoing.private, note
    listed = [(message.id, message.content) for message in client.messages.list(ACCOUNT, conversation.id) if message.message_type != 2]
    assert listed == [(message.id, message.content) for message in (incoming, outgoing, note)], listed
    return made.contact.id, conversation.id


def conversations(client: ChatwootClient, inbox: int, contact: int, conversation: int) -> None:
    me = client.profile.get()
    assert (me.account_id, me.role.value, me.accounts[0].id) == (ACCOUNT, "administrator", ACCOUNT), me
    assert client.conversations.labels.add(ACCOUNT, conversation, ["billing", "urgent"]) == ["billing", "urgent"]
    assert client.conversations.labels.list(ACCOUNT, conversation) == ["billing", "urgent"]
    found = client.conversations.list(ACCOUNT, inbox_id=inbox, labels=["billing"])
    assert [one.id for one in found] == [conversation] and found[0].labels == ["billing", "urgent"], found
    assert client.conversations.list(ACCOUNT, labels=["nothing-has-it"]) == []
    assert client.conversations.get_counts(ACCOUNT)["meta"]["all_count"] == 1
    changed = client.conversations.update(ACCOUNT, conversation, priority="high")
    assert changed.priority.value == "high", changed
    toggled = client.conversations.toggle_status(ACCOUNT, conversation, "resolved")
    assert toggled.success and toggled.current_status.value == "resolved", toggled
    assert client.conversations.list(ACCOUNT) == []
    assert client.conversations.get(ACCOUNT, conversation).status.value == "resolved"
    assert [one.id for one in client.contacts.conversations(ACCOUNT, contact)] == [conversation]


def contacts(client: ChatwootClient, inbox: int, contact: int) -> None:
    changed = client.contacts.update(ACCOUNT, contact, name="Asha R. Rao", custom_attributes={"plan": "gold"})
    assert (changed.name, changed.custom_attributes) == ("Asha R. Rao", {"plan": "gold"}), changed
    assert client.contacts.get(ACCOUNT, contact).name == "Asha R. Rao"
    assert [one.id for one in client.contacts.list(ACCOUNT)] == [contact]
    assert [one.id for one in client.contacts.search(ACCOUNT, "asha@rao")] == [contact]
    assert client.contacts.search(ACCOUNT, "nobody@") == []
    assert client.contacts.labels.add(ACCOUNT, contact, ["vip"]) == client.contacts.labels.list(ACCOUNT, contact) == ["vip"]
    reachable = client.contacts.contactable_inboxes(ACCOUNT, contact)
    assert inbox in [one["inbox"]["id"] for one in reachable], reachable
    other = client.contacts.create(ACCOUNT, inbox, name="Asha", identifier="crm-7").contact
    merged = client.contacts.merge(ACCOUNT, contact, other.id)
    assert (merged.id, merged.identifier, merged.email) == (contact, "crm-7", "asha@rao.example"), merged
    extra = client.contacts.create(ACCOUNT, inbox, name="Wrong number").contact.id
    assert client.contacts.delete(ACCOUNT, extra) is None
    refused(ChatwootNotFoundError, lambda: client.contacts.get(ACCOUNT, extra))


def settings(client: ChatwootClient) -> int:
    inbox = client.inboxes.create(ACCOUNT, "Orders", "api", webhook_url="https://example.org/hook")
    assert (inbox.name, inbox.channel_type, inbox.webhook_url) == ("Orders", "Channel::Api", "https://example.org/hook"), inbox
    changed = client.inboxes.update(ACCOUNT, inbox.id, name="Orders and returns", enable_auto_assignment=False)
    assert (changed.name, changed.enable_auto_assignment) == ("Orders and returns", False), changed
    assert client.inboxes.get(ACCOUNT, inbox.id) == changed
    assert inbox.id in [one.id for one in client.inboxes.list(ACCOUNT)]
    agent = client.agents.add(ACCOUNT, "Ravi", "ravi@example.org", "agent")
    assert (agent.name, agent.role.value, agent.account_id) == ("Ravi", "agent", ACCOUNT), agent
    assert client.agents.update(ACCOUNT, agent.id, role="administrator").role.value == "administrator"
    assert agent.id in [one.id for one in client.agents.list(ACCOUNT)]
    team = client.teams.create(ACCOUNT, "sales", description="Sells", allow_auto_assign=False)
    assert (team.name, team.description, team.allow_auto_assign, team.account_id) == ("sales", "Sells", False, ACCOUNT), team
    assert client.teams.update(ACCOUNT, team.id, description="Sells a lot").description == "Sells a lot"
    client.teams.agents.add(ACCOUNT, team.id, [agent.id])
    assert [one.id for one in client.teams.agents.list(ACCOUNT, team.id)] == [agent.id]
    client.teams.agents.remove(ACCOUNT, team.id, [agent.id])
    assert client.teams.agents.list(ACCOUNT, team.id) == []
    client.teams.delete(ACCOUNT, team.id)
    assert client.teams.list(ACCOUNT) == []
    client.agents.remove(ACCOUNT, agent.id)
    assert agent.id not in [one.id for one in client.agents.list(ACCOUNT)]
    return inbox.id


def refused(kind: type[ChatwootAPIError], call) -> ChatwootAPIError:
    """The error that the library raises for an error response."""
    try:
        answer = call()
    except kind as error:
        return error
    raise AssertionError(f"not refused: {answer}")


def errors(client: ChatwootClient, inbox: int) -> None:
    taken = refused(ChatwootAPIError, lambda: client.contacts.create(ACCOUNT, inbox, email="asha@rao.example"))
    assert taken.status_code == 422 and "Email has already been taken" in str(taken), taken
    refused(ChatwootNotFoundError, lambda: client.conversations.get(ACCOUNT, 999))
    with ChatwootClient(URL, "not-a-token") as stranger:
        refused(ChatwootAuthError, lambda: stranger.profile.get())


async def asynchronous(inbox: int) -> None:
    async with AsyncChatwootClient(URL, TOKEN) as client:
        made = await asyncio.gather(*(client.contacts.create(ACCOUNT, inbox, name=f"Caller {number}") for number in range(10)))
        assert len({one.contact_inbox.source_id for one in made}) == 10
        opened = await asyncio.gather(
            *(client.conversations.create(ACCOUNT, one.contact_inbox.source_id, inbox, message={"content": one.contact.name}) for one in made)
        )
        assert {one.id for one in await client.conversations.list(ACCOUNT, inbox_id=inbox)} == {one.id for one in opened}
        texts = [(await client.messages.list(ACCOUNT, one.id))[0].content for one in opened]
        assert texts == [one.contact.name for one in made], texts


def main() -> None:
    with ChatwootClient(URL, TOKEN) as client:
        inbox = settings(client)
        contact, conversation = article(client, inbox)
        conversations(client, inbox, contact, conversation)
        contacts(client, inbox, contact)
        errors(client, inbox)
    asyncio.run(asynchronous(inbox))
    print("chatwoot-sdk: all calls answered as it expects")


main()
