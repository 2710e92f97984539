"""Batches: each item is answered in its place, as a single call would answer it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import pytest
from google.rpc import error_details_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from kms_grpc import errors
from kms_grpc.authorization.base import STABLE_ATTRIBUTES, Decision, Question
from kms_grpc.crypto import raw_batch
from kms_grpc.operations.kinds.batch_run import ATTEMPTS, WARM_ITEMS
from kms_grpc.v1 import envelope_pb2 as pb
from kms_grpc.v1 import keys_pb2
from tests.operations.service import ALICE, AWAY, EVE, OPERATIONS, Host, Refusal, Worker

Item = dict[str, Any]
BATCHES = {"Encrypt": "EncryptBatch", "Decrypt": "DecryptBatch", "ReEncrypt": "ReEncryptBatch"}
MODEL_REGION = "eu-central-1"


def refusal_in(result: Any) -> Refusal | None:
    """Returns the parts of an item's error that a caller sees."""
    if not result.HasField("error"):
        return None
    info = error_details_pb2.ErrorInfo()
    assert result.error.details[0].Unpack(info)
    assert info.domain == "kms_grpc.v1"
    assert info.metadata["region"] == MODEL_REGION
    return Refusal(info.reason, result.error.message, info.metadata.get("key"), info.metadata.get("state"))


def codes(answer: Any) -> list[str | None]:
    found = [refusal_in(result) for result in answer.results]
    return [refusal and refusal.code for refusal in found]


def opened(worker: Worker, blob: bytes, context: dict[str, str] | None = None) -> bytes:
    plaintext: bytes = worker.call("Decrypt", ciphertext_blob=blob, encryption_context=context or {}).plaintext
    return plaintext


