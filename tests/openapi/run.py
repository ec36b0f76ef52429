"""Runs schemathesis against the description of the REST API: no response may be a server error, or have a status, content type or
schema that is not described.

    python tests/openapi/run.py PROGRAM [SECONDS] [SEED]

The program is started with an empty SQLite database; there are two runs, one with an administrator's token and one with the operator's. Calls
that remove the caller's own permissions are excluded; Rust tests cover them one by one.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ADMINISTRATOR = "administrator-of-the-tests-1"
OPERATOR = "the-operator-of-the-tests-1"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# These calls end the caller's own membership, user or account; and the event stream ends only with its reader.
ENDS = ["followEvents", "deleteAgent", "updateAgent", "removeAccountUser", "setAccountUser", "deletePlatformUser", "deletePlatformAccount", "updatePlatformAccount"]


# Generated requests come from one address and exceed its limits: these are the limits that other tests disable too, one per line.
LIMITS_OFF = Path(__file__).parent.parent / "support" / "limits_off.txt"


def start(program: str, home: str) -> tuple[subprocess.Popen, str]:
    """Starts the program; returns it and the URL of its REST API."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PARLEY_", "OTEL_"))}
    environment |= {
        "PARLEY_BOOTSTRAP_TOKEN": ADMINISTRATOR,
        "PARLEY_BOOTSTRAP_PLATFORM_TOKEN": OPERATOR,
        "PARLEY_GRPC_ADDR": "127.0.0.1:0",
        "PARLEY_HTTP_ADDR": "127.0.0.1:0",
        "PARLEY_ADMIN_ADDR": "127.0.0.1:0",
        "PARLEY_LOG_FORMAT": "json",
        # Mails are accepted, but never delivered.
        "PARLEY_MAIL_URL": "smtp://127.0.0.1:9",
    }
    environment |= {f"PARLEY_LIMITS_{limit}": "0" for limit in LIMITS_OFF.read_text().split()}
    log = Path(home) / "log"
    with log.open("w") as out:
        server = subprocess.Popen([program, "serve"], cwd=home, env=environment, stdout=subprocess.DEVNULL, stderr=out)
    for _ in range(300):
        for line in log.read_text().splitlines():
            entry = json.loads(line)
            if entry.get("listener") == "http":
                return server, f"http://{entry['address']}"
        try:
            server.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        break
    raise SystemExit(f"the program did not start:\n{log.read_text()}")


def run(root: str, home: str, token: str, seconds: int, seed: str, selection: list[str]) -> int:
    excluded = [part for name in ENDS for part in ("--exclude-operation-id", name)]
    command = [Path(sys.executable).parent / "st", "run", f"{root}/openapi.json", "--header", f"api_access_token: {token}"]
    command += ["--phases", "fuzzing", "--max-examples", "20", "--checks", CHECKS, "--max-time", str(seconds), "--seed", seed]
    command += ["--suppress-health-check", "all", "--warnings", "off", "--no-color", *excluded, *selection]
    print("schemathesis, seed", seed, "with", "the operator's token" if token == OPERATOR else "an administrator's token", flush=True)
    # It writes its cache to the working directory.
    return subprocess.run(command, check=False, cwd=home).returncode


def main() -> int:
    program = str(Path(sys.argv[1]).resolve())
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    seed = sys.argv[3] if len(sys.argv) > 3 else str(int.from_bytes(os.urandom(4), "big"))
    with tempfile.TemporaryDirectory() as home:
        server, root = start(program, home)
        try:
            failed = run(root, home, ADMINISTRATOR, seconds, seed, ["--exclude-path-regex", "^/platform/"])
            failed = run(root, home, OPERATOR, seconds // 2, seed, ["--include-path-regex", "^/platform/"]) or failed
        finally:
            server.terminate()
            ended = server.wait(60)
        if ended != 0:
            print((Path(home) / "log").read_text()[-4000:])
            return ended
    return failed


if __name__ == "__main__":
    sys.exit(main())
