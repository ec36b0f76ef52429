"""Builds the actual image of the Dockerfile, without a registry, and runs the program in it: `./test image`.

The base images are made from Debian packages with debootstrap: the build image has gcc and this machine's Rust toolchain, the runtime image has the
files of the few packages that distroless/cc consists of, and so no shell. buildah runs the Dockerfile's stages; the resulting image is mounted
and run as its user, with its root read-only. Takes a build with the profile `dist`, `--twice` two; `--quick` leaves the optimiser out, to try the
stages; `--program FILE` puts a program that is there already in the place of what the first stage builds, to try the last.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
WORK = ROOT / "target" / "image"
MIRROR = os.environ.get("TEST_DEBIAN_MIRROR", "http://deb.debian.org/debian")
SUITE = "bookworm"
# The packages of gcr.io/distroless/cc, as far as they affect a program.
RUNTIME_PACKAGES = ["base-files", "libc6", "libgcc-s1", "gcc-12-base", "netbase", "tzdata", "ca-certificates"]
BUILD, RUNTIME, IMAGE = "localhost/parley-build", "localhost/parley-runtime", "localhost/parley"
PATIENCE_SECONDS = 30
QUICK, TWICE = "--quick" in sys.argv[1:], "--twice" in sys.argv[1:]
PROGRAM = Path(sys.argv[sys.argv.index("--program") + 1]) if "--program" in sys.argv[1:] else None


def say(text: str) -> None:
    print(f"image: {text}", flush=True)


def run(*command: object, **more: object) -> str:
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True, **more).stdout.strip()


def buildah(*arguments: object, **more: object) -> str:
    return run("buildah", "--root", WORK / "store", "--runroot", WORK / "run", "--storage-driver", driver(), *arguments, **more)


def driver() -> str:
    """Uses overlay layers if the kernel supports them; otherwise each layer is a copy of the one below."""
    return "overlay" if "overlay" in Path("/proc/filesystems").read_text() else "vfs"


def debian(target: Path, packages: list[str]) -> None:
    if not (target / "etc" / "debian_version").exists():
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        run("debootstrap", "--variant=minbase", f"--include={','.join(packages)}", SUITE, target, MIRROR)
        shutil.rmtree(target / "var" / "cache" / "apt")


def builder_base() -> None:
    root = WORK / "builder"
    debian(root, ["gcc", "libc6-dev", "ca-certificates"])
    if not (root / "usr/local/bin/cargo").exists():
        toolchain = Path(run("rustc", "--print", "sysroot", cwd=ROOT))
        for part in ["bin", "lib", "libexec"]:
            if (toolchain / part).exists():
                shutil.copytree(toolchain / part, root / "usr/local" / part, symlinks=True, dirs_exist_ok=True)
    # This machine's trusted certificates: crates may be fetched through a proxy with its own certificate.
    shutil.rmtree(root / "etc/ssl/certs")
    shutil.copytree("/etc/ssl/certs", root / "etc/ssl/certs")
    (root / "usr/local/cargo").mkdir(exist_ok=True)
    config = ["--env", "CARGO_HOME=/usr/local/cargo", "--env", "PATH=/usr/local/bin:/usr/bin:/bin"]
    if QUICK:
        for setting in ["OPT_LEVEL=0", "LTO=off", "CODEGEN_UNITS=16"]:
            config += ["--env", f"CARGO_PROFILE_DIST_{setting}"]
    commit(root, BUILD, config)


def runtime_base() -> None:
    full, root = WORK / "debian", WORK / "runtime"
    debian(full, RUNTIME_PACKAGES)
    shutil.rmtree(root, ignore_errors=True)
    for link in ["bin", "sbin", "lib", "lib64"]:
        (root / "usr" / link).mkdir(parents=True)
        (root / link).symlink_to(f"usr/{link}")
    for package in RUNTIME_PACKAGES:
        lists = [*full.glob(f"var/lib/dpkg/info/{package}.list"), *full.glob(f"var/lib/dpkg/info/{package}:*.list")]
        for line in lists[0].read_text().splitlines():
            source, target = full / line.lstrip("/"), root / line.lstrip("/")
            # Files that need a shell, or are documentation.
            if source.is_dir() and not source.is_symlink():
                target.mkdir(parents=True, exist_ok=True)
            elif not re.match(r"/(usr/)?s?bin/|/usr/share/(doc|man|lintian)/", line) and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
    # Created by the package's trigger, so it is in no file list.
    (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
    shutil.copy(full / "etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs")
    (root / "tmp").mkdir(exist_ok=True)
    commit(root, RUNTIME, [])


def commit(root: Path, name: str, config: list[str]) -> None:
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, root, "/")
    if config:
        buildah("config", *config, container)
    buildah("commit", "--quiet", "--rm", container, name)


def build(cached: bool) -> str:
    """Builds the image, and returns the digest of its binary."""
    arguments = ["--build-arg", f"BUILD_IMAGE={BUILD}", "--build-arg", f"RUNTIME_IMAGE={RUNTIME}", "--build-arg", "REVISION=tested"]
    arguments += ["--layers"] if cached else ["--no-cache"]
    began, context = time.monotonic(), last_stage(PROGRAM) if PROGRAM else WORK / "sources"
    command = ["bud", "--isolation", "chroot", "--format", "docker", "--pull-never", *arguments, "--tag", IMAGE, "--file", context / "Dockerfile", context]
    with (WORK / "build.log").open("w") as log:
        try:
            buildah(*command, stderr=log)
        except subprocess.CalledProcessError:
            sys.exit(f"image: the build failed, see {WORK / 'build.log'}")
    with Mounted() as root:
        digest = sha256((root / "usr/local/bin/parley").read_bytes()).hexdigest()
    say(f"built in {time.monotonic() - began:.0f} s, binary {digest[:16]}")
    return digest


def sources() -> None:
    """Copies the inputs of the Dockerfile: a file that changes meanwhile would make two builds differ."""
    aside = WORK / "sources"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for name in ["Dockerfile", "Cargo.toml", "Cargo.lock", "build.rs"]:
        shutil.copy2(ROOT / name, aside)
    for name in ["proto", "src", "crates", "docker"]:
        shutil.copytree(ROOT / name, aside / name, symlinks=True)
    (aside / "xtask").mkdir()
    shutil.copy2(ROOT / "xtask" / "Cargo.toml", aside / "xtask")
    (aside / "docs").mkdir()
    for name in ["json-api-coverage.md", "json-api-differences.md"]:
        shutil.copy2(ROOT / "docs" / name, aside / "docs")


def last_stage(program: Path) -> Path:
    """A build context with the unchanged last stage of the Dockerfile, after a stage that contains the program."""
    context = WORK / "context"
    shutil.rmtree(context, ignore_errors=True)
    (context / "data").mkdir(parents=True)
    shutil.copy(program, context / "parley")
    shutil.copytree(ROOT / "docker", context / "docker")
    last = "FROM ${RUNTIME_IMAGE}\n" + (ROOT / "Dockerfile").read_text().split("FROM ${RUNTIME_IMAGE}\n")[1]
    first = "ARG RUNTIME_IMAGE\nFROM scratch AS build\nCOPY parley /image/usr/local/bin/parley\nCOPY data /image/data\n"
    (context / "Dockerfile").write_text(first + last)
    return context


class Mounted:
    """The mounted root of the image."""

    def __enter__(self) -> Path:
        self.container = buildah("from", "--pull-never", IMAGE)
        return Path(buildah("mount", self.container))

    def __exit__(self, *_: object) -> None:
        buildah("umount", self.container)
        buildah("rm", self.container)


def check() -> None:
    """Checks the image's metadata, and runs its program."""
    config = json.loads(buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]
    assert config["User"] == "65532:65532", config["User"]
    assert config["Entrypoint"] == ["/usr/local/bin/parley"] and config["Cmd"] == ["serve"], config
    assert config["Healthcheck"]["Test"] == ["CMD", "/usr/local/bin/parley", "healthcheck"], config
    assert config["Labels"]["org.opencontainers.image.revision"] == "tested", config["Labels"]
    with Mounted() as root:
        assert not [name for name in ("sh", "bash", "dash") if (root / "bin" / name).exists()], "there is a shell"
        writable = [path for path in root.rglob("*") if not path.is_symlink() and path.lstat().st_uid == 65532]
        assert writable == [root / "data"], writable
        work(root, config)


