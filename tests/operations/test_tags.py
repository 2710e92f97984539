"""TagResource, UntagResource, ListResourceTags, and tags at CreateKey.

Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_TagResource.html
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.operations.service import ALICE, Host, Refusal, Worker

RESERVED = "Tags beginning with aws: are reserved"


def tags(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"tag_key": key, "tag_value": value} for key, value in pairs]


def many(count: int, first: int = 0) -> list[dict[str, str]]:
    return tags(*((f"k{number:03}", str(number)) for number in range(first, first + count)))


def listed(worker: Worker, key_id: str, **fields: Any) -> dict[str, str]:
    answer = worker.call("ListResourceTags", key_id=key_id, **fields)
    return {tag.tag_key: tag.tag_value for tag in answer.tags}


REFUSED: list[tuple[list[dict[str, str]], str, str, str]] = [
    (tags(("aws:x", "v")), "TagException", RESERVED, "reserved"),
    (tags(("ok", "v"), ("AWS:x", "v")), "TagException", RESERVED, "in any case, and all or none"),
    (tags(("aWs:", "v")), "TagException", RESERVED, "the prefix alone"),
    (tags(("a", "1"), ("a", "2")), "TagException", "Duplicate tag keys", "which of both?"),
    (many(51), "TagException", "Too many tags", "50 are the limit"),
    (tags(("k" * 129, "v")), "ValidationException", "less than or equal to 128", "tag keys have 128 characters"),
    (tags(("k", "v" * 257)), "ValidationException", "less than or equal to 256", "values have 256"),
    (tags(("", "v")), "ValidationException", "tags.1.member.tagKey", "a tag has a key"),
]


@pytest.mark.parametrize("name", ["TagResource", "CreateKey"])
@pytest.mark.parametrize(("asked", "code", "text", "reason"), REFUSED, ids=[case[3] for case in REFUSED])
def test_refused(shared: Worker, name: str, asked: list[dict[str, str]], code: str, text: str, reason: str) -> None:
    key = shared.create()
    shared.call("TagResource", key_id=key.key_id, tags=tags(("was", "there")))
    count = shared.shard().registry.keys.count(ALICE.account)
    named = {"key_id": key.key_id} if name == "TagResource" else {}
    refusal = shared.refusal(name, **named, tags=asked)
    assert refusal.code == code
    assert refusal.text == text if code == "TagException" else text in refusal.text
    assert listed(shared, key.key_id) == {"was": "there"}
    assert shared.shard().registry.keys.count(ALICE.account) == count, "no key was made"


TAKEN = [
    (tags(("k" * 128, "v" * 256)), "the longest"),
    (tags(("é" * 128, "")), "characters, not bytes; no value"),
    (tags(("a", "1"), ("A", "2"), ("a ", "3")), "case and white space tell tags apart"),
    (tags(("awsome", "v"), ("x-aws:", "v")), "not the prefix"),
    (many(50), "as many as can be"),
]


@pytest.mark.parametrize("at_creation", [False, True])
@pytest.mark.parametrize(("asked", "reason"), TAKEN, ids=[reason for _, reason in TAKEN])
def test_taken(shared: Worker, asked: list[dict[str, str]], reason: str, at_creation: bool) -> None:
    key_id = shared.call("CreateKey", tags=asked if at_creation else []).key_metadata.key_id
    if not at_creation:
        shared.call("TagResource", key_id=key_id, tags=asked)
    assert listed(shared, key_id) == {tag["tag_key"]: tag["tag_value"] for tag in asked}


def test_fifty_tags_may_be_overwritten_but_not_exceeded(shared: Worker) -> None:
    key_id = shared.call("CreateKey", tags=many(49)).key_metadata.key_id
    shared.call("TagResource", key_id=key_id, tags=many(1, first=49))
    refusal = shared.refusal("TagResource", key_id=key_id, tags=many(2, first=49))
    assert (refusal.code, refusal.text) == ("TagException", "Too many tags")
    shared.call("TagResource", key_id=key_id, tags=tags(("k000", "new"), ("k049", "")))
    found = listed(shared, key_id)
    assert (len(found), found["k000"], found["k001"], found["k049"]) == (50, "new", "1", "")
    shared.call("UntagResource", key_id=key_id, tag_keys=["k000", "never there", "K001"])
    assert len(listed(shared, key_id)) == 49
    shared.call("TagResource", key_id=key_id, tags=many(1, first=50))


@pytest.mark.parametrize(("tag_keys", "code"), [(["aws:x"], "TagException"), (["ok", "AWS:"], "TagException"),
                                                ([""], "ValidationException"),
                                                (["k" * 129], "ValidationException")])  # fmt: skip
def test_untag_refuses_reserved_tag_keys(shared: Worker, tag_keys: list[str], code: str) -> None:
    key_id = shared.call("CreateKey", tags=tags(("ok", "v"))).key_metadata.key_id
    assert shared.refusal("UntagResource", key_id=key_id, tag_keys=tag_keys).code == code
    assert listed(shared, key_id) == {"ok": "v"}


def test_empty_lists_are_taken_and_change_nothing(shared: Worker) -> None:
    """AWS's lists have no minimum."""
    key_id = shared.call("CreateKey", tags=tags(("ok", "v"))).key_metadata.key_id
    shared.call("TagResource", key_id=key_id, tags=[])
    shared.call("UntagResource", key_id=key_id, tag_keys=[])
    assert listed(shared, key_id) == {"ok": "v"}


