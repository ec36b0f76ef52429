"""Schemas of custom resources of the Prometheus Operator (monitoring.coreos.com/v1) and the Gateway API
(gateway.networking.k8s.io/v1): the projects' own schemas (crds.mjs), and hand-written ones for the few fields that the chart sets."""

import json
import os
import subprocess

import jsonschema

import chart

NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
DURATION = {"type": "string", "pattern": "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"}
LABELS = {"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}}
HOST = {"type": "string", "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"}


def closed(properties: dict, *required: str) -> dict:
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": list(required)}


def some(items: dict, most: int) -> dict:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most}


def whole(kind: str, api: str, spec: dict) -> dict:
    metadata = closed({"name": NAME, "namespace": NAME, "labels": LABELS, "annotations": {"type": "object"}}, "name")
    return closed(
        {"apiVersion": {"const": api}, "kind": {"const": kind}, "metadata": metadata, "spec": spec},
        "apiVersion", "kind", "metadata", "spec",
    )


def route(kind: str, rules: dict) -> dict:
    parent = closed({"name": NAME, "namespace": NAME, "sectionName": NAME, "port": {"type": "integer"}}, "name")
    backend = closed({"name": NAME, "port": {"type": "integer", "minimum": 1, "maximum": 65535}}, "name", "port")
    rule = closed({"backendRefs": some(backend, 16)} | rules, "backendRefs")
    spec = closed({"parentRefs": some(parent, 32), "hostnames": some(HOST, 16), "rules": some(rule, 16)}, "parentRefs", "rules")
    return whole(kind, "gateway.networking.k8s.io/v1", spec)


MONITORING = "monitoring.coreos.com/v1"
RELABELINGS = some({"type": "object"}, 100)
ENDPOINT = closed({"port": {"type": "string"}, "path": {"type": "string"}, "interval": DURATION, "scrapeTimeout": DURATION, "relabelings": RELABELINGS, "metricRelabelings": RELABELINGS}, "port")
RULE = closed(
    {
        "alert": {"type": "string", "minLength": 1},
        "expr": {"type": "string", "minLength": 1},
        "for": DURATION,
        "labels": closed({"severity": {"enum": ["critical", "warning", "info"]}, "namespace": NAME, "release": NAME}, "severity"),
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "alert", "expr", "for", "labels", "annotations",
)
SHAPES = {
    "ServiceMonitor": whole(
        "ServiceMonitor",
        MONITORING,
        closed(
            {
                "namespaceSelector": closed({"matchNames": some(NAME, 1)}, "matchNames"),
                "selector": closed({"matchLabels": LABELS}, "matchLabels"),
                "endpoints": some(ENDPOINT, 1),
            },
            "selector", "endpoints",
        ),
    ),
    "PrometheusRule": whole(
        "PrometheusRule",
        MONITORING,
        closed({"groups": some(closed({"name": NAME, "rules": some(RULE, 100)}, "name", "rules"), 10)}, "groups"),
    ),
    "GRPCRoute": route("GRPCRoute", {}),
    "HTTPRoute": route("HTTPRoute", {"timeouts": closed({"request": DURATION, "backendRequest": DURATION})}),
}


def check(document: dict) -> None:
    """Raises jsonschema.ValidationError if the document does not match the schema of its kind."""
    jsonschema.validate(document, SHAPES[document["kind"]])


def complaints(documents: list[dict]) -> list[list[str]]:
    """The violations of the projects' own schemas in each document."""
    if not documents:
        return []
    modules = os.environ.get("PARLEY_TEST_NODE_MODULES", chart.ROOT / "target" / "tools" / "node_modules")
    command = ["node", chart.HERE / "crds.mjs", modules]
    ended = subprocess.run(command, input=json.dumps(documents), capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(ended.stderr)
    return json.loads(ended.stdout)
