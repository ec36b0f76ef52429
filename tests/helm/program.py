"""Runs the program, so that tests can compare the chart and the alerts with it. No assertions."""

import json
import os
import re
import select
import signal
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import grpc

import chart

TOKEN = "a-token-for-the-tests-of-the-chart"
BINARY = Path(os.environ.get("PARLEY_TEST_BINARY", chart.ROOT / "target" / "debug" / "parley"))
if not BINARY.exists():
    raise RuntimeError(f"{BINARY} is not there: run 'cargo build', or name another by PARLEY_TEST_BINARY")
# Long enough for a slow machine; no test asserts times.
PATIENCE_SECONDS = 60


def run(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess:
    """Runs a command of the program with only the given environment."""
    return subprocess.run([BINARY, *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


class Program:
    """A server on a new SQLite file and free ports, configured by a TOML file as in a container. Use it with `with`."""

    def __init__(self, toml: str, settings: dict[str, str] | None = None):
        self.folder = tempfile.TemporaryDirectory()
        home = Path(self.folder.name)
        (home / "parley.toml").write_text(toml)
        self.environment = {
            "PARLEY_CONFIG": str(home / "parley.toml"),
            "PARLEY_DATABASE_URL": f"sqlite://{home}/parley.db?mode=rwc",
            "PARLEY_GRPC_ADDR": "127.0.0.1:0",
            "PARLEY_HTTP_ADDR": "127.0.0.1:0",
            "PARLEY_ADMIN_ADDR": "127.0.0.1:0",
            "PARLEY_BOOTSTRAP_TOKEN": TOKEN,
            "PARLEY_LOG_FORMAT": "json",
        } | (settings or {})
        self.log = (home / "log").open("w+")
        self.process = subprocess.Popen([BINARY, "serve"], env=self.environment, stdout=subprocess.DEVNULL, stderr=self.log)
        try:
            self.addresses = listening(self.process, home / "log")
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self) -> int:
        """Stops the server as the kubelet does; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_SECONDS)
        self.log.close()
        self.folder.cleanup()
        return code

    def get(self, path: str) -> tuple[int, str]:
        """A response of the admin port."""
        try:
            with urllib.request.urlopen(f"http://{self.addresses['admin']}{path}", timeout=PATIENCE_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def health(self, service: str) -> str:
        """The gRPC health of a service, requested as the kubelet does: the name of a status, or of an error."""
        request = bytes([0x0A, len(service)]) + service.encode() if service else b""
        with grpc.insecure_channel(self.addresses["grpc"]) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            try:
                answer = check(request, timeout=PATIENCE_SECONDS)
            except grpc.RpcError as error:
                return error.code().name
        return {b"\x08\x01": "SERVING", b"\x08\x02": "NOT_SERVING"}.get(answer, repr(answer))

    def busy(self) -> None:
        """Causes events and subscribes to them: metrics without a value are not exported."""
        environment = {"PARLEY_SERVER": f"http://{self.addresses['grpc']}", "PARLEY_TOKEN": TOKEN}
        arguments = [BINARY, "tail", "--account", "1", "--from", "latest"]
        watching = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            contact = self.post("contacts", {"name": "Ana", "inbox_id": 1})["payload"]["contact"]["id"]
            conversation = self.post("conversations", {"inbox_id": 1, "contact_id": contact})["id"]
            seen = False
            while not seen:
                self.post(f"conversations/{conversation}/messages", {"content": "hello"})
                seen = bool(select.select([watching.stdout], [], [], 0.05)[0])
        finally:
            watching.terminate()
            watching.wait(PATIENCE_SECONDS)
            watching.stdout.close()

    def post(self, path: str, body: dict) -> dict:
        """The response of the REST API to a body for a path of account 1."""
        url = f"http://{self.addresses['http']}/api/v1/accounts/1/{path}"
        headers = {"api_access_token": TOKEN, "content-type": "application/json"}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return json.load(answer)

    def exported(self) -> dict[str, set[str]]:
        """The metrics of /metrics, each with its label names."""
        found: dict[str, set[str]] = {}
        for line in self.get("/metrics")[1].splitlines():
            if line and not line.startswith("#"):
                name, labels = re.match(r"([A-Za-z_:][A-Za-z0-9_:]*)(\{.*\})?", line).groups()
                found.setdefault(name, set()).update(re.findall(r'([a-z_]+)="', labels or ""))
        return found


def listening(process: subprocess.Popen, log: Path) -> dict[str, str]:
    """The address of each listener, from the server's log."""
    addresses: dict[str, str] = {}
    for _ in range(PATIENCE_SECONDS * 20):
        for line in log.read_text().splitlines():
            entry = json.loads(line) if line.startswith("{") else {}
            if entry.get("message") == "listening":
                addresses[entry["listener"]] = entry["address"]
        if len(addresses) == 3:
            return addresses
        if process.poll() is not None:
            break
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            pass
    raise RuntimeError(f"the server does not listen: {log.read_text()}")
