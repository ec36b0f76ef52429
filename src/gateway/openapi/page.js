"use strict";
// Everything is put in as text, so nothing of the description can become part of the page.
const make = (name, text, ...children) => {
  const node = document.createElement(name);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
};

// A schema as an example of itself, with the components it refers to spelled out.
const sketch = (api, schema, seen = []) => {
  if (!schema || Object.keys(schema).length === 0) return "any";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return seen.includes(name) ? name : sketch(api, api.components.schemas[name], [...seen, name]);
  }
  if (schema.anyOf) {
    const shapes = schema.anyOf.map((one) => sketch(api, one, seen));
    return shapes.every((one) => typeof one === "string") ? shapes.join(" | ") : shapes;
  }
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.join(" | ");
  const kind = [].concat(schema.type).join(" | ");
  if (kind.startsWith("array")) return [sketch(api, schema.items, seen)];
  if (kind.startsWith("object") && schema.properties) {
    const required = schema.required || [];
    return Object.fromEntries(Object.entries(schema.properties).map(([key, value]) =>
      [required.includes(key) ? key : `${key}?`, sketch(api, value, seen)]));
  }
  return schema.format ? `${kind} (${schema.format})` : kind;
};

const shown = (api, content) => Object.entries(content || {}).map(([kind, { schema }]) =>
  make("div", "", make("code", kind), make("pre", JSON.stringify(sketch(api, schema), null, 2))));

const route = (api, path, method, operation) => {
  const details = make("details", "", make("summary", "", make("b", method.toUpperCase()), make("code", path), make("span", operation.summary)));
  // What is not looked at is not drawn.
  details.addEventListener("toggle", () => {
    const rpc = operation["x-parley-rpc"] ? `, by ${operation["x-parley-rpc"]}` : "";
    details.append(make("p", `For: ${operation["x-parley-caller"]}${rpc}. ${operation.description || ""}`));
    const rows = operation.parameters.map((one) => make("tr", "", make("td", one.name), make("td", one.in),
      make("td", String(sketch(api, one.schema))), make("td", one.schema.description || one.description || "")));
    if (rows.length) details.append(make("table", "", ...rows));
    if (operation.requestBody) {
      const json = operation.requestBody.content["application/json"];
      details.append(make("h4", "Body"), ...shown(api, { "application/json": json }));
    }
    for (const [status, response] of Object.entries(operation.responses)) {
      details.append(make("h4", `${status}: ${response.description}`), ...(status < 300 ? shown(api, response.content) : []));
    }
  }, { once: true });
  details.dataset.text = `${method} ${path} ${operation.summary}`.toLowerCase();
  return details;
};

const show = (api) => {
  document.getElementById("about").textContent = `${api.info.description} Version ${api.info.version}.`;
  const main = document.getElementById("routes");
  for (const { name } of api.tags) {
    const section = make("section", "", make("h2", name));
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (operation.tags.includes(name)) section.append(route(api, path, method, operation));
      }
    }
    main.append(section);
  }
  document.getElementById("filter").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const details of main.querySelectorAll("details")) details.hidden = !details.dataset.text.includes(wanted);
  });
};

fetch("/openapi.json").then((answer) => answer.json()).then(show)
  .catch((error) => { document.getElementById("about").textContent = `The description cannot be read: ${error}`; });
