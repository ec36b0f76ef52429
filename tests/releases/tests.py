#!/usr/bin/env python3
"""Records the names of this revision's tests, and finds tests of a release that are missing.

    tests.py list [PROGRAM...] > tests.txt   one per line, `program::module::name`, followed by ` (ignored)` if `./test` runs it only on request
    tests.py compare [RELEASE] [LISTING]     compares a listing (of this revision, unless a file is named) with that of the last release, or another

Without programs, `list` builds and lists all test programs of the workspace with `cargo test --no-run`. `compare` exits with 1 if a test of the release is
missing, is now ignored, or shares its new name with another; and if a line of `renames.txt` matches no test.

`renames.txt` next to a release's `tests.txt` records what became of tests: `OLD = NEW`, where OLD is a regular expression for whole names and NEW may
use its groups (`\\1`). The first matching line applies, once. `OLD = # REASON` is a removed test. Lines that begin with `#` are comments.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
IGNORED = " (ignored)"
# A program without Rust's test harness, so it has no `--list`: a source file names its targets.
FUZZ = "fuzz"
FUZZ_TARGETS = ("tests/fuzz/targets.rs", "crates/*/tests/fuzz/targets.rs")


def output(*command) -> str:
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit code {result.returncode}")
    return result.stdout


def programs() -> list[Path]:
    """The test programs of the workspace."""
    lines = output("cargo", "test", "--locked", "--workspace", "--features", "faults", "--no-run", "--message-format=json").splitlines()
    messages = (json.loads(line) for line in lines if line.startswith("{"))
    return [
        Path(message["executable"])
        for message in messages
        if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]
    ]


def listed(program: Path, *options: str) -> set[str]:
    return set(re.findall(r"^(.+): test$", output(program, "--list", *options), re.MULTILINE))


def names(paths: list[Path]) -> dict[str, bool]:
    """The tests of these programs and the fuzz targets, each with its ignored flag."""
    tests: dict[str, bool] = {}
    for path in paths:
        # Cargo appends a hash to the name of the target.
        program = path.stem.rpartition("-")[0] or path.stem
        if program == FUZZ:
            continue
        ignored = listed(path, "--ignored")
        for test in listed(path):
            name = f"{program}::{test}"
            if name in tests:
                sys.exit(f"{name} is listed twice: two programs have the same name")
            tests[name] = test in ignored
    for pattern in FUZZ_TARGETS:
        for source in ROOT.glob(pattern):
            tests |= {f"{FUZZ}::{name}": False for name in re.findall(r'^\s*name: "(\w+)"', source.read_text(), re.MULTILINE)}
    return tests


def text(tests: dict[str, bool]) -> str:
    return "".join(f"{name}{IGNORED if ignored else ''}\n" for name, ignored in sorted(tests.items()))


def parse(listing: str) -> dict[str, bool]:
    return {line.removesuffix(IGNORED): line.endswith(IGNORED) for line in listing.splitlines() if line}


def rules(path: Path) -> list[tuple[str, re.Pattern, str | None]]:
    """Each line, its pattern, and the new name, or None if the test was removed."""
    found = []
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
        if not line.strip() or line.startswith("#"):
            continue
        old, equals, new = line.partition(" =")
        new, _, reason = (part.strip() for part in new.partition("#"))
        if not equals or not (new or reason):
            sys.exit(f"{path}:{number}: neither OLD = NEW nor OLD = # REASON: {line}")
        found.append((line, re.compile(old.strip()), new or None))
    return found


def last() -> str:
    """The name of the last release."""
    revision = next(line for line in (ROOT / "tests/durability/released").read_text().splitlines() if not line.startswith("#"))
    for path in HERE.glob("*/revision"):
        if path.read_text().strip() == revision:
            return path.parent.name
    sys.exit(f"no folder of {HERE} has the revision {revision} that tests/durability/released names")


def compare(release: str, now: dict[str, bool]) -> bool:
    """Prints the differences; returns whether no test is missing."""
    folder = HERE / release
    before = parse((folder / "tests.txt").read_text())
    known = rules(folder / "renames.txt")
    unused = {line for line, *_ in known}
    became: dict[str, list[str]] = {}
    renamed, removed, missing, newly_ignored = [], [], [], []
    for name, ignored in before.items():
        new = name
        if name not in now:
            for line, pattern, replacement in known:
                if match := pattern.fullmatch(name):
                    unused.discard(line)
                    new = None if replacement is None else match.expand(replacement)
                    break
        if new is None:
            removed.append(name)
        elif new not in now:
            missing.append(name if new == name else f"{name} (as {new})")
        else:
            became.setdefault(new, []).append(name)
            if new != name:
                renamed.append(f"{name} = {new}")
            if now[new] and not ignored:
                newly_ignored.append(new)
    shared = [f"{new}: {', '.join(old)}" for new, old in became.items() if len(old) > 1]
    new = [name for name in now if name not in became]
    for title, lines, is_loss in (
        ("missing", missing, True),
        ("ignored, and was not", newly_ignored, True),
        ("one test for several", shared, True),
        ("lines of renames.txt that apply to none", list(unused), True),
        ("removed", removed, False),
        ("renamed", renamed, False),
        ("new", new, False),
    ):
        if lines:
            print(f"== {title}{'' if not is_loss else ' (an error)'}: {len(lines)}")
            print("".join(f"{line}\n" for line in sorted(lines)), end="")
    print(f"{len(before)} tests of {release}, {len(now)} now: {len(missing)} missing, {len(renamed)} renamed, {len(removed)} removed, {len(new)} new")
    return not (missing or newly_ignored or shared or unused)


def main() -> None:
    match sys.argv[1:]:
        case ["list", *paths]:
            print(text(names([Path(path) for path in paths] or programs())), end="")
        case ["compare", *rest] if len(rest) <= 2:
            now = parse(Path(rest[1]).read_text()) if len(rest) == 2 else names(programs())
            sys.exit(0 if compare(rest[0] if rest else last(), now) else 1)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
