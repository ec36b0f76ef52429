"""Generates code from the contract for the languages whose packages it declares, and checks that every message, enum and service is in the expected
package. The code is not compiled.

    python tests/grpc/generate.py

Needs Debian's packages protobuf-compiler, protoc-gen-go, protoc-gen-go-grpc and protobuf-compiler-grpc-java-plugin, and the Python package protobuf.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2

ROOT = Path(__file__).parent.parent.parent
PROTO = ROOT / "proto"
FILES = sorted(str(path.relative_to(PROTO)) for path in (PROTO / "parley" / "v1").glob("*.proto"))


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is not installed"
    return found


def run(*options: str) -> None:
    subprocess.run([program("protoc"), f"-I{PROTO}", *options, *FILES], check=True)


def generated(out: Path, *options: str) -> dict[str, str]:
    """The files that protoc writes with these options, by path."""
    out.mkdir()
    run(*(option.format(out=out) for option in options))
    return {str(path.relative_to(out)): path.read_text(errors="replace") for path in out.rglob("*") if path.is_file()}


def check(language: str, files: dict[str, str], expected: dict[str, str]) -> None:
    """Checks that every expected file exists with the expected text, that there are no others, and that no two names differ only by case."""
    missing, more = expected.keys() - files.keys(), files.keys() - expected.keys()
    assert not missing and not more, f"{language}: without {sorted(missing)[:5]}, with {sorted(more)[:5]}"
    for path, text in expected.items():
        assert text in files[path], f"{language}: {path} has no {text!r}"
    assert len({path.lower() for path in files}) == len(files), f"{language}: two files differ by case only"
    print(f"{language}: {len(files)} files")


def camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def main() -> int:
    with tempfile.TemporaryDirectory() as home:
        home = Path(home)
        run(f"--descriptor_set_out={home / 'set'}")
        contract = descriptor_pb2.FileDescriptorSet.FromString((home / "set").read_bytes()).file
        stems = {file.name: Path(file.name).stem for file in contract}
        types = [kind.name for file in contract for kind in (*file.message_type, *file.enum_type)]
        services = [service.name for file in contract for service in file.service]
        assert types and services and len(contract) == len(FILES)

        files = generated(home / "go", "--go_out={out}", "--go-grpc_out={out}")
        expected = {f"parley/v1/{stem}.pb.go": "package parleyv1\n" for stem in stems.values()}
        expected |= {f"parley/v1/{stems[file.name]}_grpc.pb.go": f"New{file.service[0].name}Client(" for file in contract if file.service}
        check("Go", files, expected)

        files = generated(home / "java", "--java_out={out}", f"--plugin=protoc-gen-grpc-java={program('grpc_java_plugin')}", "--grpc-java_out={out}")
        expected = {f"com/parley/v1/{name}.java": "package com.parley.v1;" for name in types}
        # With one file per message, there is an additional interface for each message, but not for an enum.
        messages = {message.name for file in contract for message in file.message_type}
        expected |= {f"com/parley/v1/{name}OrBuilder.java": f"interface {name}OrBuilder" for name in messages}
        expected |= {f"com/parley/v1/{camel(stem)}Proto.java": "package com.parley.v1;" for stem in stems.values()}
        expected |= {f"com/parley/v1/{name}Grpc.java": f"public final class {name}Grpc" for name in services}
        check("Java", files, expected)

        files = generated(home / "csharp", "--csharp_out={out}")
        check("C#", files, {f"{camel(stem)}.cs": "namespace Parley.V1 {" for stem in stems.values()})

        files = generated(home / "ruby", "--ruby_out={out}")
        check("Ruby", files, {f"parley/v1/{stem}_pb.rb": "module Parley\n  module V1\n" for stem in stems.values()})

        files = generated(home / "php", "--php_out={out}")
        names = {path: text for path, text in files.items() if not path.startswith("GPBMetadata/")}
        assert all(text.count("namespace Parley\\V1") == 1 for text in names.values())
        assert {f"Parley/V1/{name}.php" for name in types} <= names.keys()
        print(f"PHP: {len(files)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
