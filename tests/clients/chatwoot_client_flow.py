"""chatwoot-client (PyPI): its account, platform and client resources. It returns the JSON unchanged; it cannot parse deletions, because they have no body."""

import json
import os

import httpx
from chatwoot_client import ChatwootClient

URL, INBOX, ACCOUNT = os.environ["PARLEY_URL"] + "/", os.environ["PARLEY_INBOX"], 1


def refused(status: int, call) -> dict:
    """The body of an error response."""
    try:
        answer = call()
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == status, error.response.text
        return error.response.json()
    raise AssertionError(f"not refused: {answer}")


def without_body(call) -> None:
    """A deletion. It succeeds with an empty body, which the library parses as JSON."""
    try:
        answer = call()
    except json.JSONDecodeError as error:
        assert error.doc == "", error.doc
        return
    assert answer in ({}, None), answer


def agent_side(client: ChatwootClient) -> None:
    inbox = client.inboxes.create(ACCOUNT, {"name": "Orders", "channel": {"type": "api", "webhook_url": ""}})
    assert inbox["channel_type"] == "Channel::Api" and client.inboxes.get(ACCOUNT, inbox["id"])["inbox_identifier"] == inbox["inbox_identifier"], inbox
    assert client.inboxes.update(ACCOUNT, inbox["id"], {"name": "Returns"})["name"] == "Returns"
    made = client.contacts.create(ACCOUNT, {"inbox_id": inbox["id"], "name": "Asha Rao", "email": "asha@rao.example"})["payload"]
    contact, session = made["contact"]["id"], made["contact_inbox"]["source_id"]
    conversation = client.conversations.create(ACCOUNT, {"source_id": session, "inbox_id": inbox["id"]})["id"]
    sent = client.messages.create(ACCOUNT, conversation, {"content": "Where is my order?", "message_type": "incoming"})
    assert (sent["message_type"], sent["content_type"], sent["sender"]["id"]) == (0, "text", contact), sent
    listed = client.messages.list(ACCOUNT, conversation)
    assert [one["id"] for one in listed["payload"]] == [sent["id"]] and listed["meta"]["contact"]["id"] == contact, listed
    assert client.messages.delete(ACCOUNT, conversation, sent["id"])["content_attributes"] == {"deleted": True}
    assert client.messages.list(ACCOUNT, conversation)["payload"][0]["content_attributes"]["deleted"] is True

    assert client.contacts.update(ACCOUNT, contact, {"name": "Asha R. Rao"})["payload"]["name"] == "Asha R. Rao"
    assert client.contacts.get(ACCOUNT, contact)["payload"]["contact_inboxes"][0]["source_id"] == session
    assert client.contacts.list(ACCOUNT, {"sort": "-name", "page": 1})["meta"]["count"] == 1
    assert client.contacts.search(ACCOUNT, {"q": "rao"})["payload"][0]["id"] == contact
    assert [one["id"] for one in client.contacts.get_conversations(ACCOUNT, contact)["payload"]] == [conversation]

    assert client.conversation_labels.create(ACCOUNT, conversation, {"labels": ["billing"]}) == {"payload": ["billing"]}
    assert client.conversation_labels.list(ACCOUNT, conversation) == {"payload": ["billing"]}
    assert client.conversations.list(ACCOUNT, {"status": "open", "labels": ["billing"]})["data"]["payload"][0]["id"] == conversation
    assert client.conversations.get_meta(ACCOUNT, {"status": "open"})["meta"]["all_count"] == 1
    toggled = client.conversations.toggle_status(ACCOUNT, conversation)
    assert toggled["payload"]["success"] and toggled["payload"]["current_status"] == "resolved", toggled
    assert client.conversations.get(ACCOUNT, conversation)["status"] == "resolved"
    refused(404, lambda: client.conversations.get(ACCOUNT, 999))
    taken = refused(422, lambda: client.contacts.create(ACCOUNT, {"name": "Copy", "email": "asha@rao.example"}))
    assert taken["attributes"] == ["email"], taken

    agent = client.agents.create(ACCOUNT, {"name": "Ravi", "email": "ravi@example.org", "role": "agent"})
    assert client.agents.update(ACCOUNT, agent["id"], {"role": "administrator"})["role"] == "administrator"
    assert {one["id"] for one in client.agents.list(ACCOUNT)} >= {agent["id"]}
    assert client.inboxes.add_agent(ACCOUNT, {"inbox_id": inbox["id"], "user_ids": [agent["id"]]})["payload"][0]["id"] == agent["id"]
    assert client.inboxes.list_agents(ACCOUNT, inbox["id"])["payload"][0]["id"] == agent["id"]
    assert client.conversation_assignment.assign(ACCOUNT, conversation, {"assignee_id": agent["id"]})["id"] == agent["id"]
    team = client.teams.create(ACCOUNT, {"name": "sales", "description": "Sells"})
    assert client.teams.add_agent(ACCOUNT, team["id"], {"user_ids": [agent["id"]]})[0]["id"] == agent["id"]
    assert client.teams.list_agents(ACCOUNT, team["id"])[0]["id"] == agent["id"]
    assert client.teams.update_agent(ACCOUNT, team["id"], {"user_ids": []}) == []
    assert client.teams.update(ACCOUNT, team["id"], {"description": "Sold"})["description"] == "Sold"
    without_body(lambda: client.teams.delete(ACCOUNT, team["id"]))
    assert client.teams.list(ACCOUNT) == []

    canned = client.canned_responses.create(ACCOUNT, {"short_code": "hi", "content": "Hello!"})
    assert [one["id"] for one in client.canned_responses.list(ACCOUNT)] == [canned["id"]]
    definition = {"attribute_display_name": "Plan", "attribute_display_type": 0, "attribute_key": "plan", "attribute_model": 1}
    attribute = client.custom_attributes.create(ACCOUNT, definition)
    assert (attribute["attribute_key"], attribute["attribute_model"]) == ("plan", "contact_attribute"), attribute
    assert client.custom_attributes.get(ACCOUNT, attribute["id"])["attribute_display_type"] == "text"
    assert [one["id"] for one in client.custom_attributes.list(ACCOUNT, {"attribute_model": 1})] == [attribute["id"]]
    assert client.custom_attributes.update(ACCOUNT, attribute["id"], {"attribute_display_name": "Tariff"})["attribute_display_name"] == "Tariff"


