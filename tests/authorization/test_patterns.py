"""Wildcards of policies."""

from __future__ import annotations

import pytest

from kms_grpc.authorization.patterns import compiled, matches

FITS = [
    ("a*c", "abcc", "a star gives back what the end needs"),
    ("a?c", "aäc", "? is one character, not one byte"),
    ("*", "", "a star may be empty"),
    ("*", "a\nb", "a star takes line ends"),
    ("a?c", "a\nc", "so does ?"),
    ("[a]", "[a]", "brackets are plain"),
    ("a.c\\*", "a.c\\x", "dots and backslashes too"),
    ("", "", "nothing"),
    ("*ab*ab", "abab", "two pieces"),
    ("*" * 10_000, "anything", "many stars are one"),
    ("?*?", "ab", "at least two"),
    ("a*?c*", "aXc", "? after a star"),
]
FITS_NOT = [
    ("[a]", "a", "brackets are no class"),
    ("a.c", "abc", "a dot is no wildcard"),
    ("", "a", "nothing"),
    ("ab*ba", "aba", "the end does not overlap the beginning"),
    ("a?c", "ac", "? is not empty"),
    ("?*?", "a", "at least two"),
    ("A", "a", "case counts"),
    ("a", "a\n", "the whole text counts"),
    ("*ab*ab", "ab", "two pieces"),
]


@pytest.mark.parametrize(
    ("pattern", "text", "why", "fits"),
    [(*row, True) for row in FITS] + [(*row, False) for row in FITS_NOT],
    ids=[f"{row[0][:20]} {row[1][:20]!r} {row[2]}" for row in FITS + FITS_NOT],
)
def test_pattern(pattern: str, text: str, why: str, fits: bool) -> None:
    assert matches(compiled(pattern, wild=True, variables=False), text) == fits


class Counted(str):
    """A text that counts how often it is searched and compared."""

    __slots__ = ("steps",)

    def __new__(cls, text: str) -> Counted:
        made = super().__new__(cls, text)
        made.steps = 0
        return made

    def find(self, *arguments: object) -> int:  # type: ignore[override]
        self.steps += 1
        return super().find(*arguments)  # type: ignore[arg-type]

    def __getitem__(self, index: object) -> str:
        self.steps += 1
        return super().__getitem__(index)  # type: ignore[index]


@pytest.mark.parametrize("pattern", ["*a" * 10 + "*b", "*a?" * 10 + "*b"])
def test_no_text_makes_a_pattern_slow(pattern: str) -> None:
    """A regular expression tries 40!/30!/10! ways here. Steps are counted: each piece goes over the text once."""
    text = Counted("a" * 40)
    assert not matches(compiled(pattern, wild=True, variables=False), text)
    assert text.steps <= len(pattern) * len(text)
