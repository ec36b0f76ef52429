// @figuro/chatwoot-sdk (npm): its account, platform and client resources, including a file. It sends its token twice, as `api_access_token`
// and as `Authorization: Bearer`, and messages always as multipart forms.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.PARLEY_CLIENTS}/`);
const { default: ChatwootClient } = require("@figuro/chatwoot-sdk");

const accountId = 1;
const inboxIdentifier = process.env.PARLEY_INBOX;
const connected = (token) => new ChatwootClient({ config: { basePath: process.env.PARLEY_URL, with_credentials: true, credentials: "include", token } });
const ids = (list) => list.map((one) => one.id);
const refused = (call, status) => assert.rejects(call, (error) => error.name === "ApiError" && error.status === status);

// The three steps of the help article: a contact with a session, a conversation, messages both ways.
async function article(client, inbox) {
    const { payload: made } = await client.contacts.create({ accountId, data: { inbox_id: inbox.id, name: "Asha Rao", email: "asha@rao.example" } });
    assert.equal(made.contact.contact_inboxes[0].source_id, made.contact_inbox.source_id);
    const opened = await client.conversations.create({ accountId, data: { source_id: made.contact_inbox.source_id, inbox_id: inbox.id } });
    assert.deepEqual([opened.account_id, opened.inbox_id, opened.status], [accountId, inbox.id, "open"]);
    const conversationId = opened.id;
    const incoming = await client.messages.create({ accountId, conversationId, data: { content: "Where is my order?", message_type: "incoming" } });
    assert.deepEqual([incoming.message_type, incoming.content_type, incoming.sender.type], [0, "text", "contact"]);
    const outgoing = await client.messages.create({ accountId, conversationId, data: { content: "It left today.", private: false } });
    assert.deepEqual([outgoing.message_type, outgoing.private, outgoing.sender.type], [1, false, "user"]);
    const note = await client.messages.create({ accountId, conversationId, data: { content: "Called the courier.", private: true } });
    assert.equal(note.private, true);
    const pixel = { content: "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", encoding: "base64", filename: "receipt.png" };
    const file = await client.messages.create({ accountId, conversationId, data: { content: "The receipt", attachments: [pixel] } });
    assert.deepEqual([file.attachments.length, file.attachments[0].file_type, file.attachments[0].extension], [1, "image", "png"]);
    const sent = Buffer.from(await (await fetch(file.attachments[0].data_url)).arrayBuffer());
    assert.equal(sent.toString("base64"), pixel.content);
    const { payload } = await client.messages.list({ accountId, conversationId });
    assert.deepEqual(ids(payload), ids([incoming, outgoing, note, file]));
    const deleted = await client.messages.delete({ accountId, conversationId, messageId: note.id });
    assert.equal(deleted.content_attributes.deleted, true);
    return { contact: made.contact, conversationId };
}

async function contacts(client, inbox, contact, conversationId) {
    const { id } = contact;
    const changed = await client.contacts.update({ accountId, id, data: { name: "Asha R. Rao", custom_attributes: { plan: "gold" } } });
    assert.deepEqual([changed.payload.name, changed.payload.custom_attributes], ["Asha R. Rao", { plan: "gold" }]);
    assert.equal((await client.contacts.get({ accountId, id })).payload.name, "Asha R. Rao");
    assert.deepEqual(ids((await client.contacts.list({ accountId, sort: "-name" })).payload), [id]);
    assert.deepEqual(ids((await client.contacts.search({ accountId, q: "rao" })).payload), [id]);
    const payload = [{ attribute_key: "name", filter_operator: "equal_to", values: ["asha r. rao"], query_operator: null }];
    assert.deepEqual(ids((await client.contacts.filter({ accountId, payload })).payload), [id]);
    assert.deepEqual(ids((await client.contacts.listConversations({ accountId, id })).payload), [conversationId]);
    const session = await client.contact.create({ accountId, id, data: { inbox_id: inbox.id, source_id: "crm-9" } });
    assert.equal(session.source_id, "crm-9");
    const reachable = await client.contact.getContactable({ accountId, id });
    assert.ok(reachable.payload.some((one) => one.inbox.id === inbox.id));
    const { payload: extra } = await client.contacts.create({ accountId, data: { inbox_id: inbox.id, name: "Wrong number" } });
    await client.contacts.delete({ accountId, id: extra.contact.id });
    await refused(client.contacts.get({ accountId, id: extra.contact.id }), 404);
    await refused(client.contacts.create({ accountId, data: { inbox_id: inbox.id, email: "asha@rao.example" } }), 422);
}

async function conversations(client, conversationId) {
    await client.conversationLabels.add({ accountId, conversationId, data: { labels: ["billing", "urgent"] } });
    assert.deepEqual((await client.conversationLabels.list({ accountId, conversationId })).payload, ["billing", "urgent"]);
    const { data } = await client.conversations.list({ accountId });
    assert.deepEqual([ids(data.payload), data.meta.all_count], [[conversationId], 1]);
    assert.equal((await client.conversations.getMeta({ accountId })).meta.unassigned_count, 1);
    const payload = [{ attribute_key: "status", filter_operator: "equal_to", values: ["open"], query_operator: null }];
    assert.deepEqual(ids((await client.conversations.filter({ accountId, payload })).payload), [conversationId]);
    const toggled = await client.conversations.toggleStatus({ accountId, conversationId, data: { status: "resolved" } });
    assert.deepEqual([toggled.payload.success, toggled.payload.current_status], [true, "resolved"]);
    assert.equal((await client.conversations.get({ accountId, conversationId })).status, "resolved");
    await refused(client.conversations.get({ accountId, conversationId: 999 }), 404);
}

