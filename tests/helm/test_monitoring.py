"""Checks that alerts, dashboard and autoscaler use only metrics that the running program exports, and that each alert has a runbook."""

import json
import unittest

import promql_parser

import chart
import program

MONITORING = chart.HERE / "values" / "monitoring.yaml"
OWN = chart.HERE / "values" / "monitoring-own.yaml"
RUNBOOKS = chart.ROOT / "docs" / "runbooks"
# The sections of every runbook, in this order.
SECTIONS = ["## What it means", "## Who notices", "## What to look at", "## What to do"]
# Prometheus itself records `up` for every target, and these labels for targets that it discovers in Kubernetes.
OF_PROMETHEUS = {"up": set()}
# Exported as soon as there is a durable consumer; tests/it/stream/consume.rs tests it.
OF_CONSUMERS = {"parley_consumer_lag_events": {"account", "consumer", "shard"}}
TARGET_LABELS = {"job", "namespace", "pod", "instance", "service", "endpoint", "container"}


def parts(node) -> list:
    """The node of an expression and everything below it."""
    below = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "param", "vector_selector")] + list(getattr(node, "args", None) or [])
    return [node] + [part for child in below if child is not None for part in parts(child)]


def asked(expression: str) -> tuple[set[str], set[str]]:
    """The metrics that an expression uses, and the labels it selects and groups by. Fails on invalid PromQL."""
    metrics, labels = set(), set()
    for part in parts(promql_parser.parse(expression)):
        if isinstance(part, promql_parser.VectorSelector):
            metrics.add(part.name)
            labels.update(matcher.name for matcher in part.matchers.matchers)
        modifier = getattr(part, "modifier", None)
        for found in (getattr(modifier, "labels", None), getattr(getattr(modifier, "matching", None), "labels", None)):
            labels.update(found or [])
    return metrics, labels


def alerts(path) -> dict[str, dict]:
    rules = chart.one(path, "PrometheusRule")["spec"]["groups"][0]["rules"]
    return {rule["alert"]: rule for rule in rules}


def panels() -> list[str]:
    dashboard = json.loads(chart.one(MONITORING, "ConfigMap", "-dashboard")["data"]["parley.json"])
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with program.Program(chart.configuration(MONITORING)) as running:
            running.busy()
            cls.exported = running.exported() | OF_PROMETHEUS | OF_CONSUMERS

    def check(self, expression):
        metrics, labels = asked(expression)
        self.assertTrue(metrics)
        self.assertLessEqual(metrics, self.exported.keys())
        self.assertLessEqual(labels, TARGET_LABELS.union(*(self.exported[metric] for metric in metrics)))

    def test_alerts_use_exported_metrics(self):
        for path in [MONITORING, OWN]:
            for name, rule in alerts(path).items():
                with self.subTest(values=path.stem, alert=name):
                    self.check(rule["expr"])

    def test_dashboard_uses_exported_metrics(self):
        self.assertGreater(len(panels()), 3)
        for expression in panels():
            with self.subTest(expression=expression):
                self.check(expression)

    def test_dashboard_shows_every_exported_metric(self):
        shown = set().union(*(asked(expression)[0] for expression in panels()))
        for name in self.exported:
            # One of its series is enough for a histogram.
            parts_of_it = {name} | {name.rsplit("_", 1)[0] + suffix for suffix in ("_bucket", "_sum", "_count") if name.endswith(("_bucket", "_sum", "_count"))}
            with self.subTest(metric=name):
                self.assertTrue(parts_of_it & shown, "no panel shows it")

    def test_autoscaler_uses_exported_metrics(self):
        metrics = chart.one(chart.HERE / "values" / "autoscaling.yaml", "HorizontalPodAutoscaler")["spec"]["metrics"]
        names = {metric["pods"]["metric"]["name"] for metric in metrics if metric["type"] == "Pods"}
        self.assertEqual(len(names), 1)
        self.assertLessEqual(names, self.exported.keys())

    def test_unknown_metrics_and_labels_are_detected(self):
        with self.assertRaises(AssertionError):
            self.check("rate(parley_no_such_metric_total[5m]) > 0")
        with self.assertRaises(AssertionError):
            self.check("sum by (no_such_label) (parley_streams_open) > 0")


class Runbooks(unittest.TestCase):
    def test_alerts_and_runbooks_correspond(self):
        names = alerts(MONITORING).keys()
        self.assertGreater(len(names), 3)
        self.assertEqual({f"{name}.md" for name in names} | {"README.md"}, {page.name for page in RUNBOOKS.iterdir()})
        listed = (RUNBOOKS / "README.md").read_text()
        for name, rule in alerts(MONITORING).items():
            with self.subTest(alert=name):
                lines = (RUNBOOKS / f"{name}.md").read_text().splitlines()
                self.assertEqual(lines[0], f"# {name}")
                self.assertEqual([line for line in lines if line.startswith("## ")], SECTIONS)
                self.assertIn(f"[{name}]({name}.md) | {rule['labels']['severity']} |", listed)
                # A path without a host is not a usable link.
                self.assertEqual(rule["annotations"].keys(), {"summary"})

    def test_values_select_series_runbooks_and_alerts(self):
        rules = alerts(OWN)
        self.assertEqual(alerts(MONITORING).keys() - rules.keys(), {"ParleyStreamsUneven"})
        for name, rule in rules.items():
            self.assertEqual(rule["annotations"]["runbook_url"], f"https://runbooks.example.com/parley/{name}.md")
            self.assertIn('job="chat"}', rule["expr"])
        self.assertIn("0.8 * 1000000", rules["ParleyStreamsNearLimit"]["expr"])


if __name__ == "__main__":
    unittest.main()
