"""Checks the documentation: links resolve, files that it names exist, and addresses in the cluster match the chart's services."""

import re
import unittest

import chart

PAGES = sorted(
    page for pattern in ("*.md", "docs/**/*.md", "helm/**/*.md", "bench/**/*.md", "tests/**/*.md") for page in chart.ROOT.glob(pattern)
)
# Folders of the repository whose files pages may name.
FOLDERS = "bench|crates|docker|docs|examples|helm|proto|src|tests"


def anchors(page) -> set[str]:
    """The anchors of a page's headings, as GitHub and similar hosts generate them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


class Links(unittest.TestCase):
    def test_links_resolve_to_files_and_headings(self):
        found = 0
        for page in PAGES:
            for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
                if re.match(r"[a-z]+:", link):
                    continue
                found += 1
                file, _, anchor = link.partition("#")
                target = (page.parent / file).resolve() if file else page
                with self.subTest(page=page.name, link=link):
                    self.assertTrue(target.exists())
                    self.assertTrue(not anchor or anchor in anchors(target))
        self.assertGreater(found, 20)

    def test_files_that_pages_name_exist(self):
        for page in PAGES:
            for path in re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", page.read_text()):
                with self.subTest(page=page.name, path=path):
                    self.assertTrue((chart.ROOT / path).exists())

    def test_listed_library_versions_are_the_tested_ones(self):
        source = (chart.ROOT / "xtask" / "src" / "checks" / "tools" / "client_libraries.rs").read_text()
        packages = " ".join(re.findall(r"^const CLIENT_\w+_PACKAGES: .*? = \[(.*?)\];$", source, re.MULTILINE | re.DOTALL))
        tested = dict(re.findall(r'"(@?[\w./-]+?)(?:==|@)([\d.]+)"', packages))
        listed = dict(re.findall(r"^\| \[([^]]+)\]\(\S+\) \|[^|]*\| ([\d.]+) \|", (chart.ROOT / "docs" / "clients.md").read_text(), re.MULTILINE))
        # Only the flows need these two packages, users do not.
        self.assertEqual({name: version for name, version in tested.items() if name not in ("ws", "playwright-core")}, listed)

    def test_cluster_addresses_match_the_services(self):
        texts = chart.render(chart.values(chart.HERE / "values" / "postgres.yaml"), release="parley")
        ports = {
            document["metadata"]["name"]: {str(port["port"]) for port in document["spec"]["ports"]}
            for document in chart.objects(texts)
            if document["kind"] == "Service"
        }
        page = (chart.ROOT / "docs" / "kubernetes.md").read_text()
        named = re.findall(r"\b([a-z-]+)\.NAMESPACE\.svc:(\d+)", page)
        named += [(name, port) for name, numbers in re.findall(r"service/([a-z-]+) ((?:\d+ ?)+)", page) for port in numbers.split()]
        self.assertGreater(len(named), 2)
        for name, port in named:
            self.assertIn(port, ports[name])


if __name__ == "__main__":
    unittest.main()
