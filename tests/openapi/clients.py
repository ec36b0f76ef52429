"""Lints the description of the REST API, generates clients from it with the generators' default settings, and calls the program with each.

    python tests/openapi/clients.py PROGRAM NODE_MODULES

Python by openapi-python-client: generated, every module imported, an inbox listed. TypeScript by openapi-typescript: generated, type-checked by tsc together with
calls through it, and run by node. NODE_MODULES has @redocly/cli, openapi-typescript, openapi-fetch and typescript.
"""

import importlib
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from run import ADMINISTRATOR, start  # noqa: E402

# A route that returns the bytes of any file: the generator omits its response.
TOLERATED = {"GET /files/blobs/{link}/{name}"}

CALLS = """
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const [root, token] = process.argv.slice(2) as [string, string];
const client = createClient<paths>({ baseUrl: root, headers: { api_access_token: token } });
const { data, error } = await client.GET("/api/v1/accounts/{account_id}/inboxes", { params: { path: { account_id: 1 } } });
if (!data) throw new Error(JSON.stringify(error));
const name: string = data.payload[0]!.name;
const filtered = await client.POST("/api/v1/accounts/{account_id}/contacts/filter", {
    params: { path: { account_id: 1 } },
    body: { payload: [{ attribute_key: "name", filter_operator: "contains", values: ["a"], query_operator: null }] },
});
if (!filtered.data) throw new Error(JSON.stringify(filtered.error));
console.log(name);
"""


def lint(description: Path, modules: Path) -> None:
    """Fails for everything that Redocly's recommended rules report, including warnings."""
    command = ["node", modules / "@redocly" / "cli" / "bin" / "cli.js", "lint", "--format", "json", "--config", Path(__file__).parent / "redocly.yaml", description]
    environment = os.environ | {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    report = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    if done.returncode != 0 or report.get("problems") != []:
        problems = [f"{one['ruleId']} at {one['location'][0].get('pointer')}: {one['message']}" for one in report.get("problems", [])]
        raise SystemExit("redocly lint:\n" + "\n".join(problems) + done.stderr)
    print("redocly: no error and no warning")


def python(root: str, description: Path, home: Path) -> None:
    out = home / "python"
    command = [Path(sys.executable).parent / "openapi-python-client", "generate", "--path", description, "--output-path", out, "--meta", "none"]
    made = subprocess.run(command, check=False, capture_output=True, text=True, cwd=home, env={"PATH": str(Path(sys.executable).parent)})
    text = made.stdout + made.stderr
    if made.returncode != 0:
        raise SystemExit(f"openapi-python-client:\n{text}")
    warned = set(re.findall(r"WARNING parsing (.+?) within", text))
    if warned - TOLERATED or "Unable to" in text:
        raise SystemExit(f"openapi-python-client left something out:\n{text}")
    out.rename(home / "parley_client")
    sys.path.insert(0, str(home))
    client = importlib.import_module("parley_client")
    modules = [module.name for module in pkgutil.walk_packages(client.__path__, "parley_client.")]
    for name in modules:
        importlib.import_module(name)
    list_inboxes = importlib.import_module("parley_client.api.inboxes.list_inboxes")
    caller = client.AuthenticatedClient(base_url=root, token=ADMINISTRATOR)
    answer = list_inboxes.sync_detailed(1, client=caller)
    assert answer.status_code == 200 and answer.parsed.payload[0].id == 1, answer
    print(f"openapi-python-client: {len(modules)} modules imported, inboxes listed with a bearer token")


def typescript(root: str, description: Path, home: Path, modules: Path) -> None:
    project = home / "typescript"
    project.mkdir()
    (project / "node_modules").symlink_to(modules.resolve())
    (project / "package.json").write_text('{"type": "module"}')

    def run(*command: str) -> str:
        done = subprocess.run(command, check=False, cwd=project, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{command[1]}:\n{done.stdout}{done.stderr}")
        return done.stdout

    run("node", "node_modules/openapi-typescript/bin/cli.js", str(description), "-o", "schema.d.ts")
    (project / "calls.ts").write_text(CALLS)
    (project / "globals.d.ts").write_text("declare const process: { argv: string[] };\n")
    options = {"strict": True, "module": "nodenext", "target": "es2022", "types": [], "lib": ["es2022", "dom"]}
    (project / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["calls.ts", "globals.d.ts"]}))
    run("node", "node_modules/typescript/bin/tsc", "--project", ".")
    name = run("node", "calls.js", root, ADMINISTRATOR).strip()
    assert name, "the name of an inbox"
    print("openapi-typescript: type-checked, inboxes listed")


def main() -> int:
    program, modules = str(Path(sys.argv[1]).resolve()), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as home:
        home = Path(home)
        server, root = start(program, str(home))
        try:
            description = home / "openapi.json"
            with urllib.request.urlopen(f"{root}/openapi.json") as answer, description.open("wb") as file:
                shutil.copyfileobj(answer, file)
            lint(description, modules)
            python(root, description, home)
            typescript(root, description, home, modules)
        finally:
            server.terminate()
            ended = server.wait(60)
    return ended


if __name__ == "__main__":
    sys.exit(main())