def work(root: Path, config: dict) -> None:
    """Checks that the program serves and is healthy, exits on SIGTERM, and is not healthy afterwards."""
    environment = dict(entry.split("=", 1) for entry in config["Env"]) | {"PARLEY_LOG_FORMAT": "json"}
    # Other ports, because the default ones may be in use on this machine.
    environment |= {"PARLEY_GRPC_ADDR": "127.0.0.1:0", "PARLEY_HTTP_ADDR": "127.0.0.1:0", "PARLEY_ADMIN_ADDR": "127.0.0.1:39464"}
    server = start(root, config, config["Cmd"], environment)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (code := start(root, config, config["Healthcheck"]["Test"][2:], environment).wait()) != 0:
            assert server.poll() is None and time.monotonic() < deadline, f"not healthy: {code}"
            time.sleep(0.5)
        assert start(root, config, ["doctor"], environment).wait() == 0, "doctor finds something"
    finally:
        server.send_signal(signal.SIGTERM)
        ended = server.wait(PATIENCE_SECONDS)
    assert ended == 0, f"the server ended with {ended}"
    assert start(root, config, ["healthcheck"], environment).wait() == 1, "healthy after its end"


def start(root: Path, config: dict, arguments: list[str], environment: dict) -> subprocess.Popen:
    """Starts a command in the image, as its user, in its working directory; everything except its volumes is mounted read-only, in a separate namespace."""
    user, group = config["User"].split(":")
    volumes = "".join(f'mount --bind "$1{volume}" "$1{volume}"; ' for volume in config["Volumes"])
    script = f'mount --bind "$1" "$1"; {volumes}mount -o remount,bind,ro "$1"; shift; exec "$@"'
    inside = ["--root", str(root), "--wd", config["WorkingDir"], "--setgid", group, "--setuid", user, "--"]
    entered = ["unshare", "--mount", "sh", "-ec", script, "sh", str(root), "setpriv", "--clear-groups", "unshare", *inside]
    command = [*entered, *config["Entrypoint"], *arguments]
    with (WORK / "program.log").open("a") as log:
        return subprocess.Popen(command, env=environment | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, stdout=log, stderr=log)


def main() -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    say(f"bases by debootstrap ({SUITE}), stages by {run('buildah', '--version').split(' (')[0]} without a daemon, storage {driver()}")
    if PROGRAM:
        say(f"the first stage was left out: {PROGRAM} in its place")
    else:
        builder_base()
    runtime_base()
    sources()
    digest = build(cached=True)
    check()
    if QUICK:
        say("the optimiser was left out: not the bytes of a release")
    say("its program ran as 65532 on a read-only root without a shell: healthy, asked by doctor, ended by SIGTERM")
    if TWICE:
        assert build(cached=False) == digest, "two builds differ"
        say("two builds gave the same bytes")
    else:
        say("not compared: two builds (--twice)")


if __name__ == "__main__":
    main()
