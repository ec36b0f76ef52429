// Validates objects against the schemas of the Gateway API and the Prometheus Operator, from the packages @kubernetes-models/….
//
//     node crds.mjs NODE_MODULES <objects.json
//
// Reads a list of objects, and writes a list of the violations of each. The schemas accept unknown fields, which
// a cluster drops silently: so a field that no schema has visited is a violation too.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [modules] = process.argv.slice(2);
const SCHEMAS = {
    "gateway.networking.k8s.io/v1": ["gateway-api", "IoK8sSigsGatewayApiApisV1"],
    "monitoring.coreos.com/v1": ["prometheus-operator", "ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1"],
};

/** An object that notes which of its fields were looked at. */
function watched(value, path, seen) {
    if (value === null || typeof value !== "object") {
        return value;
    }
    return new Proxy(value, {
        get(target, key) {
            if (typeof key === "symbol" || !Object.hasOwn(target, key)) {
                return target[key];
            }
            seen.add(`${path}/${key}`);
            return watched(target[key], `${path}/${key}`, seen);
        },
    });
}

/** The paths of all fields. */
function* fields(value, path = "") {
    if (value !== null && typeof value === "object") {
        for (const [key, inner] of Object.entries(value)) {
            yield `${path}/${key}`;
            yield* fields(inner, `${path}/${key}`);
        }
    }
}

async function complaints(object) {
    const [name, prefix] = SCHEMAS[object.apiVersion] ?? [];
    if (name === undefined) {
        return [`no schema of ${object.apiVersion}`];
    }
    const file = join(modules, "@kubernetes-models", name, "_schemas", `${prefix}${object.kind}.js`);
    const { validate } = await import(pathToFileURL(file));
    const seen = new Set();
    const found = [];
    if (!validate(watched(object, "", seen))) {
        found.push(...validate.errors.map(({ instancePath, message, keyword, params }) => `${instancePath}: ${message ?? `${keyword} ${JSON.stringify(params)}`}`));
    }
    for (const field of fields(object)) {
        if (!seen.has(field)) {
            found.push(`${field}: no such field`);
        }
    }
    return found;
}

const objects = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(await Promise.all(objects.map(complaints))));
