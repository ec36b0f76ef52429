"""Makes what follows from other files: the chart's README.md from the comments of values.yaml, and the part of
values.schema.json that is about `config` from src/config.default.toml. With --check it changes nothing and fails on a difference.

    target/tools/python/bin/python helm/generate.py [--check]

`./test packaging` makes that interpreter; any with PyYAML will do.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

import yaml

CHART = Path(__file__).parent / "parley"
SOURCES = CHART.parent.parent / "src"
DEFAULTS = SOURCES / "config.default.toml"
RULES = SOURCES / "config" / "rules.rs"
LAYERS = SOURCES / "config" / "layers.rs"

# What the comments of config.default.toml do not say in a form that can be read; the rules are those of src/config/rules.rs.
ADDRESS = {"type": "string", "pattern": "^.+:[0-9]{1,5}$"}
TEXTS = {
    "grpc.addr": ADDRESS,
    "http.addr": ADDRESS,
    "admin.addr": ADDRESS,
    "http.base_url": {"type": "string", "pattern": "^(https?://.+)?$"},
    "http.cors_allowed_origins": {"type": "string"},
    "mail.from": {"type": "string", "pattern": "^.+@.+$"},
    "files.url": {"type": "string", "pattern": "^(file:|s3://).+$"},
    "bootstrap.inbox_identifier": {"type": "string", "pattern": "^[A-Za-z0-9_-]{0,255}$"},
    "log.format": {"type": "string", "enum": ["text", "json"]},
    "log.filter": {"type": "string", "minLength": 1},
    "trace.otlp_endpoint": {"type": "string", "pattern": "^(https?://.+)?$"},
}

HEAD = """<!-- Made by helm/generate.py from values.yaml. -->
# Parley on Kubernetes

{description}. Chart {version}, Parley {app_version}, Kubernetes {kube_version}.

`docs/kubernetes.md` in the repository leads through the first installation; `UPGRADING.md` says what to mind between versions.

    kubectl create secret generic parley-database --from-literal=url='postgres://USER:PASSWORD@HOST:5432/DATABASE'
    kubectl create secret generic parley-bootstrap --from-literal=token="$(openssl rand -hex 24)"
    helm install parley helm/parley --set image.repository=registry.example.com/parley \\
        --set database.existingSecret=parley-database --set bootstrap.existingSecret=parley-bootstrap
    helm test parley

Values that do not go together are refused, each in a sentence.

## Values

| value | default | meaning |
|---|---|---|
"""

CONFIG_HEAD = """
## Configuration

Every key that `config` may hold, with the program's own default. Numbers out of their limits are refused before anything is installed.
Secrets are not among them: they come from `database.existingSecret` and `bootstrap.existingSecret`.

