"""Compares the chart with the running program: variables, the configuration file, probes, the drain, and the test pod."""

import concurrent.futures
import re
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import unittest

import grpc

import chart
import program

sys.path.insert(0, str(chart.ROOT / "helm"))
import generate  # noqa: E402, found by the line above

POSTGRES = chart.HERE / "values" / "postgres.yaml"
# Placeholders for the keys of Secrets and ConfigMaps.
REFERENCES = {
    "PARLEY_DATABASE_URL": "postgres://ana:hunter2@database/parley",
    "PARLEY_BOOTSTRAP_TOKEN": program.TOKEN,
    "PARLEY_BOOTSTRAP_PLATFORM_TOKEN": program.TOKEN,
    "PARLEY_MAIL_URL": "smtp://ana:hunter2@mail:587?tls=required",
    "PARLEY_NATS_URL": "nats://ana:hunter2@nats:4222",
    "PARLEY_AUTH_CACHE_SECONDS": "7",
    "PARLEY_TOKEN": program.TOKEN,
    "SERVICE_INSTANCE_ID": "3f0c6e7a-6f0e-4b57-9a53-0a8f5a6f3c11",
}
# Nothing listens there.
NOWHERE = "127.0.0.1:1"


class Configuration(unittest.TestCase):
    def test_every_variable_and_key_is_known(self):
        defaults = tomllib.loads((chart.ROOT / "src" / "config.default.toml").read_text())
        known = {f"PARLEY_{table}_{key}".upper() for table, keys in defaults.items() for key in keys}
        known |= {f"PARLEY_{key}_FILE".replace(".", "_").upper() for key in generate.secrets()}
        known |= {"OTEL_RESOURCE_ATTRIBUTES", "SERVICE_INSTANCE_ID", "PARLEY_CONFIG", "PARLEY_SERVER", "PARLEY_TOKEN", "PARLEY_CA_FILE", "PARLEY_CLIENT_CERT_FILE", "PARLEY_CLIENT_KEY_FILE"}
        for path in chart.values_files("values"):
            with self.subTest(values=path.stem):
                for table, keys in tomllib.loads(chart.configuration(path)).items():
                    self.assertLessEqual(keys.keys(), defaults[table].keys())
                others = {variable["name"] for variable in chart.values(path).get("extraEnv", []) if not variable["name"].startswith("PARLEY_")}
                for _, _, spec in chart.pods(path):
                    for container in chart.own_containers(spec):
                        names = [variable["name"] for variable in container.get("env", [])]
                        self.assertLessEqual(set(names), known | others)
                        self.assertEqual(len(names), len(set(names)), names)

    def test_config_values_cover_every_key_except_secrets(self):
        defaults = tomllib.loads((chart.ROOT / "src" / "config.default.toml").read_text())
        keys = {f"{table}.{key}" for table, keys in defaults.items() for key in keys}
        full = tomllib.loads(chart.configuration(chart.HERE / "values" / "config.yaml"))
        said = {f"{table}.{key}" for table, keys in full.items() for key in keys}
        variables = chart.one(POSTGRES, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
        mounted = chart.one(POSTGRES, "Deployment")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        folders = {mount["mountPath"] for mount in mounted if mount["name"].startswith("secret-")}
        hidden = {v["name"].removesuffix("_FILE") for v in variables if v.get("value", "").rpartition("/")[0] in folders}
        self.assertEqual(hidden, {f"PARLEY_{key}".replace(".", "_").upper() for key in keys - said})
        self.assertEqual(hidden, {f"PARLEY_{key}".replace(".", "_").upper() for key in generate.secrets()})

    def test_program_accepts_every_configuration(self):
        for path in chart.values_files("values"):
            for kind, _, spec in chart.pods(path):
                with self.subTest(values=path.stem, pod=kind):
                    self.assertEqual(self.verdict(path, spec), (1, True))

    def test_instance_id_is_the_pod_uid(self):
        for path in chart.values_files("values"):
            given = [variable["value"] for variable in chart.values(path).get("extraEnv", []) if variable["name"] == "OTEL_RESOURCE_ATTRIBUTES"]
            container = next(one for one in chart.one(path, "Deployment")["spec"]["template"]["spec"]["containers"] if one["name"] == "parley")
            names = [variable["name"] for variable in container["env"]]
            variables = {variable["name"]: variable for variable in container["env"]}
            with self.subTest(values=path.stem):
                self.assertEqual(variables["OTEL_RESOURCE_ATTRIBUTES"]["value"], ",".join(["service.instance.id=$(SERVICE_INSTANCE_ID)", *given]))
                self.assertEqual(variables["SERVICE_INSTANCE_ID"]["valueFrom"]["fieldRef"]["fieldPath"], "metadata.uid")
                # Kubernetes expands variables that are defined before.
                self.assertLess(names.index("SERVICE_INSTANCE_ID"), names.index("OTEL_RESOURCE_ATTRIBUTES"))

    def test_program_reports_an_invalid_configuration(self):
        spec = chart.one(POSTGRES, "Deployment")["spec"]["template"]["spec"]
        code, _ = self.verdict(POSTGRES, spec, {"PARLEY_WRITER_LANE": "1"})
        self.assertEqual(code, 78)

    def verdict(self, path, spec, more=None):
        """The exit code of `parley healthcheck` with a pod's configuration when nothing listens: 1, unless the configuration is refused."""
        file = self.enterContext(tempfile.NamedTemporaryFile("w", suffix=".toml"))
        file.write(chart.configuration(path))
        file.flush()
        environment = {}
        for variable in spec["containers"][0].get("env", []):
            name, secret = variable["name"], REFERENCES.get(variable["name"].removesuffix("_FILE"))
            environment[name] = variable.get("value", secret)
            if name.endswith("_FILE") and secret:
                mounted = self.enterContext(tempfile.NamedTemporaryFile("w"))
                mounted.write(f"{secret}\n")
                mounted.flush()
                environment[name] = mounted.name
        if environment.get("PARLEY_CONFIG"):
            environment["PARLEY_CONFIG"] = file.name
        ended = program.run(["healthcheck"], environment | {"PARLEY_ADMIN_ADDR": NOWHERE} | (more or {}))
        return ended.returncode, NOWHERE in ended.stderr


class Running(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = cls.enterClassContext(program.Program(chart.configuration(POSTGRES)))

    def test_probes_use_existing_endpoints(self):
        container = chart.one(POSTGRES, "Deployment")["spec"]["template"]["spec"]["containers"][0]
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
            self.assertEqual(self.program.health(container[probe]["grpc"].get("service", "")), "SERVING", probe)
        self.assertEqual(self.program.health("parley.v1.NoSuchService"), "NOT_FOUND")
        secured = chart.one(chart.HERE / "values" / "tls.yaml", "Deployment")["spec"]["template"]["spec"]["containers"][0]
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
            asked = secured[probe]["httpGet"]
            self.assertEqual((asked["port"], self.program.get(asked["path"])[0]), ("admin", 200), probe)
        self.assertIn("database", self.program.get(secured["readinessProbe"]["httpGet"]["path"])[1])

    def test_test_pod_makes_a_call_and_opens_a_stream(self):
        spec = chart.one(POSTGRES, "Pod", "-test")["spec"]
        steps = {container["name"]: container for container in chart.containers(spec)}
        self.assertEqual(list(steps), ["health", "call", "stream", "done"])
        for name in ["health", "call", "done"]:
            ended = program.run(*self.command(spec, steps[name]))
            # The call lists tokens, and this account may not have any.
            said = ended.stderr.replace("no tokens\n", "") if name == "call" else ended.stderr
            self.assertEqual((ended.returncode, said), (0, ""), name)
        self.assertEqual(self.open_streams(), 0)
        arguments, environment = self.command(spec, steps["stream"])
        stream = subprocess.Popen([program.BINARY, *arguments], env=environment, stdout=subprocess.DEVNULL)
        try:
            for _ in range(program.PATIENCE_SECONDS * 20):
                if self.open_streams() == 1 or stream.poll() is not None:
                    break
                time.sleep(0.05)
            self.assertEqual((self.open_streams(), stream.poll()), (1, None))
        finally:
            stream.terminate()
            stream.wait(program.PATIENCE_SECONDS)

    def test_test_pod_fails_with_an_invalid_token(self):
        spec = chart.one(POSTGRES, "Pod", "-test")["spec"]
        for container in chart.containers(spec)[1:3]:
            arguments, environment = self.command(spec, container)
            ended = program.run(arguments, environment | {"PARLEY_TOKEN": "another-token-that-nobody-made"})
            self.assertEqual(ended.returncode, 1, container["name"])

    def test_test_pod_without_a_token_checks_health(self):
        spec = chart.one(chart.HERE / "values" / "sqlite.yaml", "Pod", "-test")["spec"]
        self.assertEqual([container["name"] for container in chart.containers(spec)], ["health", "done"])

    def test_collector_receives_the_instance_id(self):
        received = []
        arrived = threading.Event()

        def take(request, _):
            received.append(request)
            arrived.set()
            return b""

        class Collector(grpc.GenericRpcHandler):
            """Accepts everything that is exported by OTLP."""

            def service(self, details):
                return grpc.unary_unary_rpc_method_handler(take) if details.method.endswith("/Export") else None

        collector = grpc.server(concurrent.futures.ThreadPoolExecutor(2), handlers=[Collector()])
        port = collector.add_insecure_port("127.0.0.1:0")
        collector.start()
        uid = REFERENCES["SERVICE_INSTANCE_ID"]
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
            "OTEL_RESOURCE_ATTRIBUTES": f"service.instance.id={uid}",
        }
        try:
            with program.Program(chart.configuration(POSTGRES), settings):
                self.assertTrue(arrived.wait(program.PATIENCE_SECONDS))
        finally:
            collector.stop(None).wait()
        for request in received:
            # Protobuf prefixes each string with its length.
            for text in ("service.instance.id", uid):
                self.assertIn(bytes([len(text)]) + text.encode(), request)

    def test_terminated_pod_drains(self):
        self.assertEqual(program.Program(chart.configuration(POSTGRES)).stop(), 0)

    def open_streams(self):
        found = re.findall(r"^parley_streams_open(?:\{.*\})? (\d+)$", self.program.get("/metrics")[1], re.MULTILINE)
        return sum(int(one) for one in found)

    def command(self, spec, container):
        """The arguments and the environment of a container, with the service's address replaced by the running program's."""
        service = chart.one(POSTGRES, "Service", "chat-parley")
        host = f"{service['metadata']['name']}.{chart.NAMESPACE}.svc:{service['spec']['ports'][0]['port']}"
        here = self.program.addresses["grpc"]
        environment = {}
        for variable in container.get("env", []):
            text = variable.get("value", REFERENCES.get(variable["name"]))
            environment[variable["name"]] = text.replace(host, here)
        self.assertTrue(any(host in part for part in [*container["args"], *(v.get("value", "") for v in container.get("env", []))]))
        return [part.replace(host, here) for part in container["args"]], environment


if __name__ == "__main__":
    unittest.main()
