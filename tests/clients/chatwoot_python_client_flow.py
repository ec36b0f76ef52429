"""chatwoot-python-client (PyPI): generated from Chatwoot's description, so it validates the types and enumerations of responses.

Where that description differs from Chatwoot's actual responses (a list without the wrapping `payload`), the library's models stay empty; the
flow then reads the raw body.
"""

import json
import os

from chatwoot_client import *
from chatwoot_client.rest import ApiException

ACCOUNT, INBOX = 1, os.environ["PARLEY_INBOX"]


def connected(token: str | None) -> ApiClient:
    settings = Configuration()
    settings.host = os.environ["PARLEY_URL"]
    client = ApiClient(settings)
    if token:
        client.set_default_header("api_access_token", token)
    return client


def body(response) -> dict:
    """The raw body of a call with `_preload_content=False`."""
    return json.loads(response.data)


def refused(status: int, call) -> None:
    try:
        answer = call()
    except ApiException as error:
        assert error.status == status, error
        return
    raise AssertionError(f"not refused: {answer}")


def article(client: ApiClient, inbox: int) -> tuple[int, int]:
    """The three steps of the help article: a contact with a session, a conversation, messages both ways."""
    contacts, conversations, messages = ContactsApi(client), ConversationsApi(client), MessagesApi(client)
    made = contacts.contact_create(ContactCreate(inbox_id=inbox, name="Asha Rao", email="asha@rao.example"), ACCOUNT).payload.contact
    assert (made.name, made.email, made.phone_number, made.contact_inboxes[0].inbox.id) == ("Asha Rao", "asha@rao.example", None, inbox), made
    opened = conversations.new_conversation({"source_id": made.contact_inboxes[0].source_id, "inbox_id": inbox}, ACCOUNT)
    assert (opened.account_id, opened.inbox_id) == (ACCOUNT, inbox), opened
    incoming = messages.create_a_new_message_in_a_conversation(
        ConversationMessageCreate(content="Where is my order?", message_type="incoming"), ACCOUNT, opened.id
    )
    assert (incoming.message_type, incoming.content_type, incoming.sender.id, incoming.sender.type) == (0, "text", made.id, "contact"), incoming
    outgoing = messages.create_a_new_message_in_a_conversation(ConversationMessageCreate(content="It left today."), ACCOUNT, opened.id)
    assert (outgoing.message_type, outgoing.sender.type, outgoing.conversation_id) == (1, "user", opened.id), outgoing
    listed = messages.list_all_messages(ACCOUNT, opened.id)
    assert [one.id for one in listed.payload] == [incoming.id, outgoing.id] and listed.meta["contact"]["id"] == made.id, listed
    messages.delete_a_message(ACCOUNT, opened.id, outgoing.id)
    assert messages.list_all_messages(ACCOUNT, opened.id).payload[1].content_attributes == {"deleted": True}
    return made.id, opened.id


def contacts(client: ApiClient, inbox: int, contact: int, conversation: int) -> None:
    calls = ContactsApi(client)
    calls.contact_update(ContactUpdate(name="Asha R. Rao"), ACCOUNT, contact)
    assert body(calls.contact_details(ACCOUNT, contact, _preload_content=False))["payload"]["name"] == "Asha R. Rao"
    assert [one["id"] for one in calls.contact_list(ACCOUNT, sort="-email")["payload"]] == [contact]
    assert [one["id"] for one in calls.contact_search(ACCOUNT, q="rao").payload] == [contact]
    named = {"payload": [{"attribute_key": "name", "filter_operator": "equal_to", "values": ["asha r. rao"], "query_operator": None}]}
    assert [one["id"] for one in calls.contact_filter(named, ACCOUNT)["payload"]] == [contact]
    assert [one["id"] for one in calls.contact_conversations(ACCOUNT, contact)["payload"]] == [conversation]
    session = ContactApi(client).contact_inbox_creation({"inbox_id": inbox, "source_id": "crm-9"}, ACCOUNT, contact)
    assert (session.source_id, session.inbox.id) == ("crm-9", inbox), session
    extra = calls.contact_create(ContactCreate(inbox_id=inbox, name="Wrong number"), ACCOUNT).payload.contact.id
    assert calls.contact_delete(ACCOUNT, extra) is None
    refused(404, lambda: calls.contact_details(ACCOUNT, extra))
    refused(422, lambda: calls.contact_create(ContactCreate(inbox_id=inbox, email="asha@rao.example"), ACCOUNT))