class ReadsContexts:
    """An authorizer that refuses every encryption context with `secret` in it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []

    def decide(self, question: Question) -> Decision:
        self.asked.append((question.action, dict(question.encryption_context)))
        own = question.key is None or question.key.account == question.principal.account
        read = STABLE_ATTRIBUTES | {"encryption_context"}
        return Decision(own and "secret" not in question.encryption_context, read)


# --- whole batches --------------------------------------------------------------------------------------------------


def test_a_bad_item_fails_alone(host: Host) -> None:
    """Five of a thousand blobs are damaged, each in another way."""
    plain, authorizer = host.worker(), ReadsContexts()
    worker = host.worker(authorizer)
    key, second, disabled = plain.create(), plain.create(), plain.create()
    foreign, away = plain.create(by=EVE), plain.create(region=AWAY)
    good = plain.encrypt(key.key_id, b"first"), plain.encrypt(second.key_id, b"second")
    items: list[Item] = [{"ciphertext_blob": good[i % 2]} for i in range(1000)]
    items[17] = {
        "ciphertext_blob": plain.encrypt(key.key_id, encryption_context={"secret": "x"}),
        "encryption_context": {"secret": "x"},
    }
    items[18] = {"ciphertext_blob": plain.encrypt(disabled.key_id)}
    items[400] = {"ciphertext_blob": plain.encrypt(away.key_id, region=AWAY)}
    items[401] = {"ciphertext_blob": plain.encrypt(foreign.key_id, by=EVE)}
    items[999] = {"ciphertext_blob": good[1][:-1] + bytes([good[1][-1] ^ 1])}
    plain.call("DisableKey", key_id=disabled.key_id)
    worker.audit()
    answer = worker.call("DecryptBatch", items=items)
    expected = {
        17: "AccessDeniedException",
        18: "DisabledException",
        400: "AccessDeniedException",
        401: "AccessDeniedException",
        999: "InvalidCiphertextException",
    }
    assert {i: code for i, code in enumerate(codes(answer)) if code} == expected
    for number in expected:
        assert refusal_in(answer.results[number]) == worker.refusal("Decrypt", **items[number])
        assert not answer.results[number].HasField("plaintext")
    done = [(i, result.plaintext) for i, result in enumerate(answer.results) if i not in expected]
    assert len(done) == 995
    assert done == [(i, (b"first", b"second")[i % 2]) for i, _ in done]
    (record, *singles) = worker.audit()
    assert (len(singles), record["eventName"], record.get("errorCode")) == (len(expected), "DecryptBatch", None)
    counted = {entry["keyId"]: entry["items"] for entry in record["additionalEventData"]["keys"]}
    assert counted == {key.arn: 498, second.arn: 497}
    failed = record["additionalEventData"]["errors"]
    assert sum(entry["items"] for entry in failed) == 5
    assert {(entry["errorCode"], entry.get("keyId")) for entry in failed} >= {
        ("DisabledException", disabled.arn),
        ("InvalidCiphertextException", second.arn),
    }
    assert {entry["ARN"] for entry in record["resources"]} == {key.arn, second.arn, disabled.arn, foreign.arn}
    assert record["requestParameters"] == {"items": 1000, "itemsWithOwnEncryptionContext": 1}
    assert worker.counted()["DecryptBatch"] == {"OK": 1}


# --- batches against single calls -----------------------------------------------------------------------------------


@dataclasses.dataclass(repr=False)
class Scene:
    """A worker, and possible values of each field of an item."""

    worker: Worker
    values: dict[str, list[Any]]


@pytest.fixture(scope="module")
def scene(shared_host: Host) -> Scene:
    worker = shared_host.worker()
    key, disabled = worker.create(alias="alias/batch"), worker.create()
    foreign, away = worker.create(by=EVE), worker.create(region=AWAY)
    blobs = [worker.encrypt(key.key_id, encryption_context=context) for context in ({}, {"a": "1"}, {"a": "1"})]
    blobs += [worker.encrypt(disabled.key_id), worker.encrypt(foreign.key_id, by=EVE)]
    blobs += [worker.encrypt(away.key_id, region=AWAY), blobs[0][:-1] + b"\0", blobs[0][:60], blobs[0] + b"\0"]
    blobs += [b"\xff" * 140, b"\1", bytes([blobs[0][0], 2]) + blobs[0][2:], b"", b"\1" * 65_664]
    worker.call("DisableKey", key_id=disabled.key_id)
    names = [
        key.key_id,
        "alias/batch",
        key.arn,
        disabled.arn,
        foreign.arn,
        away.arn,
        "alias/none",
        "x",
        "\u2603" * 2048,
    ]
    contexts = [{}, {"a": "1"}, {"b": "2", "a": "1"}, {"k": "v" * 9000}]
    return Scene(
        worker,
        {
            "key_id": names,
            "source_key_id": ["", *names],
            "destination_key_id": names,
            "encryption_context": contexts,
            "source_encryption_context": contexts,
            "destination_encryption_context": contexts,
            "plaintext": [b"p", b"p" * 4096, b""],
            "ciphertext_blob": blobs,
        },
    )


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_an_item_is_answered_like_a_single_call(scene: Scene, data: st.DataObject) -> None:
    single = data.draw(st.sampled_from(sorted(BATCHES)))
    item_fields = list(OPERATIONS[BATCHES[single]].kind.items.item.DESCRIPTOR.fields_by_name)  # type: ignore[attr-defined]
    draw_item = st.fixed_dictionaries({}, optional={name: st.sampled_from(scene.values[name]) for name in item_fields})
    items = data.draw(st.lists(draw_item, min_size=1, max_size=6))
    shared = [name for name in item_fields if name.endswith(("key_id", "context"))]
    good = {name: st.sampled_from(scene.values[name][:3]) for name in shared}
    defaults = data.draw(st.fixed_dictionaries({}, optional=good))
    answer = scene.worker.call(BATCHES[single], items=items, **defaults)
    assert len(answer.results) == len(items)
    for item, result in zip(items, answer.results, strict=True):
        alone = {**defaults, **{name: value for name, value in item.items() if value}}
        alone = {name: value for name, value in alone.items() if value}
        for name in ("plaintext", "ciphertext_blob"):
            if name in item:
                alone[name] = item[name]
        refused = refusal_in(result)
        if refused is None:
            check_done(scene.worker, single, alone, answer, result)
        else:
            expected = scene.worker.refusal(single, **alone)
            assert (refused.code, refused.key, refused.state) == (expected.code, expected.key, expected.state)
            same_words = refused.text[:100] in expected.text.replace("Encrypt.", "EncryptBatch.")
            assert same_words or refused.code == "ValidationException", "a single call also reports its other fields"


def check_done(worker: Worker, single: str, alone: Item, answer: Any, result: Any) -> None:
    """Checks that a result equals a single call's answer, or decrypts like it."""
    answered = worker.call(single, **alone)
    key = answer.keys[result.key]
    assert key.key_id == answered.key_id
    if single == "Decrypt":
        assert (result.plaintext, key.key_material_id) == (answered.plaintext, answered.key_material_id)
        return
    if single == "Encrypt":
        assert opened(worker, result.ciphertext_blob, alone.get("encryption_context")) == alone["plaintext"]
        return
    assert answer.keys[result.source_key].key_id == answered.source_key_id
    context = alone.get("destination_encryption_context")
    assert opened(worker, result.ciphertext_blob, context) == opened(worker, answered.ciphertext_blob, context)


