"""Checks what the chart renders for every values file: Helm's linter and Kubernetes' schemas accept it, it matches the snapshot, and its parts are consistent.

UPDATE_SNAPSHOTS=1 rewrites the snapshots.
"""

import functools
import os
import subprocess
import sys
import tomllib
import unittest

import kubernetes_validate
import kubernetes_validate.utils
from helm_python.errors import HelmError

import chart
import shapes

# The oldest version that Chart.yaml allows, and the newest whose schemas are available.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]
# Without the cache, it reads its large files again for every document.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)
SNAPSHOTS = chart.HERE / "snapshots"


def each(folder):
    """Runs a test for each values file of a folder."""

    def over_files(test):
        @functools.wraps(test)
        def run(self):
            paths = chart.values_files(folder)
            self.assertGreater(len(paths), 10)
            for path in paths:
                with self.subTest(values=path.stem):
                    test(self, path)

        return run

    return over_files


class EveryValuesFile(unittest.TestCase):
    @each("values")
    def test_lint_passes(self, path):
        self.assertEqual(chart.lint(path)["errors"], [])

    @each("values")
    def test_objects_match_kubernetes_schemas(self, path):
        own = [document for document in chart.documents(path) if document["kind"] in shapes.SHAPES]
        for document, complaints in zip(own, shapes.complaints(own), strict=True):
            self.assertEqual(complaints, [], document["kind"])
            shapes.check(document)
        for document in chart.documents(path):
            if document in own:
                continue
            for version in VERSIONS:
                kubernetes_validate.validate(document, version, strict=True)

    @each("values")
    def test_output_matches_the_snapshot(self, path):
        text = "".join(f"# {name}\n---\n{text}\n" for name, text in chart.rendered(path).items())
        snapshot = SNAPSHOTS / chart.snapshot_name(path)
        if os.environ.get("UPDATE_SNAPSHOTS"):
            snapshot.write_text(text)
        self.assertTrue(snapshot.exists(), "no snapshot: run with UPDATE_SNAPSHOTS=1, and read what was written")
        self.assertEqual(text, snapshot.read_text())

    def test_every_snapshot_has_a_values_file(self):
        names = {chart.snapshot_name(path) for path in chart.values_files("values")}
        self.assertEqual(names, {path.name for path in SNAPSHOTS.iterdir()})

    @each("values")
    def test_names_are_unique_and_short(self, path):
        names = [(document["kind"], document["metadata"]["name"]) for document in chart.documents(path)]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual(max(len(name) for _, name in names), 63)

    @each("values")
    def test_no_secret_is_rendered(self, path):
        self.assertEqual(chart.of_kind(path, "Secret"), [])
        self.assertNotIn("postgres://", "".join(text for name, text in chart.rendered(path).items()))

    @each("values")
    def test_server_secrets_are_mounted_as_files(self, path):
        for kind, _, spec in chart.pods(path):
            if kind == "Pod":
                continue
            volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
            for container in chart.containers(spec):
                for variable in container.get("env", []):
                    self.assertNotIn("secretKeyRef", variable.get("valueFrom", {}), variable["name"])
                for mount in container.get("volumeMounts", []):
                    if mount["name"].startswith("secret-"):
                        self.assertTrue(mount["readOnly"])
                        self.assertEqual(volumes[mount["name"]]["secret"]["defaultMode"], 0o440)

    @each("values")
    def test_admin_port_is_restricted_to_named_callers(self, path):
        for document in chart.of_kind(path, "NetworkPolicy"):
            for rule in document["spec"]["ingress"]:
                # A rule without `from` allows everyone.
                self.assertTrue(rule["from"], rule)
                if "admin" in {port["port"] for port in rule["ports"]}:
                    self.assertNotIn({"podSelector": {}}, rule["from"])
                    self.assertNotIn({"namespaceSelector": {}}, rule["from"])

    def test_default_network_policy_closes_the_admin_port(self):
        for name in ["postgres", "sqlite"]:
            policy = chart.one(chart.HERE / "values" / f"{name}.yaml", "NetworkPolicy")["spec"]
            self.assertEqual(policy["policyTypes"], ["Ingress"])
            ports = [{port["port"] for port in rule["ports"]} for rule in policy["ingress"]]
            self.assertEqual(ports, [{"grpc", "http"}])
            self.assertEqual(policy["ingress"][0]["from"], [{"podSelector": {}}])

    @each("values")
    def test_every_container_has_a_restricted_security_context(self, path):
        for _, _, spec in chart.pods(path):
            self.assertFalse(spec["automountServiceAccountToken"])
            self.assertFalse(spec["enableServiceLinks"])
            self.assertTrue(spec["securityContext"]["runAsNonRoot"])
            self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            for container in chart.containers(spec):
                context = container["securityContext"]
                self.assertTrue(context["readOnlyRootFilesystem"])
                self.assertFalse(context["allowPrivilegeEscalation"])
                self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                self.assertNotRegex(container["image"], ":latest$|^[^:@]*$")

    @each("values")
    def test_selectors_match_only_server_pods(self, path):
        selectors = [document["spec"]["selector"] for document in chart.of_kind(path, "Service")]
        selectors += [document["spec"]["selector"]["matchLabels"] for document in chart.of_kind(path, "Deployment", "PodDisruptionBudget")]
        selectors += [document["spec"]["podSelector"]["matchLabels"] for document in chart.of_kind(path, "NetworkPolicy")]
        self.assertGreaterEqual(len(selectors), 4)
        for kind, labels, _ in chart.pods(path):
            for selector in selectors:
                self.assertEqual(chart.matches(selector, labels), kind == "Deployment")

    @each("values")
    def test_service_ports_match_container_ports(self, path):
        ports = {port["name"] for port in self.server(path)["ports"]}
        for document in chart.of_kind(path, "Service"):
            self.assertLessEqual({port["targetPort"] for port in document["spec"]["ports"]}, ports)
            self.assertTrue(all(port["appProtocol"] for port in document["spec"]["ports"]))
        for document in chart.of_kind(path, "NetworkPolicy"):
            self.assertLessEqual({port["port"] for rule in document["spec"]["ingress"] for port in rule["ports"]}, ports)

    @each("values")
    def test_routes_and_ingresses_reference_the_service(self, path):
        service = chart.one(path, "Service", chart.one(path, "Deployment")["metadata"]["name"])
        numbers = {port["name"]: port["port"] for port in service["spec"]["ports"]}
        for document in chart.of_kind(path, "GRPCRoute", "HTTPRoute"):
            listener = document["kind"].removesuffix("Route").lower()
            backend = {"name": service["metadata"]["name"], "port": numbers[listener]}
            self.assertEqual([rule["backendRefs"] for rule in document["spec"]["rules"]], [[backend]])
        for document in chart.of_kind(path, "Ingress"):
            listener = document["metadata"]["name"].rsplit("-", 1)[1]
            for rule in document["spec"]["rules"]:
                backend = {"name": service["metadata"]["name"], "port": {"name": listener}}
                self.assertEqual({str(path["backend"]["service"]) for path in rule["http"]["paths"]}, {str(backend)})

    @each("values")
    def test_probes_and_services_match_tls_listeners(self, path):
        server = self.server(path)
        variables = {variable["name"] for variable in server["env"]}
        tls = tomllib.loads(chart.configuration(path)).get("tls", {})
        has_certificate = "PARLEY_TLS_CERT_FILE" in variables or bool(tls.get("cert_file"))
        listeners = tls.get("listeners", "grpc,http").split(",") if has_certificate else []
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            # Kubelets cannot probe gRPC over TLS.
            self.assertEqual("grpc" in server[probe], "grpc" not in listeners)
            self.assertNotIn("admin", listeners)
        for service in chart.of_kind(path, "Service"):
            for port in service["spec"]["ports"]:
                self.assertEqual(port["appProtocol"] == "https", port["name"] in listeners, port)
        for kind, _, spec in chart.pods(path):
            if kind == "Pod":
                text = str(spec)
                self.assertEqual("--tls" in text, "grpc" in listeners)
                self.assertEqual("https://" in text, "grpc" in listeners and "PARLEY_SERVER" in text)

    @each("values")
    def test_egress_allows_the_servers_dependencies(self, path):
        secrets = {variable["name"] for variable in self.server(path)["env"]}
        for document in chart.of_kind(path, "NetworkPolicy"):
            if "Egress" in document["spec"]["policyTypes"]:
                ports = [port["port"] for rule in document["spec"]["egress"] for port in rule["ports"]]
                wanted = {"PARLEY_DATABASE_URL_FILE", "PARLEY_NATS_URL_FILE", "PARLEY_MAIL_URL_FILE"} & secrets
                self.assertGreaterEqual(len(set(ports) - {53}), len(wanted))

    @each("values")
    def test_service_monitor_selects_one_service(self, path):
        for document in chart.of_kind(path, "ServiceMonitor"):
            wanted = document["spec"]["selector"]["matchLabels"]
            found = [service for service in chart.of_kind(path, "Service") if chart.matches(wanted, service["metadata"]["labels"])]
            self.assertEqual(len(found), 1)
            ports = {port["name"] for port in found[0]["spec"]["ports"]}
            self.assertIn(document["spec"]["endpoints"][0]["port"], ports)

    @each("values")
    def test_termination_grace_period_covers_the_drain(self, path):
        spec = chart.one(path, "Deployment")["spec"]["template"]["spec"]
        pause = self.server(path).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        grace = tomllib.loads(chart.configuration(path))["shutdown"]["grace_seconds"]
        self.assertGreater(spec["terminationGracePeriodSeconds"], pause + grace)

    @each("values")
    def test_sqlite_has_one_replica_a_volume_and_strategy_recreate(self, path):
        deployment = chart.one(path, "Deployment")["spec"]
        claims = [volume for volume in deployment["template"]["spec"]["volumes"] if "persistentVolumeClaim" in volume]
        sqlite = chart.values(path).get("database", {}).get("engine") == "sqlite"
        self.assertEqual(len(claims), int(sqlite))
        self.assertEqual(deployment["strategy"]["type"] == "Recreate", sqlite)
        if sqlite:
            self.assertEqual(deployment["replicas"], 1)

    def test_configuration_change_restarts_pods(self):
        sums = set()
        for name in ["postgres", "config", "sqlite"]:
            template = chart.one(chart.HERE / "values" / f"{name}.yaml", "Deployment")["spec"]["template"]
            sums.add(template["metadata"]["annotations"]["checksum/config"])
        self.assertEqual(len(sums), 3)

    @each("refused")
    def test_contradictory_values_are_refused_with_a_message(self, path):
        sentences = [line.removeprefix("# refused: ") for line in path.read_text().splitlines() if line.startswith("# refused: ")]
        self.assertTrue(sentences)
        with self.assertRaises(HelmError) as refused:
            chart.rendered(path)
        for sentence in sentences:
            self.assertIn(sentence, str(refused.exception))
        self.assertNotIn("hunter2", str(refused.exception))

    def test_unknown_fields_of_custom_resources_are_detected(self):
        route = chart.one(chart.HERE / "values" / "gateway.yaml", "HTTPRoute")
        wrong = {**route, "spec": {**route["spec"], "parentRefs": [{"name": 3}], "rules": [{"timeout": {"request": "0s"}}]}}
        complaints = shapes.complaints([wrong])[0]
        self.assertTrue(any("/spec/parentRefs/0/name" in found for found in complaints), complaints)
        self.assertIn("/spec/rules/0/timeout: no such field", complaints)

    def server(self, path):
        spec = chart.one(path, "Deployment")["spec"]["template"]["spec"]
        return next(container for container in spec["containers"] if container["name"] == "parley")


class Files(unittest.TestCase):
    def test_readme_and_schema_are_up_to_date(self):
        generated = subprocess.run([sys.executable, chart.ROOT / "helm" / "generate.py", "--check"], capture_output=True, text=True, check=False)
        self.assertEqual((generated.returncode, generated.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
