"""Checks docker-compose.yaml as far as possible without a container engine: its services, mounts, and the program with its variables; and runs
the commands of docs/compose.md against the program."""

import json
import re
import shlex
import subprocess
import tomllib
import unittest

import yaml

import chart
import program

COMPOSE = yaml.safe_load((chart.ROOT / "docker-compose.yaml").read_text())
PAGE = (chart.ROOT / "docs" / "compose.md").read_text()
PARLEYS = [service for name, service in COMPOSE["services"].items() if name.startswith("parley-")]


class Compose(unittest.TestCase):
    def test_all_services_are_defined(self):
        self.assertEqual(
            set(COMPOSE["services"]), {"parley-1", "parley-2", "postgres", "nats", "collector", "tempo", "prometheus", "grafana"}
        )

    def test_images_have_versions(self):
        for name, service in COMPOSE["services"].items():
            with self.subTest(service=name):
                self.assertTrue("build" in service or re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", service["image"]), service.get("image"))

    def test_mounted_files_and_volumes_exist(self):
        for name, service in COMPOSE["services"].items():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                with self.subTest(service=name, source=source):
                    if source.startswith("."):
                        self.assertTrue((chart.ROOT / source).exists())
                    else:
                        self.assertIn(source, COMPOSE["volumes"])

    def test_ports_are_bound_to_loopback(self):
        for service in COMPOSE["services"].values():
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), port)

    def test_no_two_services_share_a_port(self):
        ports = [port.rsplit(":", 1)[0] for service in COMPOSE["services"].values() for port in service.get("ports", [])]
        self.assertEqual(len(ports), len(set(ports)))

    def test_program_accepts_the_settings(self):
        defaults = tomllib.loads((chart.ROOT / "src" / "config.default.toml").read_text())
        known = {f"PARLEY_{table}_{key}".upper() for table, keys in defaults.items() for key in keys}
        for service in PARLEYS:
            variables = service["environment"]
            ours = {name for name in variables if name.startswith("PARLEY_")}
            self.assertLessEqual(ours, known)
            nowhere = {"PARLEY_ADMIN_ADDR": "127.0.0.1:1"}
            ended = program.run(["healthcheck"], {name: variables[name] for name in ours} | nowhere)
            # It would be 78 if a setting were invalid.
            self.assertEqual((ended.returncode, "127.0.0.1:1" in ended.stderr), (1, True), ended.stderr)

    def test_prometheus_scrapes_every_replica(self):
        asked = yaml.safe_load((chart.ROOT / "docker" / "prometheus.yaml").read_text())
        targets = {target for job in asked["scrape_configs"] for group in job["static_configs"] for target in group["targets"]}
        self.assertEqual(targets, {f"{name}:9464" for name in COMPOSE["services"] if name.startswith("parley-")})

    def test_traces_are_routed_from_the_program_to_grafana(self):
        services = COMPOSE["services"]
        for service in PARLEYS:
            self.assertEqual(service["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"], "http://collector:4317")
        collector = self.file("collector")
        exporters = [collector["exporters"][name] for name in collector["service"]["pipelines"]["traces"]["exporters"]]
        tempo = self.file("tempo")
        taken = tempo["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].rsplit(":", 1)[1]
        self.assertIn(f"tempo:{taken}", [exporter.get("endpoint") for exporter in exporters])
        for path in [tempo["storage"]["trace"]["wal"]["path"], tempo["storage"]["trace"]["local"]["path"]]:
            self.assertTrue(any(path.startswith(place.split(":")[0]) for place in services["tempo"]["tmpfs"]), path)
        sources = {source["type"]: source for source in self.file("grafana")["datasources"]}
        self.assertEqual(sources["tempo"]["url"], f"http://tempo:{tempo['server']['http_listen_port']}")
        self.assertIn("--enable-feature=exemplar-storage", services["prometheus"]["command"])
        leads = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
        self.assertEqual(leads, [{"name": "trace_id", "datasourceUid": sources["tempo"]["uid"]}])

    def test_replicas_have_distinct_instance_ids(self):
        for name, service in COMPOSE["services"].items():
            if service in PARLEYS:
                self.assertEqual(service["hostname"], name)
                self.assertEqual(service["environment"]["OTEL_RESOURCE_ATTRIBUTES"], f"service.instance.id={name}")
                self.assertEqual(service["image"], PARLEYS[0]["image"])

    def file(self, name):
        return yaml.safe_load((chart.ROOT / "docker" / f"{name}.yaml").read_text())


class Page(unittest.TestCase):
    """Runs the indented commands of the page in order. One process replaces both replicas."""

    @classmethod
    def setUpClass(cls):
        variables = PARLEYS[0]["environment"]
        settings = {name: text for name, text in variables.items() if name.startswith("PARLEY_BOOTSTRAP_")}
        cls.program = cls.enterClassContext(program.Program("", settings))
        cls.commands = [line.strip() for line in PAGE.splitlines() if line.startswith("    ")]

    def test_addresses_match_the_services(self):
        published = {port.removeprefix("127.0.0.1:").split(":")[0] for service in COMPOSE["services"].values() for port in service.get("ports", [])}
        self.assertEqual(set(re.findall(r"localhost:(\d+)", PAGE)), published)
        for token in re.findall(r"an-administrator-[a-z-]+|the-operator-[a-z0-9-]+", PAGE):
            self.assertIn(token, PARLEYS[0]["environment"].values())
        for service in re.findall(r"docker compose (?:exec|stop|restart|logs --follow) ([\w-]+)", PAGE):
            self.assertIn(service, COMPOSE["services"])

    def test_the_compose_file_and_the_readme_name_the_same_command(self):
        self.assertEqual(self.commands[0], "docker compose up --build --wait")
        self.assertIn(f"#   {self.commands[0]}\n", (chart.ROOT / "docker-compose.yaml").read_text())
        self.assertIn(f"`{self.commands[0]}`", (chart.ROOT / "README.md").read_text())

    def test_commands_have_the_documented_result(self):
        answers = {}
        for command in self.commands[1:]:
            with self.subTest(command=command):
                answers[command] = self.run_command(command)
        texts = [message["content"] for answer in answers.values() if isinstance(answer, dict) for message in answer.get("payload", [])]
        self.assertEqual(texts, ["Where is my order?"])
        streams = [answer for answer in answers.values() if isinstance(answer, str) and "message.created" in answer]
        self.assertEqual(len(streams), 2)

    def run_command(self, command):
        """The result of a command: JSON of a call, text of a stream or of the program. Streams are read up to the agent's reply."""
        words = shlex.split(command)
        if words[:3] == ["docker", "compose", "exec"]:
            self.assertEqual(words[4], "/usr/local/bin/parley")
            words = [program.BINARY, *words[5:]]
        else:
            self.assertEqual(words[0], "curl")
            words = [re.sub(r"localhost:808[01]", self.program.addresses["http"], word) for word in [*words, "--fail-with-body"]]
        environment = self.program.environment | {"PARLEY_SERVER": f"http://{self.program.addresses['grpc']}"}
        if "tail" in words or "-sSN" in words:
            return self.follow(words, environment, "It left today.")
        # `doctor` accepts ports that the running program uses.
        ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=program.PATIENCE_SECONDS, check=False)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        return ended.stdout if words[0] == program.BINARY else json.loads(ended.stdout)

    def follow(self, words, environment, last):
        following = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            found = ""
            for line in following.stdout:
                found += line
                if last in line:
                    return found
            self.fail(f"the stream ended before {last!r}: {found}")
        finally:
            following.kill()
            following.wait(program.PATIENCE_SECONDS)
            following.stdout.close()


if __name__ == "__main__":
    unittest.main()
