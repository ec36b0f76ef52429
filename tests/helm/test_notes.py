"""Checks that NOTES, which Helm prints after an installation, match the rendered objects: each URL has the scheme, host and port of a service, an
ingress or a route, for every values file."""

import re
import unittest

import chart
from test_chart import each


def listeners_with_tls(path) -> set[str]:
    """The listeners that accept only TLS, according to the services."""
    service = chart.one(path, "Service", chart.one(path, "Deployment")["metadata"]["name"])
    probes = chart.one(path, "Deployment")["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    found = {port["name"] for port in service["spec"]["ports"] if port["appProtocol"] == "https"}
    # Kubelets cannot probe gRPC over TLS.
    return found | ({"grpc"} if "httpGet" in probes else set())


def wanted(path) -> set[tuple[str, str]]:
    """The URLs that NOTES should contain, each with its listener."""
    tls = listeners_with_tls(path)
    urls = set()
    for service in chart.of_kind(path, "Service"):
        name = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
        for port in service["spec"]["ports"]:
            if service["metadata"]["labels"]["app.kubernetes.io/component"] == "server":
                scheme = "https" if port["name"] in tls else "http"
                urls.add((port["name"], f"{scheme}://{name}:{port['port']}"))
            elif service["metadata"]["name"].endswith("-headless") and port["name"] == "grpc":
                urls.add(("grpc", f"dns:///{name}:{port['port']}"))
    for ingress in chart.of_kind(path, "Ingress"):
        listener = ingress["metadata"]["name"].rsplit("-", 1)[1]
        named = [host for entry in ingress["spec"].get("tls", []) for host in entry["hosts"]]
        for rule in ingress["spec"]["rules"]:
            covered = rule["host"] in named or re.sub(r"^[^.]+", "*", rule["host"]) in named
            for found in rule["http"]["paths"]:
                urls.add((listener, f"{'https' if covered else 'http'}://{rule['host']}{found['path'].rstrip('/')}"))
    return urls


class Notes(unittest.TestCase):
    @each("values")
    def test_urls_match_the_rendered_objects(self, path):
        notes = chart.rendered(path)["NOTES.txt"]
        named = {"gRPC": "grpc", "JSON": "http"}
        found, listener = set(), None
        for line in notes.splitlines():
            if match := re.match(r"\s+(gRPC |JSON |     )\s*((?:https?|dns):/\S+)", line):
                listener = named.get(match[1].strip(), listener)
                found.add((listener, match[2]))
        self.assertEqual(found, wanted(path))
        # Other URLs must have the same hosts.
        for url in re.findall(r"https?://[^\s`]+", notes):
            self.assertTrue(any(known.startswith(url) for _, known in found), url)

    @each("values")
    def test_routes_are_listed_with_their_hosts(self, path):
        notes = chart.rendered(path)["NOTES.txt"]
        for route in chart.of_kind(path, "GRPCRoute", "HTTPRoute"):
            for host in route["spec"].get("hostnames", ["any host name of the gateway"]):
                self.assertIn(f"{host}, with the scheme and port of the gateway's listener", notes)

    @each("values")
    def test_nginx_note_appears_only_with_an_ingress(self, path):
        notes = chart.rendered(path)["NOTES.txt"]
        for words in ("underscores_in_headers", "`api-access-token`"):
            self.assertEqual(words in notes, bool(chart.of_kind(path, "Ingress")), words)

    @each("values")
    def test_alert_annotations_have_absolute_urls(self, path):
        for rules in chart.of_kind(path, "PrometheusRule"):
            for rule in rules["spec"]["groups"][0]["rules"]:
                for key, value in rule["annotations"].items():
                    self.assertTrue(key == "summary" or value.startswith("https://"), (key, value))

    def test_values_files_cover_both_schemes(self):
        texts = [chart.rendered(path)["NOTES.txt"] for path in chart.values_files("values")]
        for start in ("gRPC  http://", "gRPC  https://", "JSON  http://", "JSON  https://"):
            self.assertTrue(any(start in text for text in texts), start)


if __name__ == "__main__":
    unittest.main()