# --- sizes ----------------------------------------------------------------------------------------------------------


def test_batches_and_single_calls_read_each_others_64_kib(shared: Worker) -> None:
    key = shared.create()
    plaintexts = [b"p" * 65_536, b"q", b"r" * 65_535]
    sealed = shared.call("EncryptBatch", key_id=key.key_id, items=[{"plaintext": text} for text in plaintexts])
    blobs = [result.ciphertext_blob for result in sealed.results]
    assert [opened(shared, blob) for blob in blobs] == plaintexts
    alone = shared.encrypt(key.key_id, b"alone")
    anew = shared.call("ReEncrypt", ciphertext_blob=blobs[0], destination_key_id=key.key_id).ciphertext_blob
    answer = shared.call("DecryptBatch", items=[{"ciphertext_blob": blob} for blob in (*blobs, alone, anew)])
    assert [result.plaintext for result in answer.results] == [*plaintexts, b"alone", plaintexts[0]]
    (material,) = answer.keys
    assert (material.key_id, material.key_material_id) == (key.arn, key.current_key_material_id)


@pytest.mark.parametrize("name", ["EncryptBatch", "DecryptBatch", "ReEncryptBatch"])
def test_ten_thousand_items_are_the_most(shared: Worker, name: str) -> None:
    key = shared.create()
    blob = shared.encrypt(key.key_id, b"p")
    item = {"EncryptBatch": {"plaintext": b"p"}}.get(name, {"ciphertext_blob": blob})
    used = {"ReEncryptBatch": {"destination_key_id": key.key_id}, "EncryptBatch": {"key_id": key.key_id}}.get(name, {})
    answer = shared.call(name, items=[item] * 10_000, **used)
    assert len(answer.results) == 10_000
    assert not any(codes(answer))
    refused = shared.refusal(name, items=[item] * 10_001, **used)
    assert refused.code == "ValidationException"
    assert (
        "at 'items' failed to satisfy constraint: Member must have length less than or equal to 10000" in refused.text
    )
    assert shared.refusal(name, **used).text.endswith(
        "Value null at 'items' failed to satisfy constraint: Member must not be null"
    )