@pytest.mark.parametrize(("limit", "pages"), [(1, 5), (2, 3), (4, 2), (5, 1), (50, 1)])
def test_paging(shared: Worker, limit: int, pages: int) -> None:
    key_id = shared.call("CreateKey", tags=many(5)).key_metadata.key_id
    found, fields = [], {"key_id": key_id, "limit": limit}
    for page in range(1, pages + 1):
        answer = shared.call("ListResourceTags", **fields)
        found += [tag.tag_key for tag in answer.tags]
        assert answer.truncated is answer.HasField("next_marker") is (page < pages)
        fields["marker"] = answer.next_marker
    assert found == [f"k{number:03}" for number in range(5)]
    other = shared.call("CreateKey", tags=many(5)).key_metadata.key_id
    marker = shared.call("ListResourceTags", key_id=key_id, limit=1).next_marker
    refusal = shared.refusal("ListResourceTags", key_id=other, limit=1, marker=marker)
    assert refusal.code == "InvalidMarkerException", "a marker is valid for one listing only"


def test_tags_are_in_no_metadata_and_each_change_is_recorded(host: Host) -> None:
    worker = host.worker()
    made = worker.call("CreateKey", tags=tags(("team", "payroll"))).key_metadata
    worker.call("TagResource", key_id=made.key_id, tags=tags(("team", "billing")))
    worker.call("UntagResource", key_id=made.arn, tag_keys=["team"])
    assert b"payroll" not in worker.call("DescribeKey", key_id=made.key_id).SerializeToString()
    recorded = [(record["eventName"], record["requestParameters"]) for record in worker.outbox()]
    assert recorded[1:] == [
        ("TagResource", {"keyId": made.key_id, "tags": [{"tagKey": "team", "tagValue": "billing"}]}),
        ("UntagResource", {"keyId": made.arn, "tagKeys": ["team"]}),
    ]
    assert recorded[0][1]["tags"] == [{"tagKey": "team", "tagValue": "payroll"}]


def test_while_pending_deletion_tags_can_only_be_listed(shared: Worker) -> None:
    made = shared.call("CreateKey", tags=many(1)).key_metadata
    shared.call("ScheduleKeyDeletion", key_id=made.key_id)
    expected = Refusal("KMSInvalidStateException", f"{made.arn} is pending deletion.", made.arn, "PendingDeletion")
    assert shared.refusal("TagResource", key_id=made.key_id, tags=many(1)) == expected
    assert shared.refusal("UntagResource", key_id=made.key_id, tag_keys=["k000"]) == expected
    assert listed(shared, made.key_id) == {"k000": "0"}
