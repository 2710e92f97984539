"""Compares the service with the journal after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kms_grpc.v1 import key_management_pb2 as pb
from tests.faults.journal import Expected, Journal
from tests.faults.service import Caller, Refused
from tests.faults.workload import CONTEXT, describe_alias, state_name


def check_against(journal: Journal, caller: Caller, checked: int) -> tuple[Expected, int]:
    """Checks that the service shows a state that the journal allows, and decrypts ciphertexts from number `checked` on.
    Returns the outcomes that are now known."""
    for call, asked in list(journal.expected().open.items()):
        if asked["op"] == "create_key":
            repeat_create_key(journal, caller, call, asked["args"])
    expected = journal.expected()
    check_keys(journal, caller, expected)
    check_aliases(journal, caller, expected)
    for sealed in expected.ciphertexts[checked:]:
        check_opens(caller, sealed, expected)
    return journal.expected(), len(expected.ciphertexts)


def repeat_create_key(journal: Journal, caller: Caller, call: int, asked: dict[str, Any]) -> None:
    """Checks that a repeated CreateKey under the same request id gives one key, whether or not the first call
    happened."""
    request = pb.CreateKeyRequest(description=asked["description"])
    first, second = (caller.call("CreateKey", request, asked["request_id"]).key_metadata.key_id for _ in range(2))
    assert first == second
    journal.answer(call, key=first)


def check_keys(journal: Journal, caller: Caller, expected: Expected) -> None:
    assert set(listed_keys(caller)) == set(expected.states), "keys were lost, or there are keys that nobody asked for"
    for key in expected.states:
        metadata = caller.call("DescribeKey", pb.DescribeKeyRequest(key_id=key)).key_metadata
        settle(journal, "states", key, state_name(metadata), expected.states[key])
        settle(journal, "descriptions", key, metadata.description, expected.descriptions[key])


def check_aliases(journal: Journal, caller: Caller, expected: Expected) -> None:
    listed = dict(listed_aliases(caller))
    assert set(listed) <= set(expected.aliases)
    for name, targets in expected.aliases.items():
        settle(journal, "aliases", name, listed.get(name), targets)
        assert describe_alias(caller, name) == listed.get(name)


def settle(journal: Journal, what: str, name: str, seen: Any, allowed: set[Any]) -> None:
    assert seen in allowed, f"{what} of {name}: {seen}, where the journal allows {allowed}"
    if len(allowed) > 1:
        journal.seen(what, name, seen)


def check_opens(caller: Caller, sealed: dict[str, str], expected: Expected) -> None:
    request = pb.DecryptRequest(ciphertext_blob=bytes.fromhex(sealed["blob"]), encryption_context=CONTEXT)
    try:
        assert caller.call("Decrypt", request).plaintext.hex() == sealed["plaintext"]
    except Refused as refusal:
        assert refusal.reason == "DisabledException"
        assert "DISABLED" in expected.states[sealed["key"]]


def listed_keys(caller: Caller) -> Iterator[str]:
    marker = None
    while True:
        page = caller.call("ListKeys", pb.ListKeysRequest(limit=50, marker=marker))
        yield from (entry.key_id for entry in page.keys)
        if not page.truncated:
            return
        marker = page.next_marker


def listed_aliases(caller: Caller) -> Iterator[tuple[str, str]]:
    marker = None
    while True:
        page = caller.call("ListAliases", pb.ListAliasesRequest(limit=50, marker=marker))
        yield from ((entry.alias_name, entry.target_key_id) for entry in page.aliases)
        if not page.truncated:
            return
        marker = page.next_marker


def check_region(caller: Caller) -> None:
    """Checks that keys can be created and used in a region whose first start was interrupted."""
    key = caller.call("CreateKey", pb.CreateKeyRequest(description="region")).key_metadata.key_id
    blob = caller.call("Encrypt", pb.EncryptRequest(key_id=key, plaintext=b"region")).ciphertext_blob
    assert caller.call("Decrypt", pb.DecryptRequest(ciphertext_blob=blob)).plaintext == b"region"
    caller.close()