def conversations(client: ApiClient, conversation: int) -> None:
    calls, labels = ConversationsApi(client), ConversationLabelsApi(client)
    assert labels.conversation_add_labels({"labels": ["billing"]}, ACCOUNT, conversation).payload == ["billing"]
    assert labels.list_all_labels_of_a_conversation(ACCOUNT, conversation).payload == ["billing"]
    shown = calls.get_details_of_a_conversation(ACCOUNT, conversation)
    assert (shown.status, shown.meta.sender.name, shown.meta.assignee) == ("open", "Asha R. Rao", None), shown
    listed = calls.conversation_list(ACCOUNT, labels=["billing"])
    assert [one.id for one in listed.data.payload] == [conversation] and listed.data.meta.all_count == 1, listed
    assert calls.conversation_list_meta(ACCOUNT).meta.unassigned_count == 1
    open_ones = {"payload": [{"attribute_key": "status", "filter_operator": "equal_to", "values": ["open"], "query_operator": None}]}
    assert [one.id for one in calls.conversation_filter(open_ones, ACCOUNT).payload] == [conversation]
    calls.toggle_priority_of_a_conversation({"priority": "high"}, ACCOUNT, conversation)
    assert body(calls.get_details_of_a_conversation(ACCOUNT, conversation, _preload_content=False))["priority"] == "high"
    toggled = calls.toggle_status_of_a_conversation({"status": "resolved"}, ACCOUNT, conversation).payload
    assert (toggled.success, toggled.current_status, toggled.conversation_id) == (True, "resolved", conversation), toggled
    refused(404, lambda: calls.get_details_of_a_conversation(ACCOUNT, 999))


def settings(client: ApiClient, inbox: int, conversation: int) -> None:
    assert ProfileApi(client).fetch_profile().accounts[0].role == "administrator"
    agents, inboxes, teams = AgentsApi(client), InboxesApi(client), TeamsApi(client)
    agent = agents.add_new_agent_to_account({"name": "Ravi", "email": "ravi@example.org", "role": "agent"}, ACCOUNT)
    assert agents.update_agent_in_account({"role": "administrator"}, ACCOUNT, agent.id).role == "administrator"
    assert agent.id in [one.id for one in agents.get_account_agents(ACCOUNT)]
    assert ConversationAssignmentApi(client).assign_a_conversation({"assignee_id": agent.id}, ACCOUNT, conversation).email == "ravi@example.org"
    members = {"inbox_id": inbox, "user_ids": [agent.id]}
    assert body(inboxes.add_new_agent_to_inbox(members, ACCOUNT, _preload_content=False))["payload"][0]["id"] == agent.id
    inboxes.delete_agent_in_inbox(members, ACCOUNT)
    assert body(inboxes.get_inbox_members(ACCOUNT, inbox, _preload_content=False)) == {"payload": []}
    team = teams.create_a_team({"name": "sales", "description": "Sells"}, ACCOUNT)
    assert [one.id for one in teams.add_new_agent_to_team({"user_ids": [agent.id]}, ACCOUNT, team.id)] == [agent.id]
    assert [one.id for one in teams.get_team_members(ACCOUNT, team.id)] == [agent.id]
    assert teams.update_agents_in_team({"user_ids": []}, ACCOUNT, team.id) == []
    assert teams.get_details_of_a_single_team(ACCOUNT, team.id).description == "Sells"
    teams.delete_a_team(ACCOUNT, team.id)
    assert teams.list_all_teams(ACCOUNT) == []
    canned = CannedResponsesApi(client)
    response = canned.add_new_canned_response_to_account({"short_code": "hi", "content": "Hello!"}, ACCOUNT)
    assert [one.content for one in canned.get_account_canned_response(ACCOUNT)] == ["Hello!"]
    canned.delete_canned_response_from_account(ACCOUNT, response.id)
    assert canned.get_account_canned_response(ACCOUNT) == []
    attributes = CustomAttributesApi(client)
    plan = {"attribute_display_name": "Plan", "attribute_display_type": 0, "attribute_key": "plan", "attribute_model": 1}
    attribute = attributes.add_new_custom_attribute_to_account(plan, ACCOUNT)
    assert attributes.get_details_of_a_single_custom_attribute(ACCOUNT, attribute.id).attribute_key == "plan"
    assert [one.attribute_model for one in attributes.get_account_custom_attribute(ACCOUNT, 1)] == ["contact_attribute"]


