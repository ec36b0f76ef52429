// eventsource (npm), the browsers' EventSource for Node, on the event stream: it reconnects after the id of the last event, here
// through a proxy that breaks every connection after some events.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";

const require = createRequire(`${process.env.PARLEY_CLIENTS}/`);
const { EventSource } = require("eventsource");

const MESSAGES = 40;
const EVENTS_PER_CONNECTION = 15;
const { PARLEY_URL: url, PARLEY_TOKEN: token } = process.env;
const account = `${url}/api/v1/accounts/1`;

async function call(path, body) {
    const headers = { "content-type": "application/json", "api-access-token": token };
    const answer = await fetch(`${account}/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
    assert.equal(answer.status, 200, await answer.clone().text());
    return answer.json();
}

// Forwards bytes, and closes each connection in the middle of the event that follows EVENTS_PER_CONNECTION others.
let connections = 0;
const proxy = createServer((client) => {
    connections += 1;
    const server = connect(new URL(url).port, "127.0.0.1");
    let passed = "";
    client.pipe(server);
    server.on("data", (data) => {
        const before = passed.length;
        passed += data.toString("latin1");
        const starts = [...passed.matchAll(/\nevent:/g)].map(({ index }) => index);
        const end = starts[EVENTS_PER_CONNECTION] + "\nevent: mess".length;
        if (!(passed.length >= end)) return client.write(data);
        server.destroy();
        return client.end(data.subarray(0, Math.max(0, end - before)));
    });
    client.on("close", () => server.destroy());
    client.on("error", () => server.destroy());
    server.on("error", () => client.destroy());
});
await new Promise((listening) => proxy.listen(0, "127.0.0.1", listening));

const { payload } = await call("contacts", { inbox_id: 1, name: "Ana" });
const conversation = await call("conversations", { inbox_id: 1, source_id: payload.contact_inbox.source_id });
for (let number = 0; number < MESSAGES; number += 1) await call(`conversations/${conversation.id}/messages`, { content: `message ${number}` });

const source = new EventSource(`http://127.0.0.1:${proxy.address().port}/api/v1/accounts/1/events?start=earliest`, {
    fetch: (address, options) => fetch(address, { ...options, headers: { ...options.headers, "api-access-token": token } }),
});
const received = [];
await new Promise((done, failed) => {
    source.addEventListener("message.created", (event) => {
        received.push({ id: event.lastEventId, content: JSON.parse(event.data) });
        if (received.length >= MESSAGES) done();
    });
    source.addEventListener("error", (event) => source.readyState === EventSource.CLOSED && failed(new Error(event.message)));
});
source.close();
proxy.close();

const texts = received.map(({ content }) => JSON.stringify(content).match(/message \d+/)[0]);
assert.deepEqual(texts, Array.from({ length: MESSAGES }, (_, number) => `message ${number}`));
assert.equal(new Set(received.map(({ id }) => id)).size, MESSAGES);
assert.ok(connections > MESSAGES / EVENTS_PER_CONNECTION, `${connections} connections`);
console.log(`eventsource: every event once and in order, over ${connections} connections`);
