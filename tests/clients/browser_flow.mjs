// A page in Chromium from another origin than the program: it uses the client API like a widget, /api/v1 and the event stream like a
// dashboard on another host, and /cable with the library in the page.
//
// The page is served twice, at 127.0.0.1, which `http.cors_allowed_origins` names, and at localhost, which it does not.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";

const require = createRequire(`${process.env.PARLEY_CLIENTS}/`);
const { chromium } = require("playwright-core");

const { PARLEY_URL: url, PARLEY_TOKEN: token, PARLEY_INBOX: inbox, PARLEY_PAGE: allowed } = process.env;
const foreign = allowed.replace("127.0.0.1", "localhost");
const visitors = `${url}/public/api/v1/inboxes/${inbox}/contacts`;
const account = `${url}/api/v1/accounts/1`;

// Runs in the page: makes a call as its script would, and returns what the script can read of the response.
const call = (page, method, address, { body, headers = {} } = {}) =>
    page.evaluate(
        async ([method, address, body, headers]) => {
            const request = { method, headers: { ...headers, ...(body === undefined ? {} : { "content-type": "application/json" }) }, body };
            try {
                const answer = await fetch(address, request);
                const text = await answer.text();
                return { status: answer.status, body: text && JSON.parse(text), cursor: answer.headers.get("parley-cursor") };
            } catch (error) {
                return { blocked: error.name };
            }
        },
        [method, address, typeof body === "object" ? JSON.stringify(body) : body, headers],
    );

// A visitor's calls, from any origin: JSON and PATCH, for which a browser sends a preflight.
async function clientApi(page) {
    const made = await call(page, "POST", visitors, { body: { name: "Bo", email: "bo@example.org" } });
    assert.equal(made.status, 200, JSON.stringify(made));
    const session = `${visitors}/${made.body.source_id}`;
    const changed = await call(page, "PATCH", session, { body: { name: "Bo Ek" } });
    assert.deepEqual([changed.status, changed.body.name], [200, "Bo Ek"]);
    assert.equal((await call(page, "GET", session)).body.name, "Bo Ek");
    const opened = await call(page, "POST", `${session}/conversations`, { body: {} });
    const messages = `${session}/conversations/${opened.body.id}/messages`;
    const sent = await call(page, "POST", messages, { body: { content: "Hello?" } });
    assert.deepEqual([sent.status, sent.body.content], [200, "Hello?"]);
    const submitted_values = [{ name: "mood", value: "good" }];
    const answered = await call(page, "PATCH", `${messages}/${sent.body.id}`, { body: { submitted_values } });
    assert.deepEqual(answered.body.content_attributes, { submitted_values });
    // Without CORS headers on the error, a script would only learn that something failed.
    const nobody = await call(page, "GET", `${visitors}/nobody`);
    assert.deepEqual([nobody.status, typeof nobody.body.error], [404, "string"]);
    const wrong = await call(page, "POST", visitors, { body: { email: "not an address" } });
    assert.equal(wrong.status, 422, JSON.stringify(wrong));
    assert.ok(JSON.stringify(wrong.body).includes("mail"), JSON.stringify(wrong));
    const malformed = await call(page, "POST", visitors, { body: "{" });
    assert.ok(malformed.status >= 400 && malformed.body.error, JSON.stringify(malformed));
    const large = await call(page, "POST", visitors, { body: JSON.stringify({ name: "a".repeat(5 * 1024 * 1024) }) });
    assert.deepEqual([large.status, typeof large.body.error], [413, "string"]);
    return { contact: made.body, conversation: opened.body.id };
}

// The library in the page, as the visitor; the agent writes from outside.
async function cable(page, { contact, conversation }) {
    await page.evaluate(
        async ([address, pubsub_token]) => {
            const { createConsumer } = await import("/actioncable.js");
            window.frames_received = [];
            await new Promise((connected, rejected) => {
                createConsumer(address).subscriptions.create({ channel: "RoomChannel", pubsub_token }, {
                    connected,
                    rejected: () => rejected(new Error("the subscription was rejected")),
                    received: (frame) => window.frames_received.push(frame),
                });
            });
        },
        [`${url.replace("http", "ws")}/cable`, contact.pubsub_token],
    );
    await write(conversation, "It left today.");
    await page.waitForFunction(() => window.frames_received.some((frame) => frame.event === "message.created" && frame.data.content === "It left today."));
}

// The event stream, read with fetch: EventSource cannot send the token's header.
async function events(page, conversation) {
    const reading = page.evaluate(
        async ([address, token]) => {
            const answer = await fetch(address, { headers: { "api-access-token": token } });
            const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
            let text = "";
            while (!text.includes("Is it there?")) {
                const { value, done } = await reader.read();
                if (done) break;
                text += value;
            }
            await reader.cancel();
            return { status: answer.status, type: answer.headers.get("content-type"), text };
        },
        [`${account}/events?start=earliest`, token],
    );
    await write(conversation, "Is it there?");
    const { status, type, text } = await reading;
    assert.deepEqual([status, type.split(";")[0]], [200, "text/event-stream"]);
    const names = text.split("\n").filter((line) => line.startsWith("event:")).map((line) => line.slice(6).trim());
    assert.ok(names.includes("contact.created") && names.at(-1) === "message.created", names.join());
    assert.match(text, /^id: ?\S+/m);
}

// Called from outside of the browser.
async function write(conversation, content) {
    const headers = { "content-type": "application/json", "api-access-token": token };
    const answer = await fetch(`${account}/conversations/${conversation}/messages`, { method: "POST", headers, body: JSON.stringify({ content }) });
    assert.equal(answer.status, 200, await answer.clone().text());
}

const profile = mkdtempSync(join(tmpdir(), "chromium-"));
const flags = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.PARLEY_CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    chromiumSandbox: false,
    args: flags,
});
try {
    const page = await browser.newPage();
    await page.goto(foreign);
    const visitor = await clientApi(page);
    await cable(page, visitor);
    const headers = { "api-access-token": token };
    const refused = await call(page, "GET", `${account}/conversations`, { headers });
    assert.deepEqual(refused, { blocked: "TypeError" });

    await page.goto(allowed);
    await clientApi(page);
    const listed = await call(page, "GET", `${account}/conversations`, { headers });
    assert.equal(listed.body.data.meta.all_count, 2, JSON.stringify(listed));
    const note = await call(page, "POST", `${account}/conversations/${visitor.conversation}/messages`, { headers, body: { content: "Note", private: true } });
    assert.deepEqual([note.status, note.body.private], [200, true]);
    assert.match(note.cursor ?? "", /^\S{8,}$/);
    const stranger = await call(page, "GET", `${account}/conversations`, { headers: { "api-access-token": "not-a-token" } });
    assert.equal(stranger.status, 401, JSON.stringify(stranger));
    await events(page, visitor.conversation);
} finally {
    await browser.close();
    rmSync(profile, { recursive: true, force: true });
}
console.log("Chromium: a page from another origin can do what it may, and no more");
