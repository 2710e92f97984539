"""The text of a policy document as JSON whose every part knows its place, so that errors can name it.

A member that stands twice in an object is refused: other readers take one of the two in silence. Numbers and truth
values may stand without quotes, and a single value without brackets.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, NoReturn

from kms_grpc.errors import LimitExceededException, MalformedPolicyDocumentException

BYTES_LIMIT: Final = 32 * 1024
"""Longest policy document, in bytes of UTF-8."""
SYNTAX: Final = "Syntax errors in policy."
_FOREIGN: Final = re.compile(r"[^\t\n\r\u0020-\u00ff]")
_SHOWN: Final = 200
"""Longest name or place in an error, in characters."""


class Element(NamedTuple):
    """A value of the document, and its place, such as `Statement[0].Action`."""

    value: Any
    place: str

    def refuse(self, text: str) -> NoReturn:
        """Raises MalformedPolicyDocumentException with the place."""
        shown = self.place if len(self.place) <= _SHOWN else f"{self.place[:_SHOWN]}…"
        raise MalformedPolicyDocumentException(f"{text} (at {shown})" if shown else text)

    def members(self) -> dict[str, Element]:
        """Returns the members of an object by name. Raises MalformedPolicyDocumentException for anything else, and for
        a member that stands twice."""
        if not isinstance(self.value, _Pairs):
            self.refuse(SYNTAX)
        found: dict[str, Element] = {}
        for name, value in self.value:
            part = Element(value, f"{self.place}.{name}" if self.place else name)
            if name in found:
                part.refuse(f"{SYNTAX} The member stands twice.")
            found[name] = part
        return found

    def each(self) -> list[Element]:
        """Returns the values of a list, or a single value as a list of one."""
        if not isinstance(self.value, list):
            return [self]
        return [Element(value, f"{self.place}[{index}]") for index, value in enumerate(self.value)]

    def text(self) -> str:
        """Returns a string. Raises MalformedPolicyDocumentException for anything else."""
        if not isinstance(self.value, str):
            self.refuse(SYNTAX)
        return self.value

    def texts(self) -> tuple[str, ...]:
        """Returns the strings of a list, or a single one."""
        return tuple(part.text() for part in self.each())


class _Pairs(tuple[tuple[str, Any], ...]):
    """The members of an object, in their order."""


def read(text: str) -> Element:
    """Returns the document's outermost value.

    Raises LimitExceededException over 32 KiB, MalformedPolicyDocumentException for characters that a policy cannot
    have, and where the text is not JSON.
    """
    if len(text.encode("utf-8", "surrogatepass")) > BYTES_LIMIT:
        raise LimitExceededException(f"The policy document is longer than {BYTES_LIMIT} bytes.")
    if foreign := _FOREIGN.search(text):
        raise MalformedPolicyDocumentException(
            f"{SYNTAX} A policy has tabs, line ends and characters U+0020 to U+00FF only (at"
            f" {_line_and_column(text, foreign.start())})"
        )
    try:
        return Element(_decode(text), "")
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise MalformedPolicyDocumentException(f"{SYNTAX} {error.msg} (at {place})") from None
    except RecursionError:
        raise MalformedPolicyDocumentException(f"{SYNTAX} It is nested too deeply.") from None


def statement_lines(text: str) -> list[int]:
    """Returns the line on which each statement of a document begins, from 1. The document must have been read."""
    return [text.count("\n", 0, position) + 1 for position in _statement_positions(text)]


def _statement_positions(text: str) -> Iterator[int]:
    decoder = json.JSONDecoder()
    at = _next(text, text.index("{") + 1)
    while text[at] == '"':
        name, at = decoder.raw_decode(text, at)
        at = _next(text, at, ":")
        if name == "Statement" and text[at] == "[":
            at = _next(text, at + 1)
            while text[at] != "]":
                yield at
                at = _next(text, decoder.raw_decode(text, at)[1], ",")
            at = _next(text, at + 1, ",")
            continue
        if name == "Statement":
            yield at
        at = _next(text, decoder.raw_decode(text, at)[1], ",")


def _next(text: str, at: int, between: str = "") -> int:
    """Returns the position of the next character of the JSON after white space and a separator."""
    while text[at] in " \t\r\n" + between:
        at += 1
    return at


def _decode(text: str) -> Any:
    return json.loads(
        text,
        object_pairs_hook=lambda pairs: _Pairs(_plain(pairs)),
        parse_int=str,
        parse_float=str,
        parse_constant=lambda name: None,  # NaN and Infinity, which JSON does not have
    )


def _plain(pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for name, value in pairs:
        yield name, [_word(each) for each in value] if isinstance(value, list) else _word(value)


def _word(value: Any) -> Any:
    return ("true" if value else "false") if isinstance(value, bool) else value


def _line_and_column(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    return f"line {line}, column {position - text.rfind(chr(10), 0, position)}"
