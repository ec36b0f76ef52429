"""Draws comments and log lines at random, for readers who decide whether each is clear and idiomatic: `draw.py [COMMENTS [LOG_LINES]]`.

The hash of the commit is the seed, so that a draw is repeatable and not selective. Comments are those of Rust sources and of the contract, with a
block of lines as one; those of unit tests are excluded. Log lines are the messages of tracing's macros.
"""

import random
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# A line that contains only a comment.
COMMENT = re.compile(r"^\s*//[/!]?\s?(.*)$")
MACRO = re.compile(r"\b(?:tracing::)?(?:error|warn|info|debug|trace)!\(")
# A value in a format string.
PLACEHOLDER = re.compile(r"\{[^}]*\}")
# A string literal, with the `=` before it if it is the value of a field.
LITERAL = re.compile(r'(= ?)?"((?:[^"\\]|\\.)*)"', re.DOTALL)


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def sources() -> list[Path]:
    """The files of the repository that are compiled into the program or the libraries."""
    names = [name for name in git("ls-files", "*.rs", "*.proto").splitlines() if name.split("/")[0] in {"src", "crates", "proto", "build", "build.rs"}]
    return [ROOT / name for name in sorted(names) if not name.endswith("tests.rs") and "/tests/" not in name]


def comments(text: str) -> list[tuple[int, str]]:
    """Blocks of comment lines, each with the number of its first line."""
    found, block, start = [], [], 0
    for number, line in enumerate(text.splitlines(), 1):
        match = COMMENT.match(line)
        if match:
            start = start if block else number
            block.append(match[1])
        elif block:
            found.append((start, "\n".join(block)))
            block = []
    if block:
        found.append((start, "\n".join(block)))
    return [(line, words) for line, words in found if words.strip()]


def log_lines(text: str) -> list[tuple[int, str]]:
    """Messages of log lines: the last literal of each macro that is not the value of a field."""
    found = []
    for match in MACRO.finditer(text):
        end, depth = match.end(), 1
        while end < len(text) and depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        literals = [words for value, words in LITERAL.findall(text[match.end() : end]) if not value]
        # A message that is only a placeholder has no words to judge.
        if literals and PLACEHOLDER.sub("", literals[-1]).strip():
            found.append((text.count("\n", 0, match.start()) + 1, literals[-1]))
    return found


def draw(seed: str, name: str, wanted: int, of) -> None:
    found = []
    for path in sources():
        text = path.read_text().split("#[cfg(test)]\nmod tests {")[0]
        found += [(path.relative_to(ROOT), line, words) for line, words in of(text)]
    chosen = random.Random(f"{seed} {name}").sample(found, min(wanted, len(found)))
    print(f"# {len(chosen)} of {len(found)} {name}, commit {seed}\n")
    for number, (path, line, words) in enumerate(chosen, 1):
        print(f"{number}. {path}:{line}")
        print("".join(f"       {row}\n" for row in words.splitlines()))


def main() -> None:
    wanted = [int(argument) for argument in sys.argv[1:]] + [100, 40][len(sys.argv) - 1 :]
    seed = git("rev-parse", "HEAD").strip()
    draw(seed, "comments", wanted[0], comments)
    draw(seed, "log lines", wanted[1], log_lines)


if __name__ == "__main__":
    main()
