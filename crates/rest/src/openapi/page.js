"use strict";
// All parts of the description are inserted as text, so they cannot inject markup.
const make = (name, text, ...children) => {
  const node = document.createElement(name);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
};
const marked = (name, kind, text, ...children) => {
  const node = make(name, text, ...children);
  node.className = kind;
  return node;
};

// Renders text in which backticks mark code.
const prose = (text) => {
  const parts = text.split("`").map((part, place) => (place % 2 ? make("code", part) : part));
  return make("p", "", ...parts);
};

// Resolves a reference within the document.
const follow = (api, value) =>
  value && value.$ref ? value.$ref.slice(2).split("/").reduce((inner, key) => inner[key.replaceAll("~1", "/")], api) : value;

// A short description of a schema's type.
const kind = (schema) => {
  if (!schema) return "any";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return [...new Set(schema.anyOf.map(kind))].join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(", ");
  const types = [].concat(schema.type || "any").join(" or ").replace("array", `list of ${kind(schema.items)}`);
  return schema.format === "date-time" ? `${types}, ISO 8601` : types;
};

// Renders a schema as an example-like value, with references resolved.
const sketch = (api, schema, seen = []) => {
  if (schema && schema.$ref) {
    const name = kind(schema);
    return seen.includes(name) ? name : sketch(api, follow(api, schema), [...seen, name]);
  }
  if (schema && schema.anyOf) {
    const shapes = schema.anyOf.map((one) => sketch(api, one, seen));
    return shapes.every((one) => typeof one === "string") ? shapes.join(" or ") : shapes;
  }
  if (schema && schema.items) return [sketch(api, schema.items, seen)];
  if (schema && schema.properties && Object.keys(schema.properties).length) {
    const required = schema.required || [];
    return Object.fromEntries(Object.entries(schema.properties).map(([key, value]) =>
      [required.includes(key) ? key : `${key}?`, sketch(api, value, seen)]));
  }
  return kind(schema);
};

const written = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

// A block that can be scrolled with the keyboard.
const block = (text) => {
  const pre = make("pre", text);
  pre.tabIndex = 0;
  return pre;
};

const field = (name, about, required, schema, text) => [
  make("dt", "", make("code", name), marked("span", "kind", ` ${[about, kind(schema), required ? "required" : ""].filter(Boolean).join(", ")}`)),
  make("dd", "", prose(text || "")),
];

// The fields of a body. If they are wrapped in an optional root key, returns them without it.
const fieldsOf = (body) => {
  const schema = body.content["application/x-www-form-urlencoded"].schema;
  const [root, ...others] = Object.entries(schema.properties);
  const isWrapped = root && !others.length && root[1].properties && (schema.required || []).includes(root[0]);
  return isWrapped ? { root: root[0], schema: root[1] } : { schema };
};

const base = (api) => {
  const { url } = api.servers[0];
  return url === "/" ? location.origin : url.replace(/\/$/, "");
};

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// The example request as a curl command.
const curl = (api, path, method, operation) => {
  const parameters = operation.parameters || [];
  const value = (name) => (parameters.find((one) => one.name === name) || {}).example;
  const filled = path.replace(/\{(\w+)\}/g, (whole, name) => (value(name) === undefined ? whole.slice(1, -1).toUpperCase() : encodeURIComponent(value(name))));
  const query = new URLSearchParams();
  for (const one of parameters.filter(({ in: place, example }) => place === "query" && example !== undefined)) {
    for (const item of [].concat(one.example)) query.append(one.name, item);
  }
  const url = `${base(api)}${filled}${query.size ? `?${query}` : ""}`;
  const lines = [method === "get" ? `curl "${url}"` : `curl -X ${method.toUpperCase()} "${url}"`];
  if (operation.security.length) lines.push('-H "api_access_token: $TOKEN"');
  const body = operation.requestBody && operation.requestBody.content["application/json"].example;
  if (body !== undefined) lines.push('-H "Content-Type: application/json"', `-d ${quoted(JSON.stringify(body, null, 2))}`);
  return lines.join(" \\\n  ");
};

const callers = {
  anyone: "Anyone may call it, without a token.",
  user: "Any user with a token may call it.",
  member: "Members of the account may call it.",
  administrator: "Administrators of the account may call it.",
  platform: "The operator may call it, with a platform token.",
};

const answer = (api, status, named) => {
  const response = follow(api, named);
  const parts = [make("h4", `${status}`), prose(response.description)];
  for (const [type, { schema, example }] of Object.entries(response.content || {})) {
    if (type !== "application/json") parts.push(marked("p", "quiet", type));
    if (example !== undefined) parts.push(block(written(example)));
    if (schema && status < 300 && type === "application/json") {
      const shape = make("details", "", make("summary", "All fields"), block(written(sketch(api, schema))));
      parts.push(shape);
    }
  }
  return parts;
};