def client_side(client: ApiClient) -> None:
    contacts, conversations, messages = ContactsAPIApi(client), ConversationsAPIApi(client), MessagesAPIApi(client)
    assert InboxAPIApi(client).get_details_of_a_inbox(INBOX).identifier == INBOX
    made = contacts.create_a_contact(PublicContactCreateUpdatePayload(name="Bo", email="bo@example.org"), INBOX)
    assert contacts.get_details_of_a_contact(INBOX, made.source_id).pubsub_token == made.pubsub_token != ""
    assert contacts.update_a_contact({"name": "Bo Ek"}, INBOX, made.source_id).name == "Bo Ek"
    opened = conversations.create_a_conversation({}, INBOX, made.source_id)
    assert [one.id for one in conversations.list_all_contact_conversations(INBOX, made.source_id)] == [opened.id]
    sent = messages.create_a_message({"content": "Hello?", "echo_id": "e-1"}, INBOX, made.source_id, opened.id)
    assert (sent.content, sent.message_type, sent.conversation_id) == ("Hello?", "0", str(opened.id)), sent
    changed = messages.update_a_message({"submitted_values": [{"name": "mood", "value": "good"}]}, INBOX, made.source_id, opened.id, sent.id)
    assert "good" in changed.content_attributes, changed
    assert [one.id for one in messages.list_all_converation_messages(INBOX, made.source_id, opened.id)] == [sent.id]


def operator(client: ApiClient) -> None:
    account = AccountsApi(client).create_an_account({"name": "Second"})
    assert AccountsApi(client).update_an_account({"name": "Two"}, account.id).name == "Two"
    user = UsersApi(client).create_a_user({"name": "Mia", "email": "mia@example.org", "password": "Secret-1-secret"})
    assert "sso_auth_token=" in UsersApi(client).get_sso_url_of_a_user(user.id).url
    members = AccountUsersApi(client)
    assert members.create_an_account_user({"user_id": user.id, "role": "agent"}, account.id).role == "agent"
    assert [one.user_id for one in members.list_all_account_users(account.id)] == [user.id]
    members.delete_an_account_user({"user_id": user.id}, account.id)
    assert members.list_all_account_users(account.id) == []
    bot = AgentBotsApi(client).create_an_agent_bot({"name": "Helper", "outgoing_url": "https://example.org/bot"})
    assert [one.id for one in AgentBotsApi(client).list_all_agent_bots()] == [bot.id]


def main() -> None:
    client = connected(os.environ["PARLEY_TOKEN"])
    inboxes = InboxesApi(client)
    # The description has both of these paths with a trailing slash.
    inbox = inboxes.inbox_creation({"name": "Orders", "channel": {"type": "api", "webhook_url": ""}}, ACCOUNT)
    assert (inbox.name, inbox.channel_type) == ("Orders", "Channel::Api"), inbox
    assert inboxes.get_inbox(ACCOUNT, inbox.id).name == "Orders"
    assert inboxes.update_inbox({"name": "Returns", "enable_auto_assignment": True, "channel": {}}, ACCOUNT, inbox.id).name == "Returns"
    contact, conversation = article(client, inbox.id)
    contacts(client, inbox.id, contact, conversation)
    conversations(client, conversation)
    settings(client, inbox.id, conversation)
    client_side(connected(None))
    operator(connected(os.environ["PARLEY_PLATFORM_TOKEN"]))
    print("chatwoot-python-client: all calls answered as it expects")


main()
