"""A call that creates can be repeated with its `kms-request-id` for 24 hours, per account, region and operation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operations.scenes import NAMES, Scene
from tests.operations.service import AWAY, BOB, EVE, HOUR_NS, OPERATIONS, Host, Refusal, Worker, together

DAY_NS = 24 * HOUR_NS
OTHER_REQUEST = "kms-request-id {id} was used before with another request; use a new one."


def keys(worker: Worker, **whose: Any) -> int:
    return len(worker.call("ListKeys", **whose).keys)


def test_the_same_request_gives_the_same_answer(host: Host) -> None:
    """Every worker repeats the first answer, even if the key has changed since."""
    worker, other = host.worker(), host.worker()
    first = worker.call("CreateKey", request_id="once", description="d")
    worker.call("DisableKey", key_id=first.key_metadata.key_id)
    host.clock.step(DAY_NS - 1)
    for asked in (worker, other):
        assert asked.call("CreateKey", request_id="once", description="d") == first
    assert keys(worker) == 1


def test_another_request_is_refused(worker: Worker) -> None:
    worker.call("CreateKey", request_id="once", description="d")
    for fields in ({"description": "e"}, {}, {"description": "d", "key_spec": 1}):
        assert worker.refusal("CreateKey", request_id="once", **fields) == Refusal(
            "ValidationException", OTHER_REQUEST.format(id="once")
        )
    assert keys(worker) == 1


def test_ids_belong_to_account_region_and_operation(worker: Worker) -> None:
    first = worker.call("CreateKey", request_id="once").key_metadata
    assert worker.call("CreateKey", request_id="once", by=BOB).key_metadata == first, "the account's, not the caller's"
    assert worker.call("CreateKey", request_id="once", by=EVE).key_metadata.key_id != first.key_id
    assert worker.call("CreateKey", request_id="once", region=AWAY).key_metadata.key_id != first.key_id
    worker.call("CreateAlias", request_id="once", alias_name="alias/a", target_key_id=first.key_id)
    assert (keys(worker), keys(worker, by=EVE), keys(worker, region=AWAY)) == (1, 1, 1)


@pytest.mark.parametrize("description", ["d", "another"])
def test_after_24_hours_an_id_is_new(host: Host, description: str) -> None:
    """The old answer may still be stored; the new one is remembered for another 24 hours."""
    worker = host.worker()
    first = worker.call("CreateKey", request_id="once", description="d").key_metadata
    host.clock.step(DAY_NS)
    second = worker.call("CreateKey", request_id="once", description=description).key_metadata
    assert second.key_id != first.key_id
    assert worker.call("CreateKey", request_id="once", description=description).key_metadata == second
    assert keys(worker) == 2


def test_calls_without_an_id_are_not_remembered(worker: Worker) -> None:
    """The door makes up a request id for each of them, which is not remembered."""
    assert worker.call("CreateKey") != worker.call("CreateKey")
    assert keys(worker) == 2


@pytest.mark.parametrize("name", [name for name in NAMES if getattr(OPERATIONS[name].kind, "idempotent", False)])
def test_every_creating_call_can_be_repeated(worker: Worker, name: str) -> None:
    """The second call does nothing; another request with the same id is refused."""
    scene, other = Scene(worker, name), Scene(worker, name)
    first = scene.call(request_id="once")
    worker.outbox()
    assert scene.call(request_id="once") == first
    assert [record["eventName"] for record in worker.outbox()] == [name]
    if other.fields != scene.fields:
        assert other.refusal(request_id="once").text == OTHER_REQUEST.format(id="once")


def test_create_alias_can_be_repeated_with_its_request_id_only(worker: Worker) -> None:
    made, other = worker.create(), worker.create()
    for _ in range(2):
        worker.call("CreateAlias", request_id="a", alias_name="alias/a", target_key_id=made.key_id)
    assert (
        worker.refusal("CreateAlias", request_id="a", alias_name="alias/a", target_key_id=other.key_id).code
        == "ValidationException"
    )
    assert (
        worker.refusal("CreateAlias", request_id="b", alias_name="alias/a", target_key_id=made.key_id).code
        == "AlreadyExistsException"
    )
    assert len(worker.call("ListAliases").aliases) == 1


def test_a_failed_call_is_not_remembered(worker: Worker) -> None:
    made = worker.create()
    worker.create(alias="alias/taken")
    assert (
        worker.refusal("CreateAlias", request_id="a", alias_name="alias/taken", target_key_id=made.key_id).code
        == "AlreadyExistsException"
    )
    worker.call("DeleteAlias", alias_name="alias/taken")
    worker.call("CreateAlias", request_id="a", alias_name="alias/taken", target_key_id=made.key_id)


def test_a_repeated_call_is_not_subject_to_quotas(make_host: Any) -> None:
    worker = make_host(quotas={"keys_per_account": 1}).worker()
    first = worker.call("CreateKey", request_id="once")
    assert worker.call("CreateKey", request_id="once") == first
    assert worker.refusal("CreateKey", request_id="twice").code == "LimitExceededException"


def test_identical_calls_at_the_same_time(host: Host) -> None:
    """Eight calls with one request id to two workers create one key and get one answer."""
    workers = [host.worker(), host.worker()]
    calls = [lambda asked=workers[i % 2]: asked.call("CreateKey", request_id="twin", description="d") for i in range(8)]
    answers = together(*calls)
    assert len({str(answer) for answer in answers}) == 1
    assert keys(workers[0]) == 1


def test_different_calls_with_one_id_at_the_same_time(host: Host) -> None:
    """One call is done; the other is refused."""
    worker = host.worker()
    answers = together(
        *(lambda text=text: worker.call("CreateKey", request_id="rival", description=text) for text in "ab")
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["CreateKeyResponse", "ValidationException"]
    assert keys(worker) == 1


@pytest.mark.parametrize("request_id", ["x" * 129, "a b", "é", "a\n", "a\0"])
@pytest.mark.parametrize("name", ["CreateKey", "Encrypt"])
def test_malformed_request_ids(worker: Worker, request_id: str, name: str) -> None:
    """They are refused for calls that a Permit answers as well."""
    made = worker.create()
    fields = {} if name == "CreateKey" else {"key_id": made.key_id, "plaintext": b"p"}
    worker.call(name, **fields)
    text = "kms-request-id must have 1 to 128 printable ASCII characters without spaces."
    assert worker.refusal(name, request_id=request_id, **fields) == Refusal("ValidationException", text)
    worker.call(name, request_id="!" + "~" * 127, **fields)
