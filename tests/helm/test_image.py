"""Checks the Dockerfile as far as possible without building it: hadolint, its instructions, the files that it copies, the libraries
that the binary links, and the program in an empty root with the files of the last stage."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

import chart
import program

DOCKERFILE = chart.ROOT / "Dockerfile"
# The libraries of gcr.io/distroless/cc, a glibc image for C programs.
BASE_LIBRARIES = {"linux-vdso", "ld-linux-x86-64", "ld-linux-aarch64", "libc", "libm", "libgcc_s", "libdl", "libpthread", "librt"}
KNOWN = {"ARG", "FROM", "WORKDIR", "ENV", "COPY", "RUN", "LABEL", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile: keyword, and the rest on one line."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines()]


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage, FROM first."""
    found: list[list[tuple[str, str]]] = []
    for word, rest in instructions():
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, rest))
    return found


def package() -> dict[str, str]:
    """The package section of the service in Cargo.toml, with values inherited from the workspace."""
    manifest = tomllib.loads((chart.ROOT / "Cargo.toml").read_text())
    return manifest["workspace"]["package"] | {key: value for key, value in manifest["package"].items() if isinstance(value, str)}


def image_environment() -> dict[str, str]:
    """The variables that the image sets."""
    return dict(part.split("=", 1) for word, rest in stages()[-1] if word == "ENV" for part in rest.split())


def build_stage() -> list[tuple[str, str]]:
    """The stage that compiles."""
    return next(stage for stage in stages() if stage[0][1].endswith(" AS build"))


