// A grpc-js client that loads its messages from the proto files: calls, errors with their reason, and a stream.
//
//     PARLEY_TEST_TOKEN=... PARLEY_TEST_NODE_MODULES=node_modules node_client.mjs 127.0.0.1:50051
//
// Exits with 0 and one line if everything passed, else with a stack trace.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

// Packages are in the folder where ./test installed them, not next to this file.
const require = createRequire(path.join(process.env.PARLEY_TEST_NODE_MODULES, "here.js"));
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const proto = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../proto");
const options = { includeDirs: [proto], longs: Number, enums: String, defaults: true, oneofs: true };
const files = ["contact_service", "event_service", "error_reason"].map((name) => `parley/v1/${name}.proto`);
const contract = grpc.loadPackageDefinition(loader.loadSync([...files, "google/rpc/error_details.proto"], options)).parley.v1;

const [address] = process.argv.slice(2);
const metadata = new grpc.Metadata();
metadata.set("api_access_token", process.env.PARLEY_TEST_TOKEN);
const deadline = () => ({ deadline: Date.now() + 60_000 });
const credentials = grpc.credentials.createInsecure();

const call = (client, method, request, sent = metadata) =>
  new Promise((resolve, reject) => client[method](request, sent, deadline(), (error, answer) => (error ? reject(error) : resolve(answer))));

// 2 is grpc-js's number for gzip.
for (const algorithm of [0, 2]) {
  const contacts = new contract.ContactsService(address, credentials, { "grpc.default_compression_algorithm": algorithm });
  const name = `Asha ${algorithm} ${"a".repeat(200)}`;
  const made = await call(contacts, "CreateContact", { accountId: 1, inboxId: 1, name });
  assert.equal(made.contact.name, name);
  contacts.close();
}

const contacts = new contract.ContactsService(address, credentials);
const refused = async (request, sent) => {
  const error = await call(contacts, "CreateContact", request, sent).then(() => assert.fail("not refused"), (error) => error);
  return [error.code, error.metadata.get("parley-reason")[0]];
};
assert.deepEqual(await refused({ accountId: 1, inboxId: 1, email: "nobody" }), [grpc.status.INVALID_ARGUMENT, "INVALID_FIELD"]);
assert.deepEqual(await refused({ accountId: 1 }, new grpc.Metadata()), [grpc.status.UNAUTHENTICATED, "TOKEN_MISSING"]);
contacts.close();

const events = new contract.EventsService(address, credentials);
const stream = events.Subscribe({ accountId: 1, earliest: {} }, metadata, deadline());
const first = await new Promise((resolve, reject) => stream.once("data", resolve).once("error", reject));
assert(first.events.some((delivery) => delivery.event.kindName === "contact.created"), JSON.stringify(first));
stream.removeAllListeners("error").on("error", () => {});
stream.cancel();
events.close();
console.log("stubs for JavaScript: calls, compression, errors and a stream");