| key | default | meaning |
|---|---|---|
"""


def values_rows(text: str) -> list[tuple[str, str, str]]:
    """Each documented value: its path, its default as JSON, its comment. No default for a mapping whose keys have their own."""
    lines = text.splitlines()

    def comment(line: int) -> str:
        found = []
        while line > 0 and lines[line - 1].strip().startswith("#"):
            line -= 1
            found.insert(0, lines[line].strip().removeprefix("#").strip())
        return " ".join(found)

    def plain(node: yaml.Node) -> object:
        return yaml.safe_load(yaml.serialize(node))

    def explained_inside(node: yaml.Node) -> bool:
        inner = node.value[:1] if isinstance(node, yaml.MappingNode) else []
        return any(comment(key.start_mark.line) or explained_inside(value) for key, value in inner)

    def walk(node: yaml.MappingNode, path: str) -> list[tuple[str, str, str]]:
        rows = []
        for key, value in node.value:
            name, said = f"{path}{key.value}", comment(key.start_mark.line)
            if explained_inside(value):
                rows += [(name, "", said)] if said else []
                rows += walk(value, f"{name}.")
            elif said:
                rows.append((name, json.dumps(plain(value)), said))
            else:
                raise SystemExit(f"values.yaml: {name} has no comment")
        return rows

    return walk(yaml.compose(text), "")


def secrets() -> set[str]:
    """The keys that the program never shows. They come from Secrets alone, so they are neither in values nor in the ConfigMap."""
    found = re.search(r"fn is_secret.*?matches!\(\s*key,\s*(.*?)\)", RULES.read_text(), re.DOTALL)
    return set(re.findall(r'"([\w.]+)"', found[1]))


def renamed_keys() -> list[tuple[str, str]]:
    """The deprecated keys that the program still accepts, each with the key that replaces it."""
    found = re.search(r"const RENAMED_KEYS.*?= \[(.*?)\];", LAYERS.read_text(), re.DOTALL)
    return re.findall(r'\("([\w.]+)", "([\w.]+)"\)', found[1])


def config_keys(text: str) -> list[tuple[str, object, str]]:
    """Each key of the configuration that values may hold: dotted, its default, its comment."""
    rows, table, said, hidden = [], "", [], secrets()
    defaults = tomllib.loads(text)
    for line in text.splitlines():
        if line.startswith("#"):
            said.append(line.removeprefix("#").strip())
            continue
        if line.startswith("["):
            table = line.strip("[]")
        elif " = " in line:
            key = line.split(" = ")[0]
            if f"{table}.{key}" not in hidden:
                rows.append((f"{table}.{key}", defaults[table][key], " ".join(said)))
        said = []
    return rows


def key_schema(key: str, default: object, said: str) -> dict:
    """The schema of one key: its type, and the limits that its comment names, as in `1 to 64`."""
    if key in TEXTS:
        return TEXTS[key] | {"description": said}
    if isinstance(default, (bool, str)):
        return {"type": "boolean" if isinstance(default, bool) else "string", "description": said}
    limits = re.search(r"\b(\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)", said)
    if limits is None:
        raise SystemExit(f"config.default.toml: the comment of {key} names no limits, as in `1 to 64`")
    number, kind = (float, "number") if isinstance(default, float) else (int, "integer")
    return {"type": kind, "minimum": number(limits[1]), "maximum": number(limits[2]), "description": said}


def config_schema(keys: list[tuple[str, object, str]], chart_sets: dict) -> dict:
    """The schema of `config`. What the chart sets itself must not be taken away with null: templates read it."""
    tables: dict = {}
    for key, default, said in keys:
        table, name = key.split(".")
        found = tables.setdefault(table, {"type": "object", "additionalProperties": False, "properties": {}})
        found["properties"][name] = key_schema(key, default, said)
    for old, new in renamed_keys():
        (table, old_name), new_name = old.split("."), new.split(".")[1]
        properties = tables[table]["properties"]
        properties[old_name] = properties[new_name] | {"deprecated": True, "description": f"Deprecated: use {new}."}
    for table, names in chart_sets.items():
        tables[table]["required"] = sorted(names)
    return {"type": "object", "additionalProperties": False, "required": sorted(chart_sets), "properties": tables}


def row(name: str, default: str, said: str) -> str:
    shown = f"`{default}`" if default else ""
    return f"| `{name}` | {shown} | {said} |\n"


def made() -> dict[Path, str]:
    """What each file should hold."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    text = (CHART / "values.yaml").read_text()
    keys = config_keys(DEFAULTS.read_text())
    readme = HEAD.format(
        description=chart["description"],
        version=chart["version"],
        app_version=chart["appVersion"],
        kube_version=chart["kubeVersion"].removesuffix("-0"),
    )
    readme += "".join(row(name, default, said) for name, default, said in values_rows(text))
    readme += CONFIG_HEAD
    readme += "".join(row(key, json.dumps(default), said) for key, default, said in keys)
    readme += "".join(row(old, "", f"Deprecated: use `{new}`.") for old, new in renamed_keys())
    schema = json.loads((CHART / "values.schema.json").read_text())
    schema["properties"]["config"] = config_schema(keys, yaml.safe_load(text)["config"])
    return {
        CHART / "README.md": readme,
        CHART / "values.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
    }


def main() -> int:
    stale = [(path, text) for path, text in made().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path, _ in stale:
            print(f"{path.relative_to(CHART.parent.parent)} is out of step: run '{sys.executable} helm/generate.py'", file=sys.stderr)
        return 1 if stale else 0
    for path, text in stale:
        path.write_text(text)
        print(f"{path.relative_to(CHART.parent.parent)} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