def ignored(path: str) -> bool:
    """Whether .dockerignore excludes a path: the last pattern that matches it, or a parent folder, decides."""
    out = False
    above = [str(part) for part in [Path(path), *Path(path).parents] if str(part) != "."]
    for line in (chart.ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!").strip("/")
        if not pattern or pattern.startswith("#"):
            continue
        if any(fnmatch.fnmatchcase(part, pattern) for part in above):
            out = not line.startswith("!")
    return out


def copied() -> set[str]:
    """The paths that the Dockerfile copies from its build context."""
    found = set()
    for word, rest in instructions():
        if word == "COPY" and "--from=" not in rest:
            found.update(source.strip("/") for source in rest.split()[:-1] if not source.startswith("--"))
    return found


def libraries() -> dict[str, str | None]:
    """The libraries that the binary links: name without version, and file."""
    text = subprocess.run(["ldd", program.BINARY], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in text.splitlines():
        name, _, file = line.split(" (")[0].strip().partition(" => ")
        found[Path(name).name.split(".so")[0]] = file or (name if name.startswith("/") else None)
    return found


class Dockerfile(unittest.TestCase):
    def test_hadolint_reports_nothing(self):
        linted = subprocess.run([Path(sys.executable).with_name("hadolint"), "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
        self.assertEqual((linted.returncode, linted.stdout), (0, ""))

    def test_every_instruction_is_known(self):
        self.assertLessEqual({word for word, _ in instructions()}, KNOWN)

    def test_each_stage_starts_from_a_version(self):
        arguments = dict(rest.split("=", 1) for word, rest in instructions()[:2] if word == "ARG")
        self.assertEqual(len(stages()), 3)
        for stage in stages():
            image = re.sub(r"\$\{(\w+)\}", lambda name: arguments[name[1]], stage[0][1].split()[0])
            self.assertRegex(image, r"^[\w./-]+:[\w.-]+$")
            self.assertFalse(image.endswith(":latest"))

    def test_toolchain_meets_the_minimum_version(self):
        least = package()["rust-version"]
        version = re.search(r"BUILD_IMAGE=rust:(\d+)\.(\d+)", DOCKERFILE.read_text())
        self.assertGreaterEqual(tuple(map(int, version.groups())), tuple(map(int, least.split(".")[:2])))

    def test_toolchain_is_that_of_the_repository(self):
        channel = tomllib.loads((chart.ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
        self.assertRegex(DOCKERFILE.read_text(), rf"BUILD_IMAGE=rust:{re.escape(channel)}-")

    def test_manifest_of_every_member_is_copied(self):
        members = tomllib.loads((chart.ROOT / "Cargo.toml").read_text())["workspace"]["members"]
        manifests = {member.removesuffix("/*") if member.endswith("/*") else f"{member}/Cargo.toml" for member in members}
        self.assertLessEqual(manifests, copied())

    def test_files_that_the_build_reads_are_copied(self):
        read = self.read_by_the_build()
        self.assertIn("crates/proto/build/policy.rs", read)
        for path in read:
            self.assertTrue(any(path == source or path.startswith(f"{source}/") for source in copied()), f"no COPY has {path}")
            self.assertFalse(ignored(path), path)

    def read_by_the_build(self):
        """The files that sources include, except those that only unit tests include."""
        found = set()
        for source in [chart.ROOT / "build.rs", *(chart.ROOT / "src").rglob("*.rs"), *(chart.ROOT / "crates").rglob("*.rs")]:
            if source.name != "tests.rs":
                text = source.read_text().split("#[cfg(test)]")[0]
                for name in re.findall(r'(?:include_str!|include_bytes!)\(\s*"([^"]+)"|#\[path = "([^"]+)"\]', text):
                    found.add(str((source.parent / "".join(name)).resolve().relative_to(chart.ROOT.resolve())))
        return found

    def test_copied_files_exist_and_are_not_ignored(self):
        self.assertLessEqual({"Cargo.toml", "Cargo.lock", "build.rs", "proto", "src", "crates"}, copied())
        for source in copied():
            self.assertTrue((chart.ROOT / source).exists(), source)
            self.assertFalse(ignored(source), source)
        for path in ["target", ".git", "helm", "tests", "docs", "parley.db", "docker/other"]:
            self.assertTrue(ignored(path), path)

    def test_dependencies_have_their_own_layer(self):
        build = [rest for word, rest in build_stage() if word in ("COPY", "RUN")]
        first = next(index for index, rest in enumerate(build) if "cargo build" in rest)
        self.assertEqual(build[:first], ["Cargo.toml Cargo.lock ./", "--from=manifests /crates ./crates", "--from=manifests /xtask ./xtask"])
        self.assertLess(first, build.index("src ./src"))
        self.assertLess(first, build.index("crates ./crates"))
        # The artefacts of the empty sources must not be used for the program.
        self.assertIn("cargo clean --locked --profile dist --workspace", build[-1])
        builds = [rest for rest in build if "cargo build" in rest]
        self.assertEqual(len(builds), 2)
        self.assertTrue(all("--locked --profile dist --package parley" in rest for rest in builds))

    def test_the_build_is_reproducible(self):
        environment = " ".join(rest for word, rest in build_stage() if word == "ENV")
        for part in ["SOURCE_DATE_EPOCH", "--remap-path-prefix=/build=", "-ffile-prefix-map=/build=", "CARGO_INCREMENTAL=0"]:
            self.assertIn(part, environment)

    def test_the_image_runs_without_root_shell_and_secrets(self):
        last = dict(stages()[-1])
        self.assertNotIn("RUN", last)
        self.assertRegex(last["USER"], r"^[1-9]\d*:[1-9]\d*$")
        self.assertEqual(json.loads(last["VOLUME"]), ["/data"])
        self.assertEqual(last["WORKDIR"], "/data")
        self.assertEqual(json.loads(last["ENTRYPOINT"]), ["/usr/local/bin/parley"])
        self.assertEqual(json.loads(last["CMD"]), ["serve"])
        self.assertEqual(image_environment(), {"PARLEY_CONFIG": "/etc/parley/parley.toml", "MIMALLOC_PURGE_DELAY": "100"})
        options, command = last["HEALTHCHECK"].split(" CMD ")
        self.assertEqual(json.loads(command), ["/usr/local/bin/parley", "healthcheck"])
        self.assertIn("--start-period=", options)
        for word, rest in instructions():
            self.assertNotRegex(rest, r"(?i)password|token|curl|wget|sudo", word)

    def test_chart_and_image_have_the_same_user_and_ports(self):
        last = dict(stages()[-1])
        postgres = chart.HERE / "values" / "postgres.yaml"
        spec = chart.one(postgres, "Deployment")["spec"]["template"]["spec"]
        user = spec["securityContext"]
        self.assertEqual(last["USER"], f"{user['runAsUser']}:{user['runAsGroup']}")
        ports = [port["containerPort"] for port in spec["containers"][0]["ports"]]
        self.assertEqual([int(port) for port in last["EXPOSE"].split()], ports)
        self.assertEqual(self.file_ports(), ports)

    def test_labels_match_the_package(self):
        last = dict(stages()[-1])
        labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', last["LABEL"]))
        self.assertEqual((labels["licenses"], labels["description"]), (package()["license"], package()["description"]))
        self.assertLessEqual({"title", "version", "revision", "created"}, labels.keys())
        self.assertIn(("ARG", f"VERSION={package()['version']}"), stages()[-1])
        about = chart.yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
        self.assertEqual((about["appVersion"], about["description"]), (package()["version"], package()["description"]))

    def file_ports(self):
        file = tomllib.loads((chart.ROOT / "docker" / "parley.toml").read_text())
        addresses = [file[table]["addr"] for table in ("grpc", "http", "admin")]
        self.assertTrue(all(address.startswith("0.0.0.0:") for address in addresses))
        return [int(address.rsplit(":", 1)[1]) for address in addresses]


class Binary(unittest.TestCase):
    def test_binary_links_only_libraries_of_the_base_image(self):
        self.assertLessEqual(libraries().keys(), BASE_LIBRARIES)

    @unittest.skipUnless(os.geteuid() == 0, "only root can change the root of a process")
    def test_program_runs_unprivileged_in_an_empty_root(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            self.fill(root)
            log = root.parent / f"{root.name}.log"
            self.addCleanup(log.unlink)
            free = {f"PARLEY_{listener}_ADDR": "127.0.0.1:0" for listener in ("GRPC", "HTTP", "ADMIN")}
            with log.open("w") as errors:
                server = self.start(root, ["serve"], free | {"PARLEY_LOG_FORMAT": "json"}, errors)
            try:
                admin = program.listening(server, log)["admin"]
                check = self.start(root, ["healthcheck"], {"PARLEY_ADMIN_ADDR": admin}, subprocess.DEVNULL)
                self.assertEqual(check.wait(program.PATIENCE_SECONDS), 0)
                self.assertTrue((root / "data" / "parley.db").exists())
            finally:
                server.terminate()
                self.assertEqual(server.wait(program.PATIENCE_SECONDS), 0)
            check = self.start(root, ["healthcheck"], {"PARLEY_ADMIN_ADDR": admin}, subprocess.DEVNULL)
            self.assertEqual(check.wait(program.PATIENCE_SECONDS), 1)

    def fill(self, root):
        """Creates the files of the last stage: the binary, its libraries, its configuration, and a folder that its user can write to."""
        root.chmod(0o755)
        for file in filter(None, libraries().values()):
            target = root / file.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        for source, target in [(program.BINARY, "usr/local/bin/parley"), (chart.ROOT / "docker" / "parley.toml", "etc/parley/parley.toml")]:
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / target)
        (root / "data").mkdir()
        os.chown(root / "data", *self.user())

    def user(self):
        return [int(number) for number in dict(stages()[-1])["USER"].split(":")]

    def start(self, root, command, environment, errors):
        """Starts a command in the root, as the image's user, in the image's working directory. It can write only to /data."""
        user, group = self.user()

        def enter():
            os.chroot(root)
            os.chdir("/data")
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)

        entrypoint = json.loads(dict(stages()[-1])["ENTRYPOINT"])
        return subprocess.Popen(
            entrypoint + command, env=image_environment() | environment, preexec_fn=enter, stdout=subprocess.DEVNULL, stderr=errors
        )


if __name__ == "__main__":
    unittest.main()
