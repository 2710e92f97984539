"""The documents of the tree, and the fenced blocks of code in them.

A block of Python, JavaScript, shell, TOML or INI is run or checked by a test, word by word. A block that is not carries
its reason in a comment of the line before: `<!-- not run: … -->`. A `text` block after a block of Python is what that
prints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = ("python", "js", "sh", "toml", "ini")
_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$"
    r"(?:\n\n?```text\n(?P<prints>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its text, what it prints, and why it is not run."""

    document: str
    line: int
    language: str
    text: str
    prints: str | None
    reason: str | None

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def documents() -> list[Path]:
    """Every document, written by hand or made from other files."""
    folders = [ROOT / name for name in (".github", "kms_grpc", "native", "protos", "tests")]
    found = [path for folder in folders for path in folder.rglob("*.md") if "node_modules" not in path.parts]
    return sorted([*ROOT.glob("*.md"), *found])


def blocks(document: str, language: str = "", containing: str = "") -> list[Block]:
    """The blocks of a document, named by its path in the tree, in their order."""
    text = (ROOT / document).read_text("utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        found.append(Block(document, line, *match.group("language", "text", "prints", "reason")))
    return [block for block in found if language in ("", block.language) and containing in block.text]


def block(document: str, language: str, containing: str) -> str:
    """The text of the one block that contains `containing`."""
    [found] = blocks(document, language, containing)
    return found.text


def every_block() -> list[Block]:
    """The blocks of code of all documents."""
    names = [str(path.relative_to(ROOT)) for path in documents()]
    return [found for name in names for found in blocks(name) if found.language in CODE]
