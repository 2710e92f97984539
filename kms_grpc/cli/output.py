"""Printed output: aligned tables for people, JSON for programs.

`click.echo` removes colours if standard output is not a terminal.
"""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from google.protobuf.message import Message

JSON: Final = "json"
TABLE: Final = "table"
GAP: Final = "   "
_JSON_IN_TWO: Final = (("--output", JSON), ("-o", JSON))
_JSON_IN_ONE: Final = (f"--output={JSON}", f"-o{JSON}")


def shaped(message: Message) -> dict[str, Any]:
    """Returns an answer as plain data with AWS's member names."""
    from kms_grpc.cli.aws_shape import to_aws

    return to_aws(message)


def print_done(output: str, text: str) -> None:
    """Prints the result of a call whose answer is empty: a sentence, or an empty JSON object."""
    print_json({}) if output == JSON else click.echo(text)


def print_json(value: Any) -> None:
    """Prints JSON, with letters beyond ASCII as they are if standard output is in UTF-8."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=not _is_utf8(sys.stdout.encoding)))


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name == "utf-8"


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Returns whether a command line asks for JSON, also if it is wrong otherwise."""
    pairs = list(pairwise([*arguments, ""]))
    return any(pair in _JSON_IN_TWO or pair[0] in _JSON_IN_ONE for pair in pairs)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    empty: str = "none",
    styles: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Prints a header and one line per row. No cell is cut off, so that each can be copied.

    `styles` maps the text of a row's first cell to its colour.
    """
    cells = [[text_of(cell) for cell in row] for row in rows]
    if not cells:
        click.echo(click.style(empty, dim=True))
        return
    widths = [max(map(_width, column)) for column in zip(columns, *cells, strict=True)]
    click.echo(click.style(_line(columns, widths), dim=True))
    for row in cells:
        click.echo(_coloured(_line(row, widths), row[0], styles.get(row[0])))


def _coloured(line: str, first: str, colour: str | None) -> str:
    return click.style(first, fg=colour) + line.removeprefix(first) if colour else line


def print_facts(facts: Mapping[str, object]) -> None:
    """Prints one line per fact: its name and its value."""
    width = max(map(_width, facts), default=0)
    for name, value in facts.items():
        click.echo(f"{click.style(_pad(name, width), dim=True)}{GAP}{text_of(value)}")


def text_of(value: object) -> str:
    """Returns a value as one line of text. Control characters, which a terminal would obey, are escaped."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(text_of, value))
    return "".join(char if char.isprintable() else _escaped(char) for char in str(value))


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(_pad(cell, width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """Returns the columns that a text takes on a terminal. Wide characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