def client_side(client: ChatwootClient) -> None:
    made = client.client_contacts.create(INBOX, {"name": "Bo", "email": "bo@example.org", "custom_attributes": {"plan": "gold"}})
    session = made["source_id"]
    assert made["pubsub_token"] and made["name"] == "Bo", made
    assert client.client_contacts.get(INBOX, session)["email"] == "bo@example.org"
    assert client.client_contacts.update(INBOX, session, {"name": "Bo Ek"})["name"] == "Bo Ek"
    conversation = client.client_conversations.create(INBOX, session)
    assert [one["id"] for one in client.client_conversations.list(INBOX, session)] == [conversation["id"]]
    sent = client.client_messages.create(INBOX, session, conversation["id"], {"content": "Hello?", "echo_id": "e-1"})
    assert (sent["content"], sent["message_type"]) == ("Hello?", 0), sent
    assert [one["id"] for one in client.client_messages.list(INBOX, session, conversation["id"])] == [sent["id"]]
    refused(404, lambda: client.client_contacts.get(INBOX, "nobody"))


def operator(client: ChatwootClient) -> None:
    account = client.accounts.create({"name": "Second"})
    assert client.accounts.get(account["id"])["name"] == "Second"
    assert client.accounts.update(account["id"], {"name": "Two"})["name"] == "Two"
    user = client.users.create({"name": "Mia", "email": "mia@example.org", "password": "Secret-1-secret", "custom_attributes": {}})
    assert client.users.get(user["id"])["email"] == "mia@example.org"
    assert client.users.update(user["id"], {"name": "Mia M."})["name"] == "Mia M."
    assert client.users.get_sso_link(user["id"])["url"].startswith("http")
    linked = client.account_users.create(account["id"], {"user_id": user["id"], "role": "agent"})
    assert (linked["user_id"], linked["role"]) == (user["id"], "agent"), linked
    assert [one["user_id"] for one in client.account_users.list(account["id"])] == [user["id"]]
    bot = client.agent_bots.create({"name": "Helper", "outgoing_url": "https://example.org/bot"})
    assert client.agent_bots.get(bot["id"])["name"] == "Helper"
    assert client.agent_bots.update(bot["id"], {"name": "Helper 2"})["name"] == "Helper 2"
    assert [one["id"] for one in client.agent_bots.list()] == [bot["id"]]


def main() -> None:
    agent_side(ChatwootClient(URL, os.environ["PARLEY_TOKEN"]))
    client_side(ChatwootClient(URL, ""))
    operator(ChatwootClient(URL, os.environ["PARLEY_PLATFORM_TOKEN"]))
    print("chatwoot-client: all calls answered as it expects")


main()
