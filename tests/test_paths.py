"""Every file, folder and module that a docstring, a comment or a document names exists."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.test_house import ROOT, files_of_the_project

BUILT = {"__pycache__", "node_modules"}
STUBS = ("kms_grpc", "v1")
"""The folder of the files that protoc generates: their comments are those of protos/."""
BUILT_MODULES = {"kms_grpc.crypto._native", "kms_grpc.bench._yardsticks"}
COMMENTS = {
    ".c": r"/\*.*?\*/|//[^\n]*",
    ".h": r"/\*.*?\*/|//[^\n]*",
    ".mjs": r"/\*.*?\*/|//[^\n]*",
    ".proto": r"/\*.*?\*/|//[^\n]*",
    ".toml": r"#[^\n]*",
    "": r"#[^\n]*",
}
"""How comments look, by a file's suffix; scripts of .ci have none."""

PATH = re.compile(
    r"(?<![\w./$~<{}*:-])"
    r"((?:\.\./)*(?:\.?[\w-]+(?:\.[\w-]+)*/)*[\w-]+(?:\.[\w-]+)*\.(?:py|c|h|proto|md|toml|mjs)"
    r"|(?:kms_grpc|native|tests|protos|\.ci|\.github)/[\w./-]*)"
    r"(?![\w/(*{<]|\.\w)"
)
"""A file name with a suffix of the project's own, with or without folders, or a path from the top of the tree."""
MODULE = re.compile(r"(?<![\w./-])(?:kms_grpc|tests)(?:\.[A-Za-z_]\w*)+")

USERS_FILES = {"kms.toml", "app.py", "main.py", "envelope.py"}
"""Files of a reader's own, in examples."""
OTHERS_FILES = {"descriptor.proto", "google/rpc/status.proto", "pyconfig.h", "asm/hwcap.h"}
"""Files of protobuf, of googleapis, of CPython and of the kernel."""
PLACEHOLDERS = {"NAME", "TOPIC", "VERSION", "OPERATION", "LANGUAGE"}
"""Words that stand for a part of a name."""


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the docstrings and comments of a file with their first lines, or the whole text of a document."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        yield 1, text
    elif path.suffix == ".py":
        yield from python_prose(text)
    else:
        for found in re.finditer(COMMENTS[path.suffix], text, re.DOTALL):
            yield text.count("\n", 0, found.start()) + 1, found[0]


def python_prose(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


@cache
def entries() -> frozenset[str]:
    """Returns every file and folder of the project, by each ending of its path (main.py, cli/main.py)."""
    endings = set()
    for parts in (path.relative_to(ROOT).parts for path in files_of_the_project() if not BUILT & set(path.parts)):
        for end in range(1, len(parts) + 1):
            endings |= {"/".join(parts[start:end]) for start in range(end)}
    return frozenset(endings)


@cache
def contract() -> tuple[str, ...]:
    return tuple(path.read_text("utf-8") for path in sorted((ROOT / "protos").rglob("*.proto")))


def exists(named: str, beside: Path) -> bool:
    named = named.rstrip("./").removesuffix("/")
    return (
        named in entries()
        or (beside / named).exists()
        or named.rsplit("/")[-1] in USERS_FILES | OTHERS_FILES
        or named in OTHERS_FILES
        or any(word in PLACEHOLDERS for word in re.split(r"[^A-Za-z]+", named))
    )


def resolves(name: str) -> bool:
    """Returns whether a dotted name is a module or package of the tree, or a name that stands in one."""
    parts = name.split(".")
    if parts[:2] == ["kms_grpc", "v1"]:
        message = re.sub(r"_pb2(_grpc)?$", ".proto", parts[2]) if len(parts) > 2 else "v1"
        return message in entries() or any(re.search(rf"\b{message}\b", text) for text in contract())
    if name in BUILT_MODULES:
        return True
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:end])
        module = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
        if end == len(parts) and (path.is_dir() or module.is_file()):
            return True
        if module.is_file():
            return re.search(rf"\b{parts[end]}\b", module.read_text("utf-8")) is not None
    return False


def documents() -> list[Path]:
    wanted = {".py", ".md", *COMMENTS}
    return sorted(
        path
        for path in files_of_the_project()
        if path.suffix in wanted and not BUILT & set(path.parts) and (path.suffix or path.parent.name == ".ci")
        if path.relative_to(ROOT).parts[:2] != STUBS
    )


def test_every_path_and_module_that_prose_names_exists() -> None:
    missing = []
    for path in documents():
        for line, text in prose(path):
            named = [(found, exists(found[0], path.parent)) for found in PATH.finditer(text)]
            named += [(found, resolves(found[0])) for found in MODULE.finditer(text)]
            missing += [
                f"{path.relative_to(ROOT)}:{line + text.count(chr(10), 0, found.start())}: {found[0]}"
                for found, is_there in named
                if not is_there
            ]
    assert missing == []


@pytest.mark.parametrize("named", ["kms_grpc/gone.py", "gone.c", "cli/gone.py", "../gone.md", "native/gone/"])
def test_a_missing_path_is_found(named: str) -> None:
    found = PATH.search(f"# see {named}, which is not there.")
    assert found is not None
    assert found[0] == named
    assert not exists(named, ROOT)


def test_a_missing_module_is_found() -> None:
    assert resolves("kms_grpc.cli.main.SECTIONS")
    assert resolves("kms_grpc.cli")
    assert not resolves("kms_grpc.cli.gone")
    assert not resolves("kms_grpc.gone.main")
