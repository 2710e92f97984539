"""Texts with wildcards and policy variables: `*` is any text, `?` one character, `${aws:username}` a condition key.

Brackets, dots and backslashes are plain characters. What a variable inserts is plain text too: a tag `*` matches `*`
alone. Matching takes at most time proportional to pattern times text, since the caller chooses the text.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from kms_grpc.authorization.condition_keys import KeyReference, key_of, reference_to

Values = Callable[[KeyReference], tuple[str, ...] | None]
"""Returns the values that a condition key has in the request."""


class Variable(NamedTuple):
    """A policy variable: the condition key that it inserts, and the text where that key is absent."""

    key: KeyReference
    default: str | None = None


Token = str | Variable | None
"""A piece's part: text, a variable, or None for any one character."""
Piece = str | tuple[str | None, ...]
"""The part of a pattern between two stars: text, or one entry per character where it has a `?`."""


class Pattern(NamedTuple):
    """A compiled text. `pieces` are its parts between stars; None where it has variables, which are then in
    `tokens`."""

    text: str
    pieces: tuple[Piece, ...] | None
    tokens: tuple[tuple[Token, ...], ...] = ()
    variables: tuple[Variable, ...] = ()


_SPECIAL: Final = re.compile(r"\$\{([*?$])\}|\$\{\s*([^,}'\s]+)\s*(?:,\s*'([^']*)'\s*)?\}|(\$\{)|([*?])")
_HEAD: Final = re.compile(r"(?:(?>\$\{[^}]*\}|[^:])*+:){5}")
"""An ARN up to its fifth colon; those in variables do not count."""


def compiled(text: str, *, wild: bool, variables: bool, folded: bool = False) -> Pattern:
    """Returns the pattern of a text. `wild`: `*` and `?` are wildcards. `variables`: `${…}` is read. `folded`: its
    letters are lowered, and so must be those of the texts that it is compared with. ValueError for a variable that
    cannot be read."""
    return _pattern(text, list(_tokens(text, wild, variables, folded)))


def resource(text: str, *, variables: bool) -> Pattern:
    """Returns the pattern of a resource. Variables are read after the fifth colon only."""
    head = _HEAD.match(text)
    size = head.end() if head else len(text)
    tokens = [*_tokens(text[:size], True, False, False), *_tokens(text[size:], True, variables, False)]
    return _pattern(text, tokens)


class _Star:
    """Any text."""


def _tokens(text: str, wild: bool, variables: bool, folded: bool) -> Iterator[Token | type[_Star]]:
    position = 0
    for found in _SPECIAL.finditer(text):
        character, name, default, opened, wildcard = found.groups()
        if not (wild if wildcard else variables):
            if not wildcard and wild:
                yield from _tokens_of_literal(text[position : found.end()], folded)
                position = found.end()
            continue
        yield _lowered(text[position : found.start()], folded)
        position = found.end()
        if opened:
            raise ValueError("${ begins a variable that cannot be read")
        if wildcard:
            yield _Star if wildcard == "*" else None
        else:
            yield character or _variable(name, default and _lowered(default, folded))
    yield _lowered(text[position:], folded)


def _tokens_of_literal(text: str, folded: bool) -> Iterator[Token | type[_Star]]:
    """Yields the tokens of a text whose variables are not read: its wildcards count, also in `${*}`."""
    for part in re.split(r"([*?])", text):
        yield _Star if part == "*" else None if part == "?" else _lowered(part, folded)


def _lowered(text: str, folded: bool) -> str:
    return text.lower() if folded else text


def _variable(name: str, default: str | None) -> Variable:
    key = reference_to(name)
    if key is None:
        raise ValueError(f"${{{name}}}: no such condition key")
    if key_of(key).many:
        raise ValueError(f"${{{name}}}: the key has several values and cannot be a variable")
    return Variable(key, default)


def _pattern(text: str, tokens: list[Token | type[_Star]]) -> Pattern:
    pieces: list[list[Token]] = [[]]
    for token in tokens:
        if token is _Star:
            pieces.append([])
        elif token != "":
            pieces[-1].append(token)  # type: ignore[arg-type]  # no star is left
    kept = [piece for index, piece in enumerate(pieces) if piece or index in (0, len(pieces) - 1)]
    variables = tuple(token for piece in kept for token in piece if isinstance(token, Variable))
    if variables:
        return Pattern(text, None, tuple(tuple(piece) for piece in kept), variables)
    return Pattern(text, tuple(_piece(piece) for piece in kept))


def _piece(tokens: list[Token] | list[str | None]) -> Piece:
    if None not in tokens:
        return "".join(token for token in tokens if isinstance(token, str))
    return tuple(character for token in tokens for character in (token if isinstance(token, str) else (None,)))


def matches(pattern: Pattern, text: str, values: Values | None = None) -> bool:
    """Returns whether a text fits a pattern. `values` is needed for patterns with variables; one without a value fits
    nothing."""
    pieces = pattern.pieces if pattern.pieces is not None else _inserted(pattern, values)
    if pieces is None:
        return False
    if len(pieces) == 1:
        return len(pieces[0]) == len(text) and _is_at(pieces[0], text, 0)
    return _fits(pieces, text)


def _inserted(pattern: Pattern, values: Values | None) -> tuple[Piece, ...] | None:
    """Returns the pieces with the values of the variables in them."""
    assert values is not None, "a pattern with variables needs the request"
    pieces = []
    for tokens in pattern.tokens:
        texts = [value_of(token, values) if isinstance(token, Variable) else token for token in tokens]
        if any(isinstance(token, Variable) and text is None for token, text in zip(tokens, texts, strict=True)):
            return None
        pieces.append(_piece(texts))
    return tuple(pieces)


def value_of(variable: Variable, values: Values) -> str | None:
    """Returns the text that a variable inserts; None where it has no value and no default. A key that several values
    answer to inserts none of them."""
    found = values(variable.key)
    return found[0] if found is not None and len(found) == 1 else variable.default


def _fits(pieces: tuple[Piece, ...], text: str) -> bool:
    """Takes each piece at its first place: a later place could not help those after it."""
    first, last = pieces[0], pieces[-1]
    start, end = len(first), len(text) - len(last)
    if end < start or not (_is_at(first, text, 0) and _is_at(last, text, end)):
        return False
    for piece in pieces[1:-1]:
        found = _find(piece, text, start, end)
        if found < 0:
            return False
        start = found + len(piece)
    return True


def _is_at(piece: Piece, text: str, start: int) -> bool:
    if isinstance(piece, str):
        return text.startswith(piece, start)
    return all(one is None or one == text[start + offset] for offset, one in enumerate(piece))


def _find(piece: Piece, text: str, start: int, end: int) -> int:
    if isinstance(piece, str):
        return text.find(piece, start, end)
    places = range(start, end - len(piece) + 1)
    return next((place for place in places if _is_at(piece, text, place)), -1)