async function settings(client, inbox, conversationId) {
    assert.equal((await client.profile.profile()).accounts[0].role, "administrator");
    const agent = await client.agents.create({ accountId, data: { name: "Ravi", email: "ravi@example.org", role: "agent" } });
    assert.equal((await client.agents.update({ accountId, id: agent.id, data: { role: "administrator" } })).role, "administrator");
    assert.ok(ids(await client.agents.list({ accountId })).includes(agent.id));
    assert.equal((await client.conversationAssignment.assign({ accountId, conversationId, data: { assignee_id: agent.id } })).id, agent.id);
    const members = { inbox_id: inbox.id, user_ids: [agent.id] };
    assert.deepEqual(ids((await client.inboxes.addAgent({ accountId, data: members })).payload), [agent.id]);
    assert.deepEqual(ids((await client.inboxes.listAgents({ accountId, inboxId: inbox.id })).payload), [agent.id]);
    assert.deepEqual((await client.inboxes.updateAgentsInInbox({ accountId, data: { ...members, user_ids: [] } })).payload, []);
    const team = await client.teams.create({ accountId, data: { name: "sales", description: "Sells" } });
    assert.equal((await client.teams.update({ accountId, teamId: team.id, data: { description: "Sold" } })).description, "Sold");
    assert.equal((await client.teams.get({ accountId, teamId: team.id })).description, "Sold");
    await client.teams.delete({ accountId, teamId: team.id });
    assert.deepEqual(await client.teams.list({ accountId }), []);
    const canned = await client.cannedResponses.create({ accountId, data: { short_code: "hi", content: "Hello!" } });
    assert.equal((await client.cannedResponses.update({ accountId, id: canned.id, data: { content: "Hi!" } })).content, "Hi!");
    await client.cannedResponses.delete({ accountId, id: canned.id });
    assert.deepEqual(await client.cannedResponses.list({ accountId }), []);
    const plan = { attribute_display_name: "Plan", attribute_display_type: 0, attribute_key: "plan", attribute_model: 1 };
    const attribute = await client.customAttributes.create({ accountId, data: plan });
    assert.equal((await client.customAttributes.get({ accountId, id: attribute.id })).attribute_key, "plan");
    await client.customAttributes.delete({ accountId, id: attribute.id });
    assert.deepEqual(await client.customAttributes.list({ accountId, attributeModel: "1" }), []);
}

async function clientSide(client) {
    const { contacts, conversations, messages } = client.client;
    const made = await contacts.create({ inboxIdentifier, data: { name: "Bo", email: "bo@example.org" } });
    const session = { inboxIdentifier, contactIdentifier: made.source_id };
    assert.equal((await contacts.get(session)).pubsub_token, made.pubsub_token);
    assert.equal((await contacts.update({ ...session, data: { name: "Bo Ek" } })).name, "Bo Ek");
    const opened = await conversations.create(session);
    assert.deepEqual(ids(await conversations.list(session)), [opened.id]);
    const sent = await messages.create({ ...session, conversationId: opened.id, data: { content: "Hello?", echo_id: "e-1" } });
    assert.deepEqual([sent.content, sent.message_type], ["Hello?", 0]);
    const submitted_values = [{ name: "mood", value: "good" }];
    const changed = await messages.update({ ...session, conversationId: opened.id, messageId: sent.id, data: { submitted_values } });
    assert.deepEqual(changed.content_attributes.submitted_values, submitted_values);
    assert.deepEqual(ids(await messages.list({ ...session, conversationId: opened.id })), [sent.id]);
}

async function operator({ platform }) {
    const account = await platform.accounts.create({ data: { name: "Second" } });
    assert.equal((await platform.accounts.update({ accountId: account.id, data: { name: "Two" } })).name, "Two");
    assert.equal((await platform.accounts.get({ accountId: account.id })).name, "Two");
    const user = await platform.users.create({ data: { name: "Mia", email: "mia@example.org", password: "Secret-1-secret" } });
    assert.equal((await platform.users.update({ id: user.id, data: { name: "Mia M." } })).name, "Mia M.");
    assert.match((await platform.users.getSSOUrl({ id: user.id })).url, /sso_auth_token=/);
    const member = { user_id: user.id, role: "agent" };
    assert.equal((await platform.accountUsers.create({ accountId: account.id, data: member })).role, "agent");
    await platform.accountUsers.delete({ accountId: account.id, data: { user_id: user.id } });
    assert.deepEqual(await platform.accountUsers.list({ accountId: account.id }), []);
    const bot = await platform.agentBots.create({ data: { name: "Helper", outgoing_url: "https://example.org/bot" } });
    assert.equal((await platform.agentBots.update({ id: bot.id, data: { name: "Helper 2" } })).name, "Helper 2");
    await platform.agentBots.delete({ id: bot.id });
    assert.deepEqual(await platform.agentBots.list(), []);
}

const client = connected(process.env.PARLEY_TOKEN);
// The library sends both of these paths with a trailing slash.
const inbox = await client.inboxes.create({ accountId, data: { name: "Orders", channel: { type: "api", webhook_url: "" } } });
assert.equal((await client.inboxes.get({ accountId, id: inbox.id })).inbox_identifier, inbox.inbox_identifier);
assert.equal((await client.inboxes.update({ accountId, id: inbox.id, data: { name: "Returns", channel: {} } })).name, "Returns");
assert.ok(ids((await client.inboxes.list({ accountId })).payload).includes(inbox.id));
const { contact, conversationId } = await article(client, inbox);
await contacts(client, inbox, contact, conversationId);
await conversations(client, conversationId);
await settings(client, inbox, conversationId);
await clientSide(connected(undefined));
await operator(connected(process.env.PARLEY_PLATFORM_TOKEN));
await refused(connected("not-a-token").profile.profile(), 401);
console.log("@figuro/chatwoot-sdk: all calls answered as it expects");
