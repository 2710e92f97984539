"""Rules for the source tree: sizes, names, layers, docstrings, and the files at the top."""

from __future__ import annotations

import ast
import graphlib
import logging.config
import re
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest
from importlinter import cli as importlinter_cli

from kms_grpc.faults import POINTS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "kms_grpc"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "v1" not in path.relative_to(PACKAGE).parts)
TREES = {path: ast.parse(path.read_text("utf-8")) for path in MODULES}
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def place(path: Path, node: ast.AST | None = None) -> str:
    line = f":{node.lineno}" if isinstance(node, ast.stmt | ast.expr) else ""
    return f"{path.relative_to(ROOT)}{line}"


def definitions(kind: type[ast.AST] | tuple[type[ast.AST], ...]) -> Iterator[tuple[Path, Definition]]:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, kind):
                assert isinstance(node, Definition)
                yield path, node


def length(node: Definition) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


FUNCTIONS = list(definitions((ast.FunctionDef, ast.AsyncFunctionDef)))
LENGTHS = sorted(length(node) for _, node in FUNCTIONS)


# --- sizes -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "seen", "most"),
    [
        ("median", statistics.median(LENGTHS), 8),
        ("nine in ten", LENGTHS[int(len(LENGTHS) * 0.9)], 25),
        ("longest", LENGTHS[-1], 50),
    ],
)
def test_functions_are_short(measure: str, seen: float, most: int) -> None:
    longest = sorted(
        ((node.end_lineno or 0) - node.lineno + 1, place(path, node), node.name) for path, node in FUNCTIONS
    )
    assert seen <= most, f"{measure} of {len(LENGTHS)} functions is {seen} lines; the longest: {longest[-12:]}"


def test_modules_are_short() -> None:
    lengths = {place(path): path.read_text("utf-8").count("\n") for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


def test_functions_of_the_core_are_short() -> None:
    """A C function has at most 50 lines, from the opening brace in the first column to its closing brace."""
    lengths = {}
    for path in sorted((ROOT / "native").rglob("*.c")):
        for found in re.finditer(r"^[a-z][^\n;]*(?:\n[^\n;{}]*)*?\{\n(.*?)^\}$", path.read_text("utf-8"), re.M | re.S):
            lengths[f"{place(path)}: {found[0].splitlines()[0]}"] = found[1].count("\n")
    assert len(lengths) >= 20, "the pattern no longer finds the functions of native/"
    assert {name: lines for name, lines in lengths.items() if lines > 50} == {}


# --- names -------------------------------------------------------------------------------------------------------

EMPTY_WORDS = {"manager", "managers", "helper", "helpers", "util", "utils", "impl", "misc", "common"}


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)}


