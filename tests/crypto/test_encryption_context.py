"""The canonical form of encryption contexts, and its strict parser."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kms_grpc.crypto import encryption_context, framing
from kms_grpc.crypto._native import ffi, lib
from kms_grpc.errors import ValidationException
from tests.crypto import second_reader
from tests.crypto.conftest import vectors

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize("row", vectors("contexts_v1.json"), ids=lambda row: row["name"])
def test_the_canonical_form(row: dict[str, Any]) -> None:
    expected = bytes.fromhex(row["canonical"])
    for pairs in list(permutations(row["context"].items()))[:24]:
        assert encryption_context.canonical(dict(pairs)) == expected


def test_no_two_contexts_have_the_same_form() -> None:
    """Emulators that join keys and values without lengths confuse the first two."""
    contexts: list[dict[str, str]] = [
        {"a": "bc"},
        {"ab": "c"},
        {"abc": ""},
        {"": "abc"},
        {"é": ""},
        {"e\u0301": ""},
        {},
    ]
    assert len({encryption_context.canonical(context) for context in contexts}) == len(contexts)


@given(st.dictionaries(TEXTS, TEXTS, max_size=40))
@example({chr(0x10000): "", "\uffff": ""})
def test_the_canonical_form_equals_the_second_implementation(context: dict[str, str]) -> None:
    try:
        expected = second_reader.canonical_context(context)
    except second_reader.Refused:
        with pytest.raises(ValidationException):
            encryption_context.canonical(context)
    else:
        assert encryption_context.canonical(context) == expected


@pytest.mark.parametrize(
    ("context", "text"),
    [
        ({"k" * 1000: "v" * 7181}, "longer than 8192 bytes"),
        ({str(i): "" for i in range(10_000)}, "longer than 8192 bytes"),
        ({"a": "x" * 10_000_000}, "longer than 8192 bytes"),
        ({"\ud800": ""}, "not valid Unicode"),
        ({"a": "\udfff"}, "not valid Unicode"),
    ],
)
def test_invalid_contexts_raise(context: dict[str, str], text: str) -> None:
    with pytest.raises(ValidationException, match=text):
        encryption_context.canonical(context)


def canonical_of(joined: bytes) -> tuple[int, bytes]:
    out = ffi.new("uint8_t[]", len(joined) or 1)
    status = lib.kms_context_canonical(out, joined, len(joined))
    return status, bytes(ffi.buffer(out))[: len(joined)]


@pytest.mark.parametrize("row", vectors("malformed_contexts_v1.json"), ids=lambda row: row["reason"])
def test_malformed_joined_forms_are_rejected(row: dict[str, str]) -> None:
    joined = bytes.fromhex(row["joined"])
    assert canonical_of(joined) == (getattr(lib, f"KMS_CONTEXT_{row['status']}"), bytes(len(joined)))


@given(st.binary(max_size=200))
def test_the_parser_sorts_what_it_accepts(joined: bytes) -> None:
    status, canonical = canonical_of(b"\0\0\0" + joined)
    if status == lib.KMS_OK:
        assert canonical_of(canonical) == (lib.KMS_OK, canonical)
    else:
        assert not any(canonical)


@given(st.binary(max_size=12))
@example(b"\xf4\x8f\xbf\xbf")
@example(b"\xed\x9f\xbf\xee\x80\x80")
def test_utf8_validation_equals_pythons(key: bytes) -> None:
    joined = b"\0\0\0\1" + framing.frame(key, b"")
    try:
        key.decode()
    except UnicodeDecodeError:
        assert canonical_of(joined)[0] == lib.KMS_CONTEXT_NOT_UTF8
    else:
        assert canonical_of(joined) == (lib.KMS_OK, joined)


def test_utf8_validation_of_every_first_and_second_byte() -> None:
    for first in range(256):
        for second in range(256):
            for tail in (b"", b"\x80", b"\x80\x80", b"\xbf\xbf\xbf"):
                test_utf8_validation_equals_pythons.hypothesis.inner_test(bytes([first, second]) + tail)  # type: ignore[attr-defined]


@given(st.lists(st.binary(max_size=5), max_size=4), st.lists(st.binary(max_size=5), max_size=4))
def test_frames_are_equal_only_if_the_fields_are(left: list[bytes], right: list[bytes]) -> None:
    assert (framing.frame(*left) == framing.frame(*right)) == (left == right)
