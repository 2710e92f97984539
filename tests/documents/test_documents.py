"""The documents: how long README.md is, where links lead, and pages that repeat what other files say."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kms_grpc.cli.failures import MEANINGS
from kms_grpc.cli.main import BENCH, cli
from tests.documents.blocks import ROOT, blocks, documents

DOCUMENTS = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in documents()]
FOLDERS = (
    "protos", "native", "kms_grpc/audit", "kms_grpc/bench", "kms_grpc/cli", "kms_grpc/client", "kms_grpc/crypto",
    "kms_grpc/endpoints", "kms_grpc/operations", "kms_grpc/processes", "kms_grpc/registry", "tests",
)  # fmt: skip
"""Folders with a README.md."""


def test_readme_is_short() -> None:
    assert (ROOT / "README.md").read_text("utf-8").count("\n") <= 250


def test_the_first_two_blocks_of_readme_are_those_that_ci_runs() -> None:
    first, second = blocks("README.md")[:2]
    assert "kms-grpc quickstart\n" in first.text
    assert second.text.endswith(".venv/bin/pytest\n")


def test_the_quickstart_prints_what_readme_shows() -> None:
    """The titles and results stand in the quickstart's own modules; an error's name stands after a colon."""
    [shown] = blocks("README.md", "text", "2. A key")
    source = "".join(path.read_text("utf-8") for path in (ROOT / "kms_grpc" / "cli").glob("quickstart*.py"))
    said = [re.sub(r"^(\d+\. | +ok )", "", line).partition(": ")[0] for line in shown.text.splitlines()]
    assert [text for text in said if text not in source] == []


def test_the_memory_to_lock_is_the_same_everywhere() -> None:
    texts = [path.read_text("utf-8") for path in (ROOT / "kms_grpc").rglob("*") if path.suffix in (".py", ".md")]
    assert set(re.findall(r"LimitMEMLOCK=(\w+)", "".join(texts))) == {"8M"}
    assert set(re.findall(r"ulimit -l (\w+)", "".join(texts))) == {"8192"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_has_a_readme_to_which_the_top_one_links(folder: str) -> None:
    assert (ROOT / folder / "README.md").is_file()
    assert f"]({folder}/" in (ROOT / "README.md").read_text("utf-8")


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_link_leads_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    dead = []
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_the_pages_are_made_from_the_files_as_they_stand(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / ".ci" / "pages.py"), str(tmp_path)], check=True)
    made = {str(path.relative_to(tmp_path)): path.read_text("utf-8") for path in tmp_path.rglob("*.md")}
    kept = {str(path.relative_to(ROOT)) for path in (ROOT / "protos" / "operations").glob("*.md")}
    assert kept - set(made) == set(), "no longer an operation; run: python build.py --stubs"
    stale = [name for name, text in made.items() if (ROOT / name).read_text("utf-8") != text]
    assert stale == [], "run: python build.py --stubs"


def test_every_setting_is_explained() -> None:
    text = (ROOT / "kms_grpc" / "processes" / "configuration.md").read_text("utf-8")
    assert re.findall(r"^\| `\w+` .*\|  \|$", text, re.MULTILINE) == []


def test_every_command_is_listed() -> None:
    text = (ROOT / "kms_grpc" / "cli" / "commands.md").read_text("utf-8")
    assert set(re.findall(r"^\| `kms-grpc ([a-z -]+)` \|", text, re.MULTILINE)) == set(commands(cli))
    assert set(re.findall(r"^\| (\d+) \|", text, re.MULTILINE)) == {str(code.value) for code in MEANINGS}


def commands(group: click.Group, before: str = "") -> Iterator[str]:
    """Yields the path of each command that is not hidden, without the program's name."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group) and name != BENCH:
            yield from commands(command, f"{before}{name} ")
        elif command is not None and not command.hidden:
            yield before + name
