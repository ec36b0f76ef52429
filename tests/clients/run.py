"""Runs published third-party libraries for Chatwoot's API, and a browser, against the program: each flow asserts what its library returns.

    python tests/clients/run.py PROGRAM [FLOW…]

Each flow runs against its own process, on an empty SQLite database. `./test clients` installs the libraries, one folder for each Python
library: they need different versions of the same packages. A flow prints one line and ends with 0 when everything held.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parent.parent / "target" / "tools" / "clients"
# No flow takes this long; this detects hangs.
TIMEOUT_SECONDS = 60
ADMINISTRATOR = "administrator-of-the-clients-1"
OPERATOR = "the-operator-of-the-clients-1"
INBOX = "inbox-a"

PYTHON = {name: [sys.executable, "-B", HERE / f"{name}_flow.py"] for name in ("chatwoot_sdk", "chatwoot_client", "chatwoot_python_client")}
NODE = {name: ["node", HERE / f"{name}_flow.mjs"] for name in ("figuro_sdk", "actioncable", "eventsource", "browser", "docs")}
FLOWS = PYTHON | NODE


def start(program: str, home: Path, settings: dict[str, str]) -> tuple[subprocess.Popen, str]:
    """Starts the program on free ports; returns it and the URL of its REST API."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PARLEY_", "OTEL_"))}
    environment |= {
        "PARLEY_BOOTSTRAP_TOKEN": ADMINISTRATOR,
        "PARLEY_BOOTSTRAP_PLATFORM_TOKEN": OPERATOR,
        "PARLEY_BOOTSTRAP_INBOX_IDENTIFIER": INBOX,
        "PARLEY_GRPC_ADDR": "127.0.0.1:0",
        "PARLEY_HTTP_ADDR": "127.0.0.1:0",
        "PARLEY_ADMIN_ADDR": "127.0.0.1:0",
        "PARLEY_LOG_FORMAT": "json",
        "PARLEY_FILES_URL": f"file:{home}/files",
    }
    log = home / "log"
    with log.open("w") as out:
        server = subprocess.Popen([program, "serve"], cwd=home, env=environment | settings, stdout=subprocess.DEVNULL, stderr=out)
    for _ in range(600):
        # The last line may be incomplete.
        for line in log.read_text().split("\n")[:-1]:
            entry = json.loads(line) if line.startswith("{") else {}
            if entry.get("listener") == "http":
                return server, f"http://{entry['address']}"
        if server.poll() is not None:
            break
        time.sleep(0.05)
    server.kill()
    raise SystemExit(f"the program did not start:\n{log.read_text()}")


class Page(BaseHTTPRequestHandler):
    """An empty page, and the library that its scripts import."""

    def do_GET(self):
        library = TOOLS / "node_modules" / "@rails" / "actioncable" / "app" / "assets" / "javascripts" / "actioncable.esm.js"
        script = self.path == "/actioncable.js"
        body = library.read_bytes() if script else b"<!doctype html><title>A page of another origin</title>"
        self.send_response(200)
        self.send_header("content-type", "text/javascript" if script else "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def run(program: str, name: str) -> bool:
    """Runs one flow; returns whether it passed."""
    pages = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{pages.server_port}"
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        server, url = start(program, home, {"PARLEY_HTTP_CORS_ALLOWED_ORIGINS": origin})
        environment = os.environ | {
            "PARLEY_URL": url,
            "PARLEY_TOKEN": ADMINISTRATOR,
            "PARLEY_PLATFORM_TOKEN": OPERATOR,
            "PARLEY_INBOX": INBOX,
            "PARLEY_PAGE": origin,
            "PARLEY_CLIENTS": str(TOOLS),
            "PYTHONPATH": str(TOOLS / "python" / name),
        }
        ended = f"did not end within {TIMEOUT_SECONDS} s"
        try:
            flow = subprocess.run(FLOWS[name], cwd=home, env=environment, check=False, timeout=TIMEOUT_SECONDS).returncode
            ended = f"ended with {flow}"
        except subprocess.TimeoutExpired:
            flow = None
        finally:
            server.terminate()
            code = server.wait(TIMEOUT_SECONDS)
            pages.shutdown()
            pages.server_close()
        if code != 0 or flow != 0:
            print(f"{name}: the flow {ended}, the program ended with {code}; the end of its log:")
            print((home / "log").read_text()[-4000:], flush=True)
        return code == 0 and flow == 0


def main() -> int:
    program = str(Path(sys.argv[1]).resolve())
    failed = [name for name in sys.argv[2:] or FLOWS if not run(program, name)]
    if failed:
        print("failed:", ", ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
