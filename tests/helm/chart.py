"""The chart as Helm's own library renders it, and what the tests take apart. No assertions."""

from functools import cache
from pathlib import Path

import yaml
from helm_python import chart as helm

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CHART = ROOT / "helm" / "parley"
RELEASE, NAMESPACE = "chat", "office"


def values_files(folder: str) -> list[Path]:
    """The values files of `values` (that render) or `refused` (that must not)."""
    return sorted((HERE / folder).glob("*.yaml"))


def values(path: Path) -> dict:
    return yaml.safe_load(path.read_text()) or {}


def lint(path: Path) -> dict:
    """Helm's report for the chart with the values of a file."""
    return helm.lint(CHART, values(path), strict=True)


@cache
def rendered(path: Path) -> dict[str, str]:
    """Each template's text with the values of a file, without empty ones."""
    with helm.Chart.load(CHART) as chart:
        texts = chart.render(values(path), name=RELEASE, namespace=NAMESPACE)
    return {name.removeprefix("parley/templates/"): text.strip() for name, text in sorted(texts.items()) if text.strip()}


@cache
def documents(path: Path) -> list[dict]:
    """The objects of a values file. They are shared: only to be read."""
    return [
        document
        for name, text in rendered(path).items()
        if name.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]


def of_kind(path: Path, *kinds: str) -> list[dict]:
    return [document for document in documents(path) if document["kind"] in kinds]


def one(path: Path, kind: str, suffix: str = "") -> dict:
    """The object of a kind whose name ends so."""
    found = [document for document in of_kind(path, kind) if document["metadata"]["name"].endswith(suffix)]
    if len(found) != 1:
        raise LookupError(f"{path.name}: {len(found)} objects of kind {kind}")
    return found[0]


def configuration(path: Path) -> str:
    """The program's configuration file."""
    data = [document.get("data", {}) for document in of_kind(path, "ConfigMap")]
    return next(files["parley.toml"] for files in data if "parley.toml" in files)


def pods(path: Path) -> list[tuple[str, dict, dict]]:
    """Each pod that the objects make: the kind that makes it, its labels, its spec."""
    found = []
    for document in of_kind(path, "Deployment", "Job", "Pod"):
        pod = document if document["kind"] == "Pod" else document["spec"]["template"]
        found.append((document["kind"], pod["metadata"]["labels"], pod["spec"]))
    return found


def containers(spec: dict) -> list[dict]:
    return spec.get("initContainers", []) + spec["containers"]


def matches(selector: dict, labels: dict) -> bool:
    return selector.items() <= labels.items()
