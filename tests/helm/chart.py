"""Renders the chart with Helm's own library, and extracts the parts that tests check. No assertions."""

from functools import cache
from pathlib import Path

import yaml
from helm_python import chart as helm

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CHART = ROOT / "helm" / "parley"
EXAMPLES = ROOT / "helm" / "examples"
RELEASE, NAMESPACE = "chat", "office"


class StrictLoader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):
    """Rejects duplicate keys in a mapping, as Flux and kustomize do; YAML itself forbids them."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"duplicate keys {sorted(twice)}", node.start_mark)
        return super().construct_mapping(node, deep)


def values_files(folder: str) -> list[Path]:
    """The values files of `values` (which must render, including the examples) or `refused` (which must not)."""
    examples = EXAMPLES.glob("*.yaml") if folder == "values" else []
    return sorted([*(HERE / folder).glob("*.yaml"), *examples])


def snapshot_name(path: Path) -> str:
    """The name of a values file's snapshot."""
    return f"example-{path.name}" if path.parent == EXAMPLES else path.name


def values(path: Path) -> dict:
    return yaml.safe_load(path.read_text()) or {}


def lint(path: Path) -> dict:
    """Helm's report for the chart with the values of a file."""
    return helm.lint(CHART, values(path), strict=True)


def render(given: dict, release: str = RELEASE) -> dict[str, str]:
    """Each template's text with these values, without empty ones."""
    with helm.Chart.load(CHART) as chart:
        texts = chart.render(given, name=release, namespace=NAMESPACE)
    return {name.removeprefix("parley/templates/"): text.strip() for name, text in sorted(texts.items()) if text.strip()}


@cache
def rendered(path: Path) -> dict[str, str]:
    """Each template's text with the values of a file, without empty ones."""
    return render(values(path))


def objects(texts: dict[str, str]) -> list[dict]:
    """The objects of rendered templates."""
    found = [yaml.load_all(text, StrictLoader) for name, text in texts.items() if name.endswith(".yaml")]
    return [document for documents in found for document in documents if document]


@cache
def documents(path: Path) -> list[dict]:
    """The objects of a values file. They are shared, so do not modify them."""
    return objects(rendered(path))


def of_kind(path: Path, *kinds: str) -> list[dict]:
    return [document for document in documents(path) if document["kind"] in kinds]


def one(path: Path, kind: str, suffix: str = "") -> dict:
    """The object of a kind whose name has this suffix."""
    found = [document for document in of_kind(path, kind) if document["metadata"]["name"].endswith(suffix)]
    if len(found) != 1:
        raise LookupError(f"{path.name}: {len(found)} objects of kind {kind}")
    return found[0]


def configuration(path: Path) -> str:
    """The program's configuration file."""
    data = [document.get("data", {}) for document in of_kind(path, "ConfigMap")]
    return next(files["parley.toml"] for files in data if "parley.toml" in files)


def pods(path: Path) -> list[tuple[str, dict, dict]]:
    """Each pod that the objects create: the kind of the object, the pod's labels, its spec."""
    found = []
    for document in of_kind(path, "Deployment", "Job", "Pod"):
        pod = document if document["kind"] == "Pod" else document["spec"]["template"]
        found.append((document["kind"], pod["metadata"]["labels"], pod["spec"]))
    return found


def containers(spec: dict) -> list[dict]:
    return spec.get("initContainers", []) + spec["containers"]


def own_containers(spec: dict) -> list[dict]:
    """The containers of a pod that run Parley, without those of `extraContainers` and `extraInitContainers`."""
    return [container for container in containers(spec) if "/parley" in container["image"]]


def matches(selector: dict, labels: dict) -> bool:
    return selector.items() <= labels.items()
