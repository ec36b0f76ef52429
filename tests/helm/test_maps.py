"""Checks labels and annotations that values add to the chart's own: each map has each key once, and no key that selectors use is overridden."""

import copy
import json
import unittest

from helm_python.errors import HelmError

import chart

# Enables every object that has labels or annotations, on either database.
ALL = {
    "image": {"repository": "registry.example.com/parley"},
    "networkPolicy": {"ingressNamespaces": ["ingress-nginx"], "monitoringNamespaces": ["monitoring"]},
    "ingress": {name: {"enabled": True, "hosts": [f"{name}.example.com"]} for name in ("grpc", "http")},
    "grpcRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True},
}
POSTGRES = ALL | {
    "database": {"existingSecret": "parley-database"},
    "migrations": {"mode": "job"},
    "autoscaling": {"enabled": True},
}
SQLITE = ALL | {"database": {"engine": "sqlite"}, "replicas": 1}


def values_with(path: tuple) -> tuple[str, dict]:
    """Values that render the object of a map. Only SQLite has a volume."""
    return ("sqlite", SQLITE) if path[0] == "persistence" else ("postgres", POSTGRES)


def map_values(schema: dict, definitions: dict, path: tuple = ()) -> list[tuple]:
    """The paths of values that are maps of labels or annotations, according to the schema: everything of type `strings`."""
    if schema.get("$ref") == "#/$defs/strings":
        return [path]
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
    return [found for name, inner in schema.get("properties", {}).items() for found in map_values(inner, definitions, (*path, name))]


def with_key(values: dict, path: tuple, key: str) -> dict:
    changed = copy.deepcopy(values)
    place = changed
    for name in path:
        place = place.setdefault(name, {})
    place[key] = "of-the-user"
    return changed


def metadata(document: dict) -> list[dict]:
    """The metadata of an object and of its pods."""
    template = document.get("spec", {}).get("template", {})
    return [found for found in (document["metadata"], template.get("metadata")) if found]


class Maps(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        schema = json.loads((chart.CHART / "values.schema.json").read_text())
        cls.paths = map_values(schema, schema["$defs"])
        cls.before = {name: chart.objects(chart.render(values)) for name, values in (("postgres", POSTGRES), ("sqlite", SQLITE))}
        maps = [found.get(kind, {}) for documents in cls.before.values() for document in documents for found in metadata(document) for kind in ("labels", "annotations")]
        cls.keys = sorted({key for found in maps for key in found})

    def test_the_maps_and_the_keys_are_found(self):
        names = {".".join(path) for path in self.paths}
        self.assertLessEqual({"commonLabels", "podLabels", "podAnnotations", "deploymentAnnotations", "service.annotations", "dashboard.labels"}, names)
        self.assertLessEqual({"app.kubernetes.io/name", "checksum/config", "helm.sh/resource-policy", "grafana_dashboard", "helm.sh/hook"}, set(self.keys))

    def test_each_map_accepts_or_refuses_each_key_of_the_chart(self):
        refused = set()
        for path in self.paths:
            database, values = values_with(path)
            for key in self.keys:
                name = ".".join(path)
                with self.subTest(value=name, key=key):
                    try:
                        # The loader rejects duplicate keys.
                        after = chart.objects(chart.render(with_key(values, path, key)))
                    except HelmError as error:
                        self.assertIn(f"{name} has {key}", str(error))
                        refused.add((name, key))
                        continue
                    self.keeps_what_is_selected(self.before[database], after)
        for name in ("commonLabels", "podLabels", "service.labels", "serviceMonitor.labels", "prometheusRule.labels", "dashboard.labels"):
            for key in ("name", "instance", "component", "managed-by"):
                self.assertIn((name, f"app.kubernetes.io/{key}"), refused)
        self.assertIn(("podAnnotations", "checksum/config"), refused)
        self.assertNotIn(("commonLabels", "app.kubernetes.io/part-of"), refused)

    def keeps_what_is_selected(self, before, after):
        """Checks that the objects are the same, every selector matches the same objects, and Helm's own annotations are unchanged."""
        self.assertEqual([(one["kind"], one["metadata"]["name"]) for one in before], [(one["kind"], one["metadata"]["name"]) for one in after])
        for old, new in zip(before, after, strict=True):
            for was, now in zip(metadata(old), metadata(new), strict=True):
                for key in ("name", "instance", "component", "managed-by"):
                    self.assertEqual(was["labels"][f"app.kubernetes.io/{key}"], now["labels"][f"app.kubernetes.io/{key}"])
                for key in ("helm.sh/hook", "helm.sh/resource-policy", "checksum/config"):
                    if key in was.get("annotations", {}):
                        self.assertEqual(was["annotations"][key], now["annotations"][key])

    def test_more_specific_values_override_general_labels(self):
        path = chart.HERE / "values" / "service.yaml"
        pod = chart.one(path, "Deployment")["spec"]["template"]["metadata"]
        self.assertEqual(pod["labels"]["app.kubernetes.io/part-of"], "shop")
        self.assertEqual(pod["labels"]["app.kubernetes.io/version"], "9")
        self.assertEqual(pod["labels"]["example.com/mesh"], "on")
        self.assertEqual(pod["annotations"]["kubectl.kubernetes.io/default-container"], "proxy")
        for document in chart.of_kind(path, "Service", "ConfigMap", "Ingress"):
            self.assertEqual(document["metadata"]["labels"]["app.kubernetes.io/part-of"], "shop")
            self.assertEqual(document["metadata"]["labels"]["app.kubernetes.io/version"], "0.1.0")

    def test_duplicate_keys_are_detected(self):
        with self.assertRaisesRegex(Exception, "duplicate keys"):
            chart.objects({"one.yaml": "kind: Service\nmetadata:\n  labels:\n    a: b\n    a: c\n"})


if __name__ == "__main__":
    unittest.main()