def test_no_name_has_an_empty_word() -> None:
    every = definitions((ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    named = [(place(path, node), node.name) for path, node in every]
    named += [(place(path), path.stem) for path in MODULES]
    assert [(where, name) for where, name in named if words(name) & EMPTY_WORDS] == []


SHARED_NAMES = {
    "DeadlineExceeded": "the service's outcome of a call, and what the client library raises for it",
}
"""Names that two classes may share, with the reason."""


def test_no_two_classes_share_a_name() -> None:
    written: dict[str, list[str]] = {}
    for path, node in definitions((ast.ClassDef,)):
        if not node.name.startswith("_"):
            written.setdefault(node.name, []).append(place(path))
    shared = {name: places for name, places in written.items() if len(places) > 1}
    assert shared.keys() == SHARED_NAMES.keys(), shared


# --- words -------------------------------------------------------------------------------------------------------

WITHOUT_SUBJECT = re.compile(r"(What|Who|Whoever|Whether|As|Of|The same|That|By)\b")
DELIVERY_STAGES = {"spine", "life", "lifeline", "stage", "walk", "ground", "milestone", "phase"}
WRITTEN = [*MODULES, *sorted(path for path in (ROOT / "tests").rglob("*.py") if "node_modules" not in path.parts)]


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the docstrings of a file, of its definitions and of its constants, with their lines."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    """A first sentence that begins with one of these words has no subject of its own."""
    written = ((path, line, text) for path in WRITTEN for line, text in docstrings(path))
    found = [f"{place(path)}:{line}" for path, line, text in written if WITHOUT_SUBJECT.match(text)]
    assert found == []


def test_no_module_is_named_by_a_delivery_stage() -> None:
    assert [place(path) for path in WRITTEN if words(path.stem) & DELIVERY_STAGES] == []


# --- layers ------------------------------------------------------------------------------------------------------


def test_lower_layers_never_import_higher_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layers are the contracts of import-linter in pyproject.toml."""
    monkeypatch.setattr(logging.config, "dictConfig", lambda _: None)  # else import-linter disables all loggers
    status = importlinter_cli.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == 0, capsys.readouterr().out


def test_no_import_goes_in_circles() -> None:
    """Imports for type checking count too."""
    graph = grimp.build_graph("kms_grpc", exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"circle: {' <- '.join(error.args[1])}")


def imported_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{name.name}" for name in node.names)


def test_only_crypto_reaches_into_the_core() -> None:
    """import-linter does not see extension modules, so this test reads the imports."""
    users = [path for path, tree in TREES.items() if any("_native" in name for name in imported_names(tree))]
    assert users, "no module imports kms_grpc.crypto._native: correct the name in this test"
    assert [place(path) for path in users if path.parent != PACKAGE / "crypto"] == []


# --- the registry ------------------------------------------------------------------------------------------------

UNHASHED = {
    "key_counts.py": "its rows have no MAC",
    "rehash.py": "makes the row hashes anew",
    "writer.py": "keeps them",
}


def test_protected_rows_are_written_by_the_writer_alone() -> None:
    """Writer.add, change and remove keep the row hashes; what is executed beside them is not in the hashes."""
    others = []
    for path in (PACKAGE / "registry" / "sql").glob("*.py"):
        calls = [node for node in ast.walk(TREES[path]) if isinstance(node, ast.Call)]
        executes = any(
            getattr(call.func, "attr", "") == "execute" or getattr(call.func, "id", "") == "run"  # prepared.run
            for call in calls
        )
        if path.name not in UNHASHED and executes:
            others.append(path.name)
    expected = ["prepared.py", "reader.py", "scan.py", "sqlite.py"]
    assert sorted(others) == expected, "the driver, reads, and statements on the file"


def test_only_one_module_chooses_the_sqlite_library() -> None:
    """Two SQLite libraries in one process drop each other's locks on a shard (registry/sql/library.py)."""
    trees = TREES | {path: ast.parse(path.read_text("utf-8")) for path in (ROOT / "tests").rglob("*.py")}
    users = {
        place(path)
        for path, tree in trees.items()
        if any(name.split(".")[0] in ("sqlite3", "pysqlite3") for name in imported_names(tree))
    }
    assert users == {"kms_grpc/registry/sql/library.py"}


# --- docstrings ----------------------------------------------------------------------------

DOCUMENTED = ("crypto", "operations", "registry", "root_key", "model", "client", "authentication", "authorization")


def public_statements(tree: ast.Module) -> Iterator[Definition]:
    for node in tree.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node


@pytest.mark.parametrize("folder", DOCUMENTED)
def test_public_definitions_have_docstrings(folder: str) -> None:
    inside = [path for path in MODULES if path.is_relative_to(PACKAGE / folder) and "versions" not in path.parts]
    assert inside, f"kms_grpc/{folder} is empty"
    silent = [place(path) for path in inside if not ast.get_docstring(TREES[path])]
    for path in inside:
        silent += [
            f"{place(path, node)} {node.name}" for node in public_statements(TREES[path]) if not ast.get_docstring(node)
        ]
    assert silent == []


# --- fault points ------------------------------------------------------------------------------------------------


def test_the_fault_points_in_the_code_are_the_declared_ones() -> None:
    passed = set()
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "fault_point":
                assert isinstance(node.args[0], ast.Constant), f"{place(path, node)}: give the name as a literal string"
                passed.add(node.args[0].value)
    assert passed == set(POINTS)


# --- the tree ----------------------------------------------------------------------------------------------------

TOP = {
    ".ci": "scripts of CI and of build.py",
    ".github": "how to contribute, how to report a vulnerability",
    ".clang-format": "layout of native/",
    ".clang-tidy": "checks of native/",
    ".gitignore": "",
    "CHANGELOG.md": "changes by version",
    "LICENSE": "",
    "MANIFEST.in": "what the sdist carries",
    "README.md": "",
    "build.py": "stubs and C core",
    "kms_grpc": "the package",
    "native": "the C core",
    "protos": "the contract",
    "pyproject.toml": "metadata, settings of all tools",
    "setup.py": "two lines: the extension",
    "tests": "",
    "uv.lock": "the versions that were tried, with hashes",
}


def tracked(folder: Path = ROOT) -> list[Path]:
    """Returns the files that git tracks. What else lies in the folder, such as a developer's own notes, is not the
    project's."""
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip(f"git lists no files of {folder}: {listed.stderr.strip()}")
    return [folder / name for name in listed.stdout.split("\0") if name]


def tops(folder: Path) -> set[str]:
    return {path.relative_to(folder).parts[0] for path in tracked(folder)}


def test_the_top_has_the_listed_files_only() -> None:
    assert tops(ROOT) - set(TOP) == set()
    assert set(TOP) - tops(ROOT) == set()


def test_only_tracked_files_are_judged(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "README.md").touch()
    (tmp_path / "notes.txt").touch()
    git("add", "README.md")
    assert tops(tmp_path) == {"README.md"}
    git("add", "notes.txt")
    assert tops(tmp_path) == {"README.md", "notes.txt"}


def files_of_the_project() -> Iterator[Path]:
    return (path for path in tracked() if path.is_file())


def test_the_project_stands_alone() -> None:
    """No file names a path of the machine where it was written, or a document that is not in the tree."""
    words = ["/wo" + "rk/", "shared/" + "design", "shared/" + "reference", "../" + "shared"]
    words += [name + ".m" + "d" for name in ("kms-semantics", "formats", "architecture", "performance", "libraries")]
    found = []
    for path in files_of_the_project():
        text = path.read_bytes()
        found += [(place(path), word) for word in words if word.encode() in text]
    assert found == []
