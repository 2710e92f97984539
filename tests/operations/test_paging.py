"""ListKeys and ListAliases: pages lose and repeat nothing, and a marker is valid for one listing only."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kms_grpc.model.key import Alias
from tests.operations.service import AWAY, EVE, Host, Refusal, Worker, violation

BAD_MARKER = Refusal(
    "InvalidMarkerException",
    "The marker is not from this listing: send the NextMarker of its previous page unchanged.",
)


def pages(worker: Worker, name: str, between: Callable[[int], None] = lambda _: None, **fields: Any) -> list[list[str]]:
    """Returns all pages of a listing, as ids or names. `between` is called after each page with its number."""
    found: list[list[str]] = []
    while True:
        page = worker.call(name, **fields)
        entries = page.keys if name == "ListKeys" else page.aliases
        found.append([getattr(entry, "key_id", "") or entry.alias_name for entry in entries])
        assert page.truncated is page.HasField("next_marker")
        if not page.truncated:
            return found
        between(len(found))
        fields["marker"] = page.next_marker


def joined(found: list[list[str]]) -> list[str]:
    return list(itertools.chain.from_iterable(found))


@pytest.fixture
def full(worker: Worker) -> Worker:
    """A worker with seven keys, each with an alias, in two accounts and two regions."""
    for whose in ({}, {"by": EVE}, {"region": AWAY}):
        for i in range(7):
            worker.create(alias=f"alias/{i}", **whose)  # type: ignore[arg-type]
    return worker


@pytest.mark.parametrize(
    ("limit", "lengths"),
    [(1, [1] * 7), (2, [2, 2, 2, 1]), (3, [3, 3, 1]), (6, [6, 1]), (7, [7]), (8, [7]), (100, [7])],
)
@pytest.mark.parametrize("name", ["ListKeys", "ListAliases"])
def test_limit(full: Worker, name: str, limit: int, lengths: list[int]) -> None:
    """A full last page has no marker to an empty one."""
    found = pages(full, name, limit=limit)
    assert [len(page) for page in found] == lengths
    assert joined(found) == joined(pages(full, name))


LIMITS = [("ListKeys", 1000), ("ListAliases", 100)]


@pytest.mark.parametrize(("name", "most"), LIMITS)
def test_limit_out_of_range(full: Worker, name: str, most: int) -> None:
    full.call(name, limit=most)
    for limit in (0, -1, -(2**31)):
        assert full.refusal(name, limit=limit) == Refusal(
            "ValidationException", violation("limit", "have value greater than or equal to 1", limit)
        )
    for limit in (most + 1, 2**31 - 1):
        assert full.refusal(name, limit=limit) == Refusal(
            "ValidationException", violation("limit", f"have value less than or equal to {most}", limit)
        )


@pytest.mark.parametrize(("name", "default"), [("ListKeys", 100), ("ListAliases", 50)])
def test_default_limit(worker: Worker, name: str, default: int) -> None:
    for i in range(default // 50 + 1):
        worker.create(alias=f"alias/{i}")
    with worker.shard().writing() as transaction:
        key = transaction.keys.find(worker.call("DescribeKey", key_id="alias/0").key_metadata.key_id)
        assert key is not None
        for i in range(default):
            new = str(uuid.uuid4())
            if name == "ListKeys":
                transaction.keys.add(dataclasses.replace(key, key_id=new, arn=key.arn.replace(key.key_id, new)), None)
            else:
                transaction.aliases.add(Alias(key.account, f"alias/more-{i}", f"arn:{i}", key.key_id, 1, 1))
    assert len(pages(worker, name)[0]) == default


@pytest.mark.parametrize("name", ["ListKeys", "ListAliases"])
def test_a_listing_is_stable_while_rows_come_and_go(full: Worker, name: str) -> None:
    """Rows that stay are listed once. Rows added meanwhile may be listed, removed ones are not, and none is listed
    twice."""
    before = joined(pages(full, name))

    def between(page: int) -> None:
        full.create(alias=f"alias/new-{page}")
        if name == "ListAliases":
            full.call("DeleteAlias", alias_name=f"alias/{page - 1}")  # on a page already read
            full.call("DeleteAlias", alias_name=f"alias/{7 - page}")  # on a page not read yet

    found = joined(pages(full, name, between, limit=2))
    assert len(found) == len(set(found))
    stayed = before if name == "ListKeys" else [entry for entry in before if entry in set(joined(pages(full, name)))]
    assert [entry for entry in found if entry in stayed] == stayed
    if name == "ListAliases":
        assert "alias/6" not in found, "deleted before its page"


def test_a_marker_survives_the_removal_of_its_row(full: Worker) -> None:
    first = full.call("ListAliases", limit=2)
    full.call("DeleteAlias", alias_name=first.aliases[-1].alias_name)
    rest = full.call("ListAliases", marker=first.next_marker).aliases
    assert [entry.alias_name for entry in rest] == [f"alias/{i}" for i in range(2, 7)]


def test_a_marker_is_good_on_every_worker_and_for_another_limit(host: Host, full: Worker) -> None:
    marker = full.call("ListKeys", limit=2).next_marker
    assert len(host.worker().call("ListKeys", marker=marker, limit=1).keys) == 1
    assert len(full.call("ListKeys", marker=marker).keys) == 5


def test_a_marker_is_valid_for_one_listing_only(full: Worker) -> None:
    """Markers of another listing, region, account, filter or key are refused."""
    made = full.call("DescribeKey", key_id="alias/0").key_metadata
    full.call("CreateAlias", alias_name="alias/second", target_key_id=made.key_id)
    keys = full.call("ListKeys", limit=1).next_marker
    aliases = full.call("ListAliases", limit=1).next_marker
    filtered = full.call("ListAliases", limit=1, key_id=made.key_id).next_marker
    other = full.call("DescribeKey", key_id="alias/1").key_metadata
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("ListKeys", {"marker": aliases}),
        ("ListAliases", {"marker": keys}),
        ("ListKeys", {"marker": keys, "region": AWAY}),
        ("ListAliases", {"marker": aliases, "region": AWAY}),
        ("ListKeys", {"marker": keys, "by": EVE}),
        ("ListAliases", {"marker": aliases, "by": EVE}),
        ("ListAliases", {"marker": aliases, "key_id": made.key_id}),
        ("ListAliases", {"marker": filtered}),
        ("ListAliases", {"marker": filtered, "key_id": other.key_id}),
    ]
    for name, fields in wrong:
        assert full.refusal(name, **fields) == BAD_MARKER
    full.call("ListAliases", marker=filtered, key_id=made.arn)


def test_forged_markers(full: Worker) -> None:
    """Forgeries are: every character changed, every truncation, another spelling of the same bytes, invalid base64."""
    marker = full.call("ListKeys", limit=1).next_marker
    assert len(marker) == 34
    changed = [marker[:i] + ("A" if marker[i] != "A" else "B") + marker[i + 1 :] for i in range(len(marker))]
    raw = base64.urlsafe_b64decode(marker + "==")
    moved = base64.urlsafe_b64encode(raw[:8] + bytes([raw[8] + 1]) + raw[9:]).decode().rstrip("=")
    respelled = [
        marker + "==",
        marker + "=",
        f" {marker}",
        f"{marker}\n",
        marker[:-1] + chr(ord(marker[-1]) ^ 1),
        marker + "A",
        "+" + marker,
    ]
    for bad in (
        *changed,
        *(marker[:i] for i in range(1, len(marker))),
        moved,
        *respelled,
        "x",
        "é" * 34,
        "\0",
        "A" * 1024,
        "0",
    ):
        assert full.refusal("ListKeys", marker=bad) == BAD_MARKER, bad
    assert full.refusal("ListKeys", marker="").code == "ValidationException"
    assert full.refusal("ListKeys", marker="A" * 1025).code == "ValidationException"


@settings(max_examples=50, deadline=None)
@given(marker=st.text(st.characters(codec="utf-8"), min_size=1, max_size=1024))
def test_no_marker_is_anything_but_invalid(shared: Worker, marker: str) -> None:
    assert shared.refusal("ListAliases", marker=marker) == BAD_MARKER