def test_an_answer_that_would_be_too_large_is_refused_before_anything_is_done(make_host: Callable[..., Host]) -> None:
    worker = make_host(limits={"message_bytes": 300_000}).worker()
    key = worker.create()
    limits = worker.call("GetLimits").batches
    assert (limits.max_items, limits.max_plaintext_bytes, limits.max_ciphertext_blob_bytes) == (10_000, 65_536, 65_663)
    assert limits.max_response_message_bytes == limits.max_request_message_bytes == 300_000
    refused = worker.refusal("EncryptBatch", key_id=key.key_id, items=[{"plaintext": b"p" * 1000}] * 280)
    assert refused.code == "ValidationException"
    assert "the largest has 300000 (GetLimits: Batches.MaxResponseMessageBytes)" in refused.text
    assert len(worker.call("EncryptBatch", key_id=key.key_id, items=[{"plaintext": b"p" * 1000}] * 250).results) == 250
    errors_alone = worker.refusal("EncryptBatch", key_id="alias/none", items=[{"plaintext": b"p"}] * 2000)
    assert errors_alone.code == "ValidationException", "an answer of errors has the same limit"


def test_a_batch_whose_answer_is_too_large_is_not_begun(
    make_host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_host(limits={"message_bytes": 300_000}).worker()
    key = worker.create()
    monkeypatch.setattr(raw_batch.ScannedBatch, "run", lambda *_: pytest.fail("it was begun"))
    refused = worker.refusal("GenerateDataKeyBatch", key_id=key.key_id, number_of_bytes=1024, items=[{"count": 200}])
    assert "the largest has 300000" in refused.text


def test_blobs_are_encrypted_again_under_another_key(shared: Worker) -> None:
    """Results name the right keys, even where keys change from item to item."""
    one, two = shared.create(), shared.create()
    pairs = [(one, two), (two, one), (one, one), (one, two)]
    items = [
        {
            "ciphertext_blob": shared.encrypt(source.key_id, b"%d" % i, encryption_context={"from": str(i)}),
            "source_encryption_context": {"from": str(i)},
            "destination_key_id": destination.key_id,
        }
        for i, (source, destination) in enumerate(pairs)
    ]
    answer = shared.call("ReEncryptBatch", destination_encryption_context={"to": ""}, items=items)
    answered = [(answer.keys[done.source_key].key_id, answer.keys[done.key].key_id) for done in answer.results]
    assert answered == [(source.arn, destination.arn) for source, destination in pairs]
    for i, (done, (_, destination)) in enumerate(zip(answer.results, pairs, strict=True)):
        single = {"ciphertext_blob": done.ciphertext_blob, "encryption_context": {"to": ""}}
        assert shared.call("Decrypt", key_id=destination.key_id, **single).plaintext == b"%d" % i


# --- data keys ------------------------------------------------------------------------------------------------------


def test_data_keys_open_and_differ(shared: Worker) -> None:
    key, second = shared.create(), shared.create()
    items: list[Item] = [{"count": 300}, {"key_id": second.key_id, "encryption_context": {"a": "1"}}, {"key_id": "x"}]
    items.append({"count": 0})
    shared.audit()
    answer = shared.call(
        "GenerateDataKeyBatch", key_id=key.key_id, encryption_context={"d": ""}, number_of_bytes=24, items=items
    )
    (record,) = shared.audit()
    counted = {entry["keyId"]: (entry["items"], entry["dataKeys"]) for entry in record["additionalEventData"]["keys"]}
    assert counted == {key.arn: (1, 300), second.arn: (1, 1)}
    assert [len(result.data_keys) for result in answer.results] == [300, 1, 0, 0]
    assert codes(answer) == [None, None, "NotFoundException", "ValidationException"]
    many = answer.results[0].data_keys
    assert len({made.plaintext for made in many}) == len({made.ciphertext_blob for made in many}) == 300
    for made, context in [*((made, {"d": ""}) for made in many), (answer.results[1].data_keys[0], {"a": "1"})]:
        assert len(made.plaintext) == 24
        assert opened(shared, made.ciphertext_blob, context) == made.plaintext
    assert [answer.keys[result.key].key_id for result in answer.results[:2]] == [key.arn, second.arn]


@pytest.mark.parametrize(("spec", "size"), [(keys_pb2.DATA_KEY_SPEC_AES_128, 16), (keys_pb2.DATA_KEY_SPEC_AES_256, 32)])
def test_a_key_spec_sets_the_length(shared: Worker, spec: int, size: int) -> None:
    key = shared.create()
    answer = shared.call("GenerateDataKeyBatch", key_id=key.key_id, key_spec=spec, items=[{"count": 2}])
    assert [len(made.plaintext) for made in answer.results[0].data_keys] == [size] * 2


BAD_LENGTHS = [
    ({}, "Please specify either number of bytes or key spec.", "neither"),
    ({"key_spec": 1, "number_of_bytes": 16}, "Please specify either number of bytes or key spec.", "both"),
    ({"number_of_bytes": 1025}, "less than or equal to 1024", "too long"),
    ({"number_of_bytes": 0}, "greater than or equal to 1", "too short"),
    (
        {"number_of_bytes": 16, "items": [{"count": 6000}] * 2},
        "at most 10000 data keys",
        "too many of all items together",
    ),
]


@pytest.mark.parametrize(("fields", "text", "reason"), BAD_LENGTHS)
def test_lengths_of_data_keys(shared: Worker, fields: Item, text: str, reason: str) -> None:
    key = shared.create()
    refused = shared.refusal("GenerateDataKeyBatch", **{"key_id": key.key_id, "items": [{}], **fields})
    assert refused.code == "ValidationException", reason
    assert text in refused.text


# --- admission ------------------------------------------------------------------------------------------------------


def test_a_decision_that_reads_no_context_holds_for_the_whole_group(host: Host) -> None:
    worker = host.worker(ReadsContexts())
    key = worker.create()
    asked: list[tuple[str, dict[str, str]]] = worker.service.authorizer.asked  # type: ignore[attr-defined]
    plain = host.worker()
    items = [{"plaintext": b"p", "encryption_context": {"n": str(i)}} for i in range(100)]
    assert not any(codes(plain.call("EncryptBatch", key_id=key.key_id, items=items)))
    assert len(plain.executor._permits) == 1
    asked.clear()
    items[7]["encryption_context"] = {"secret": ""}
    answer = worker.call("EncryptBatch", key_id=key.key_id, items=items * 2)
    assert [i for i, code in enumerate(codes(answer)) if code] == [7, 107]
    assert len([context for action, context in asked if action == "kms:Encrypt"]) == 100, (
        "each context is asked about once"
    )
    assert not worker.is_warm("EncryptBatch", key_id=key.key_id, items=items)
    assert len(worker.executor._permits) == 99, "a Permit for each context that is allowed"


def test_a_warm_batch_has_the_answer_of_a_cold_one(host: Host) -> None:
    worker = host.worker()
    key = worker.create()
    blob = worker.encrypt(key.key_id, b"text")
    broken = blob[:-1] + bytes([blob[-1] ^ 1])
    fields = {"items": [{"ciphertext_blob": blob}, {"ciphertext_blob": broken}]}
    worker.audit()
    answers, records = [], []
    for warm in (False, True):
        assert worker.is_warm("DecryptBatch", **fields) is warm
        answers.append(worker.call("DecryptBatch", **fields))
        records.append(worker.audit()[-1])
    assert answers[0] == answers[1]
    assert codes(answers[0]) == [None, "InvalidCiphertextException"]
    for record in records:
        for own in ("requestID", "eventID"):
            record.pop(own)
    assert records[0] == records[1]
    assert worker.counted()["DecryptBatch"] == {"OK": 3}, "only answers are counted, not warm attempts without one"


MANY = [{"plaintext": b"p"}] * (WARM_ITEMS + 1)
NOT_WARM: list[tuple[str, dict[str, Any], str]] = [
    ("EncryptBatch", {"items": [{"plaintext": b"p"}, {"plaintext": b""}]}, "an item that must be judged"),
    ("EncryptBatch", {"items": MANY}, "items that take long together"),
    ("EncryptBatch", {"items": [{"plaintext": bytes(65_536)}] * 33}, "a large request"),
    ("GenerateDataKeyBatch", {"number_of_bytes": 16, "items": [{"count": WARM_ITEMS + 1}]}, "many data keys"),
    ("EncryptBatch", {"items": [{"plaintext": b"p"}, {"plaintext": b"p", "key_id": "alias/none"}]}, "another key"),
    ("EncryptBatch", {"items": [{"plaintext": b"p"}], "by": "token-of-nobody"}, "an unknown caller"),
    ("EncryptBatch", {"items": [{"plaintext": b"p"}], "region": "eu-north-9"}, "a region that is not served"),
    ("EncryptBatch", {"items": [{"plaintext": b"p"}], "encryption_context": {"k": "v" * 9000}}, "a refused field"),
]


@pytest.mark.parametrize(("name", "fields", "reason"), NOT_WARM, ids=[reason for *_, reason in NOT_WARM])
def test_batches_that_no_permit_answers_are_executed(
    shared: Worker, name: str, fields: dict[str, Any], reason: str
) -> None:
    key = shared.create()
    one: dict[str, Any] = {"EncryptBatch": {"items": [{"plaintext": b"p"}]}}.get(
        name, {"items": [{}], "number_of_bytes": 16}
    )
    shared.call(name, key_id=key.key_id, **one)
    assert shared.is_warm(name, key_id=key.key_id, **one)
    shared.audit()
    assert not shared.is_warm(name, **{"key_id": key.key_id, **fields}), reason
    assert shared.audit() == [], "the call that answers is the one that is recorded"


def test_batches_obey_what_another_worker_acknowledged(host: Host) -> None:
    worker, other = host.worker(), host.worker()
    key = worker.create(alias="alias/moving")
    items = [{"plaintext": b"p"}, {"plaintext": b"p", "key_id": "alias/moving"}]
    worker.call("EncryptBatch", key_id=key.key_id, items=items)
    assert worker.is_warm("EncryptBatch", key_id=key.key_id, items=items)
    assert codes(worker.call("EncryptBatch", key_id=key.key_id, items=items)) == [None, None]
    other.call("DisableKey", key_id=key.key_id)
    assert codes(worker.call("EncryptBatch", key_id=key.key_id, items=items)) == ["DisabledException"] * 2
    other.call("EnableKey", key_id=key.key_id)
    second = other.create()
    other.call("UpdateAlias", alias_name="alias/moving", target_key_id=second.key_id)
    answer = worker.call("EncryptBatch", key_id=key.key_id, items=items)
    assert [answer.keys[result.key].key_id for result in answer.results] == [key.arn, second.arn]


def test_keys_that_left_the_keyring_are_loaded_anew(make_host: Callable[..., Host]) -> None:
    """The cache has room for four keys; concurrent batches use many."""
    worker = make_host(limits={"cached_keys": 8}).worker()
    keys = [worker.create().key_id for _ in range(12)]
    for _ in range(2):
        for some in (keys[:3], keys[3:6], keys[6:9]):
            answer = worker.call("EncryptBatch", items=[{"plaintext": b"p", "key_id": key} for key in some])
            assert codes(answer) == [None] * 3
    assert ATTEMPTS > 1


def test_more_keys_than_a_worker_keeps(make_host: Callable[..., Host]) -> None:
    """Each item has one or two keys of its own: only the number of items bounds the number of keys."""
    worker = make_host(limits={"cached_keys": 16}).worker()
    keys = [worker.create().key_id for _ in range(60)]
    plaintexts = [b"%d" % place for place in range(180)]
    items: list[Item] = [{"plaintext": text, "key_id": keys[i % 60]} for i, text in enumerate(plaintexts)]
    sealed = worker.call("EncryptBatch", items=items)
    assert [sealed.keys[result.key].key_id[-36:] for result in sealed.results] == keys * 3
    moves: list[Item] = [
        {"ciphertext_blob": result.ciphertext_blob, "destination_key_id": keys[59 - i % 60]}
        for i, result in enumerate(sealed.results)
    ]
    moves[100] = {"ciphertext_blob": b"x", "destination_key_id": keys[0]}
    moved = worker.call("ReEncryptBatch", items=moves)
    assert [place for place, code in enumerate(codes(moved)) if code] == [100]
    opened = worker.call(
        "DecryptBatch", items=[{"ciphertext_blob": one.ciphertext_blob or b"x"} for one in moved.results]
    )
    assert [result.plaintext for result in opened.results] == [*plaintexts[:100], b"", *plaintexts[101:]]
    assert [opened.keys[result.key].key_id[-36:] for result in opened.results[:60]] == keys[::-1]


@pytest.mark.parametrize("change", ["DisableKey", "RotateKeyOnDemand"])
def test_a_key_that_changes_while_its_batch_is_done_in_parts(
    make_host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The batch starts again and keeps nothing of the first attempt."""
    host = make_host(limits={"cached_keys": 16})
    worker, other = host.worker(), host.worker()
    keys = [worker.create().key_id for _ in range(20)]
    run, ran, forget, forgot = raw_batch.ScannedBatch.run, list[int](), raw_batch.ScannedBatch.forget, list[bytes]()

    def disabling(batch: raw_batch.ScannedBatch, first: int = 0, end: int | None = None) -> None:
        run(batch, first, end)
        ran.append(first)
        if first == 3 and len(ran) == 4:
            other.call(change, key_id=keys[7])
            worker.shard().catch_up()

    def forgetting(batch: raw_batch.ScannedBatch) -> None:
        made = batch._out
        forget(batch)
        forgot.append(bytes(made))

    monkeypatch.setattr(raw_batch.ScannedBatch, "run", disabling)
    monkeypatch.setattr(raw_batch.ScannedBatch, "forget", forgetting)
    answer = worker.call("EncryptBatch", items=[{"plaintext": b"p", "key_id": key} for key in keys])
    refused = [place for place, code in enumerate(codes(answer)) if code == "DisabledException"]
    assert refused == ([7] if change == "DisableKey" else [])
    for result in answer.results:
        answered = answer.keys[result.key].key_material_id
        assert result.HasField("error") or answered == result.ciphertext_blob[19:51].hex()
    assert ran == [*range(7), *range(20)]
    [whole] = forgot
    assert set(whole[: len(keys) * 130]) == {0}


def test_a_batch_stops_at_its_deadline(shared: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline passes between the admissions of two groups."""
    items = [{"plaintext": b"p", "key_id": f"alias/none-{i}"} for i in range(5)]
    request = pb.EncryptBatchRequest(items=items).SerializeToString()
    asked: list[int] = []

    def passing() -> int:
        asked.append(1)
        return len(asked)

    monkeypatch.setattr(time, "monotonic_ns", passing)
    credentials = shared.credentials()._replace(deadline_ns=4)
    with pytest.raises(errors.DeadlineExceeded, match="deadline"):
        shared.executor.execute(OPERATIONS["EncryptBatch"], credentials, request)
    monkeypatch.undo()
    assert len(asked) == 4, "once for the call, and for each group until then"


def test_the_request_as_a_whole(shared: Worker) -> None:
    """Errors of the request itself fail the call, not an item."""
    key = shared.create()
    request = pb.EncryptBatchRequest(key_id=key.key_id, items=[{"plaintext": b"p"}])
    raw = request.SerializeToString()
    cases = [
        (raw + b"\xf8\x07\x01", "unknown field", "an unknown field"),
        (raw + b"\x1a\x03\xf8\x07\x01", "unknown field", "an unknown field in an item"),
        (raw[:-1], "can't be read as", "cut off"),
        (raw + b"\x1a\x04\x0a\x02\xc3\x28", "not UTF-8", "an item whose string is not UTF-8"),
        (
            pb.EncryptBatchRequest(key_id="k" * 2049, items=request.items).SerializeToString(),
            "at 'keyId'",
            "a long key",
        ),
        (
            pb.EncryptBatchRequest(encryption_context={"k": "v" * 9000}, items=request.items).SerializeToString(),
            "EncryptionContext is longer than 8192 bytes",
            "a long context for all",
        ),
    ]
    operation = OPERATIONS["EncryptBatch"]
    for sent, text, reason in cases:
        with pytest.raises(errors.ValidationException) as refused:
            shared.executor.execute(operation, shared.credentials(), sent)
        assert text in refused.value.text, reason


def test_requests_that_only_protobuf_reads_are_answered_too(shared: Worker) -> None:
    """Examples are: a context's pairs apart from each other, a pair twice, a length in more bytes than it needs."""
    key = shared.create().key_id.encode()
    item = (
        b"\x12\x06\x0a\x01a\x12\x011" + b"\x1a\x05plain" + b"\x12\x06\x0a\x01b\x12\x012" + b"\x12\x06\x0a\x01a\x12\x013"
    )
    raw = b"\x1a" + bytes([len(item) | 0x80, 0]) + item + b"\x0a" + bytes([len(key)]) + key
    assert raw_batch.scan(0, raw) is None
    answer = pb.EncryptBatchResponse.FromString(
        shared.executor.execute(OPERATIONS["EncryptBatch"], shared.credentials(), raw)
    )
    assert opened(shared, answer.results[0].ciphertext_blob, {"a": "3", "b": "2"}) == b"plain"


def test_the_audit_record_has_the_fields_that_hold_for_all_items(shared: Worker) -> None:
    key = shared.create(alias="alias/recorded-batch")
    shared.audit()
    shared.call(
        "EncryptBatch",
        key_id="alias/recorded-batch",
        encryption_context={"a": "1"},
        items=[{"plaintext": b"secret"}] * 3,
    )
    (record,) = shared.audit()
    assert record["requestParameters"] == {
        "keyId": "alias/recorded-batch",
        "encryptionContext": {"a": "1"},
        "items": 3,
    }
    assert record["additionalEventData"] == {
        "keys": [{"keyId": key.arn, "keyMaterialId": key.current_key_material_id, "items": 3}],
        "errors": [],
    }
    assert record["resources"] == [{"accountId": ALICE.account, "type": "AWS::KMS::Key", "ARN": key.arn}]


@pytest.mark.parametrize("padding", [b"", b"\x12\x06\x0a\x01c\x12\x011"], ids=["scanned", "by protobuf's reader"])
def test_the_audit_record_counts_items_with_their_own_context(shared: Worker, padding: bytes) -> None:
    """`padding` is a pair apart from the others, which the scanner leaves to protobuf."""
    key = shared.create()
    items: list[Any] = [{"plaintext": b"p"}, {"plaintext": b"p", "encryption_context": {"a": "2"}}]
    request = pb.EncryptBatchRequest(key_id=key.key_id, encryption_context={"a": "1"}, items=items)
    shared.audit()
    shared.executor.execute(OPERATIONS["EncryptBatch"], shared.credentials(), request.SerializeToString() + padding)
    (record,) = shared.audit()
    recorded = record["requestParameters"]
    assert (recorded["items"], recorded["itemsWithOwnEncryptionContext"], recorded["encryptionContext"]["a"]) == (
        2,
        1,
        "1",
    )
    assert ("c" in recorded["encryptionContext"]) is bool(padding)
