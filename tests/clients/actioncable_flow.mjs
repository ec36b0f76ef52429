// @rails/actioncable (npm), which Chatwoot's dashboards and widgets use, on /cable: an agent and a visitor that subscribe to RoomChannel.

import assert from "node:assert/strict";
import { once, EventEmitter } from "node:events";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.PARLEY_CLIENTS}/`);
// The library expects to run in a page and listens for `visibilitychange`.
Object.assign(globalThis, { document: { visibilityState: "visible" }, addEventListener() {}, removeEventListener() {} });
const { createConsumer, adapters } = require("@rails/actioncable");
adapters.WebSocket = require("ws");

const account = `${process.env.PARLEY_URL}/api/v1/accounts/1`;
const visitors = `${process.env.PARLEY_URL}/public/api/v1/inboxes/${process.env.PARLEY_INBOX}/contacts`;
const cable = `${process.env.PARLEY_URL.replace("http", "ws")}/cable`;

async function call(method, url, body) {
    const headers = { "content-type": "application/json", "api-access-token": process.env.PARLEY_TOKEN };
    const answer = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
    assert.ok(answer.ok, `${method} ${url}: ${answer.status} ${await answer.clone().text()}`);
    return answer.json();
}

// A subscription to RoomChannel, with the frames received so far.
function subscribe(identifier) {
    const consumer = createConsumer(cable);
    const states = new EventEmitter();
    const received = [];
    const waiting = [];
    const subscription = consumer.subscriptions.create({ channel: "RoomChannel", ...identifier }, {
        connected: (state) => states.emit("connected", state),
        rejected: () => states.emit("rejected"),
        received: (frame) => {
            received.push(frame);
            waiting.splice(0).forEach((look) => look());
        },
    });
    // The first frame of this event that satisfies `fits`, already received or later.
    const frame = async (event, fits = () => true) => {
        for (;;) {
            const found = received.find((one) => one.event === event && fits(one.data));
            if (found) return found.data;
            await new Promise((look) => waiting.push(look));
        }
    };
    return { consumer, subscription, received, frame, next: (state) => once(states, state) };
}

const profile = await call("GET", `${process.env.PARLEY_URL}/api/v1/profile`);
const agent = subscribe({ pubsub_token: profile.pubsub_token, account_id: 1, user_id: profile.id });
await agent.next("connected");

const contact = await call("POST", visitors, { name: "Bo", email: "bo@example.org" });
// A widget sends no user; dashboards and older widgets send ids as strings.
const visitor = subscribe({ pubsub_token: contact.pubsub_token, account_id: "1", user_id: "" });
await visitor.next("connected");

const stranger = subscribe({ pubsub_token: "not-a-token", account_id: 1, user_id: profile.id });
await stranger.next("rejected");
stranger.consumer.disconnect();

// The agent receives the visitor's message, and the conversation that it opens.
const conversation = await call("POST", `${visitors}/${contact.source_id}/conversations`, {});
const asked = await call("POST", `${visitors}/${contact.source_id}/conversations/${conversation.id}/messages`, { content: "Where is my order?" });
assert.equal((await agent.frame("conversation.created")).id, conversation.id);
const seen = await agent.frame("message.created", (data) => data.id === asked.id);
assert.deepEqual([seen.content, seen.message_type, seen.conversation_id, seen.account_id, seen.sender.name], ["Where is my order?", 0, conversation.id, 1, "Bo"]);

// The visitor receives the agent's message, but not a private note.
const write = (body) => call("POST", `${account}/conversations/${conversation.id}/messages`, body);
const note = await write({ content: "A difficult customer", private: true });
const answered = await write({ content: "It left today." });
const got = await visitor.frame("message.created", (data) => data.id === answered.id);
assert.deepEqual([got.content, got.message_type, got.sender.type], ["It left today.", 1, "user"]);
await agent.frame("message.created", (data) => data.id === note.id && data.private);
assert.ok(!visitor.received.some((one) => JSON.stringify(one).includes("A difficult customer")));

// Typing and presence, which are ephemeral.
await fetch(`${account}/conversations/${conversation.id}/toggle_typing_status`, {
    method: "POST",
    headers: { "content-type": "application/json", "api-access-token": process.env.PARLEY_TOKEN },
    body: JSON.stringify({ typing_status: "on" }),
});
assert.equal((await visitor.frame("conversation.typing_on")).conversation.id, conversation.id);
visitor.subscription.perform("update_presence");
agent.subscription.perform("update_presence");
const { meta } = await call("GET", `${account}/conversations/${conversation.id}`);
const present = await agent.frame("presence.update", (data) => data.contacts?.[meta.sender.id] === "online");
assert.equal(present.account_id, 1);

// The library subscribes again after losing its connection, and receives later frames.
const back = visitor.next("connected");
visitor.consumer.connection.webSocket.terminate();
assert.deepEqual(await back, [{ reconnected: true }]);
const late = await write({ content: "It arrives tomorrow." });
assert.equal((await visitor.frame("message.created", (data) => data.id === late.id)).content, "It arrives tomorrow.");
await call("POST", `${account}/conversations/${conversation.id}/toggle_status`, { status: "resolved" });
assert.equal((await visitor.frame("conversation.status_changed", (data) => data.status === "resolved")).id, conversation.id);

// The visitor's contact is merged into a known one: its open subscription continues.
const known = await call("POST", `${account}/contacts`, { name: "Bo Ek", email: "known@example.org" });
await call("PATCH", `${visitors}/${contact.source_id}`, { email: "known@example.org" });
const merged = await write({ content: "Hello again, Bo." });
assert.equal((await visitor.frame("message.created", (data) => data.id === merged.id)).content, "Hello again, Bo.");
assert.ok(known.payload.contact.id);

agent.consumer.disconnect();
visitor.consumer.disconnect();
console.log("@rails/actioncable: all frames came as it expects");