// The content of an operation.
const fill = (api, path, methods, operation) => {
  const parts = [prose(operation.description)];
  const rpc = operation["x-parley-rpc"] ? ` Its gRPC method is \`${operation["x-parley-rpc"]}\`.` : "";
  parts.push(prose(`${callers[operation["x-parley-caller"]]}${rpc}`));
  const parameters = operation.parameters || [];
  if (parameters.length) {
    const rows = parameters.flatMap((one) => field(one.name, one.in, one.required, one.schema, one.description || one.schema.description));
    parts.push(make("h4", "Parameters"), marked("dl", "fields", "", ...rows));
  }
  if (operation.requestBody) {
    const { root, schema } = fieldsOf(operation.requestBody);
    const required = schema.required || [];
    const rows = Object.entries(schema.properties).flatMap(([name, one]) => field(name, "", required.includes(name), one, one.description));
    parts.push(make("h4", "Body"));
    if (root) parts.push(prose(`The fields may also be sent in an object \`${root}\`.`));
    parts.push(marked("dl", "fields", "", ...rows));
  }
  parts.push(make("h4", "Example request"), block(curl(api, path, methods[0], operation)));
  const [success, errors] = [[], []];
  for (const [status, response] of Object.entries(operation.responses)) {
    (status < 400 ? success : errors).push(...answer(api, status, response));
  }
  parts.push(make("h3", "Answer"), ...success);
  if (errors.length) parts.push(make("details", "", make("summary", "Errors"), ...errors));
  return parts;
};

// The operations of a path. An update that accepts both PATCH and PUT is listed once.
const operationsOf = (path, item) => {
  const all = Object.entries(item).filter(([method]) => method !== "put" || !item.patch);
  return all.map(([method, operation]) => ({ path, operation, methods: method === "patch" && item.put ? ["patch", "put"] : [method] }));
};

const entry = (api, { path, operation, methods }) => {
  const names = methods.join(", ").toUpperCase();
  const details = make("details", "", make("summary", "", make("b", names), make("code", path), make("span", operation.summary)));
  details.id = operation.operationId;
  // Build the content only when the operation is expanded.
  details.addEventListener("toggle", () => details.append(...fill(api, path, methods, operation)), { once: true });
  details.dataset.text = [...methods, path, operation.operationId, operation.summary, operation.description].join(" ").toLowerCase();
  return details;
};

// Shows the operations that match every word, and the headings that have any.
const filter = (sections, text) => {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  let all = 0;
  for (const section of sections) {
    let any = false;
    for (const details of section.querySelectorAll(":scope > details")) {
      details.hidden = !words.every((word) => details.dataset.text.includes(word));
      any ||= !details.hidden;
      shown += !details.hidden;
      all += 1;
    }
    section.hidden = !any;
  }
  document.getElementById("count").textContent = words.length ? `${shown} of ${all} operations` : `${all} operations`;
};

// Expands the operation in the URL's fragment, even if the filter hides it.
const open = (sections, input) => {
  const details = document.getElementById(location.hash.slice(1));
  if (!details || details.tagName !== "DETAILS") return;
  if (details.hidden) {
    input.value = "";
    filter(sections, "");
  }
  details.open = true;
  details.scrollIntoView();
};

const show = (api) => {
  document.getElementById("about").append(` Version ${api.info.version}.`);
  document.getElementById("base").textContent = base(api);
  document.getElementById("first").textContent = `curl "${base(api)}/api/v1/profile" -H "api_access_token: $TOKEN"`;
  const operations = Object.entries(api.paths).flatMap(([path, item]) => operationsOf(path, item));
  const sections = api.tags.map(({ name, description }) => {
    const own = operations.filter(({ operation }) => operation.tags.includes(name));
    return make("section", "", make("h3", name), prose(description || ""), ...own.map((one) => entry(api, one)));
  });
  const input = document.getElementById("filter");
  input.addEventListener("input", () => filter(sections, input.value));
  document.getElementById("search").addEventListener("submit", (event) => event.preventDefault());
  filter(sections, input.value);
  document.getElementById("operations").replaceChildren(...sections);
  window.addEventListener("hashchange", () => open(sections, input));
  open(sections, input);
};

fetch("/openapi.json").then((response) => response.json()).then(show)
  .catch((error) => document.getElementById("operations").replaceChildren(make("p", `The description cannot be read: ${error}`)));
