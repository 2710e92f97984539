"""Permits: each worker obeys from its next call on what another has acknowledged; and which decisions may be kept.

Two workers share a data directory, each with its own caches: one learns of the other's writes only by shared words.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from kms_grpc.authorization.base import STABLE_ATTRIBUTES, Decision, Question
from kms_grpc.model.key import KeyState
from kms_grpc.model.key_state import DISABLED, RULES
from kms_grpc.registry import words
from kms_grpc.registry.words import Words
from tests.operations.service import (
    ALICE,
    AWAY,
    BOB,
    EVE,
    HOME,
    OPERATIONS,
    Host,
    Refusal,
    Worker,
    refusal_of,
    together,
)

WARM = [row.name for row in OPERATIONS.values() if row.warm]


def fields_of(name: str, worker: Worker, key: Any) -> dict[str, Any]:
    fields = {"key_id": key.key_id, "destination_key_id": key.key_id, "plaintext": b"p", "number_of_bytes": 16}
    fields["ciphertext_blob"] = worker.encrypt(key.key_id)
    return {field: fields[field] for field in fields if field in OPERATIONS[name].request.DESCRIPTOR.fields_by_name}


def warmed(worker: Worker, name: str, **fields: Any) -> dict[str, Any]:
    """Repeats the call until a Permit answers it."""
    worker.call(name, **fields)
    assert worker.is_warm(name, **fields), "no Permit was kept, so this test would show nothing"
    return fields


@pytest.fixture
def pair(host: Host) -> tuple[Worker, Worker]:
    return host.worker(), host.worker()


@pytest.mark.parametrize("name", WARM)
def test_a_permit_answers_the_second_call(worker: Worker, name: str) -> None:
    key = worker.create()
    fields = fields_of(name, worker, key)
    worker.shard().words.announce_all()
    assert not worker.is_warm(name, **fields)
    warmed(worker, name, **fields)


@pytest.mark.parametrize("name", [name for name in WARM if RULES[name].cells[KeyState.DISABLED] == (DISABLED,)])
def test_a_disabled_key_is_obeyed_by_the_next_call(pair: tuple[Worker, Worker], name: str) -> None:
    worker, other = pair
    key = worker.create()
    fields = warmed(worker, name, **fields_of(name, worker, key))
    warmed(other, name, **fields)
    for asked, telling in ((worker, other), (other, worker), (worker, worker)):
        telling.call("DisableKey", key_id=key.key_id)
        assert not asked.is_warm(name, **fields)
        expected = Refusal("DisabledException", f"{key.arn} is disabled.", key.arn, "Disabled")
        assert asked.refusal(name, **fields) == expected
        assert not asked.is_warm(name, **fields), "a refusal leaves no Permit"
        telling.call("EnableKey", key_id=key.key_id)
        warmed(asked, name, **fields)


def test_a_moved_alias_is_obeyed_by_the_next_call(pair: tuple[Worker, Worker]) -> None:
    worker, other = pair
    first, second = worker.create(alias="alias/moving"), worker.create()
    fields = warmed(worker, "Encrypt", key_id="alias/moving", plaintext=b"p")
    blob = worker.encrypt("alias/moving")
    opening = warmed(worker, "Decrypt", key_id="alias/moving", ciphertext_blob=blob)
    other.call("UpdateAlias", alias_name="alias/moving", target_key_id=second.key_id)
    assert worker.call("Encrypt", **fields).key_id == second.arn
    assert worker.refusal("Decrypt", **opening).code == "IncorrectKeyException"
    other.call("DeleteAlias", alias_name="alias/moving")
    assert worker.refusal("Encrypt", **fields).code == "NotFoundException"
    other.call("CreateAlias", alias_name="alias/moving", target_key_id=first.key_id)
    assert worker.call("Encrypt", **fields).key_id == first.arn
    assert worker.call("Decrypt", **opening).plaintext == b"plaintext"


def test_a_key_that_was_unknown_is_found_once_it_exists(pair: tuple[Worker, Worker]) -> None:
    """A worker caches for a while that a key does not exist; the next commit ends that too."""
    worker, other = pair
    assert worker.refusal("DescribeKey", key_id="alias/to-come").code == "NotFoundException"
    key = other.create(alias="alias/to-come")
    assert worker.call("DescribeKey", key_id="alias/to-come").key_metadata.key_id == key.key_id
    assert worker.call("Decrypt", ciphertext_blob=other.encrypt(key.key_id)).plaintext == b"plaintext"


def test_new_material_is_used_by_the_next_call(pair: tuple[Worker, Worker]) -> None:
    """The rotation is written to the registry directly; former blobs can still be decrypted."""
    worker, other = pair
    key = worker.create()
    blob = worker.encrypt(key.key_id)
    warmed(worker, "Encrypt", key_id=key.key_id, plaintext=b"p")
    shard = other.shard()
    material = shard.generate_material(key.key_id, ALICE.account, 1)
    with shard.writing() as transaction:
        row = transaction.keys.find(key.key_id)
        assert row is not None
        transaction.keys.make_current(row, material)
    sealed = worker.encrypt(key.key_id)
    opened = worker.call("Decrypt", ciphertext_blob=sealed)
    assert opened.key_material_id == material.material_id.hex()
    assert worker.call("Decrypt", ciphertext_blob=blob).key_material_id == key.current_key_material_id


def writes_on(key: Any, other: Any) -> list[tuple[str, dict[str, Any]]]:
    """Returns writes that touch `key`, and after which it can still encrypt. `other` is another key."""
    alias = {"alias_name": "alias/its", "target_key_id": key.key_id}
    return [
        ("CreateAlias", alias),
        ("UpdateAlias", {**alias, "target_key_id": other.key_id}),  # its old target
        ("UpdateAlias", alias),  # its new target
        ("DeleteAlias", {"alias_name": "alias/its"}),
        ("UpdateKeyDescription", {"key_id": key.key_id, "description": "changed"}),
        ("EnableKeyRotation", {"key_id": key.key_id}),
        ("RotateKeyOnDemand", {"key_id": key.key_id}),
        ("DisableKey", {"key_id": key.key_id}),
        ("EnableKey", {"key_id": key.key_id}),
    ]


def test_a_write_ends_the_permits_of_what_it_touched_and_no_others(pair: tuple[Worker, Worker]) -> None:
    worker, other = pair
    touched, second, neighbour = worker.create(), worker.create(), worker.create(alias="alias/neighbour")
    encrypting = {"key_id": touched.key_id, "plaintext": b"p"}
    warmed(worker, "Encrypt", **encrypting)
    others = [
        ("Encrypt", warmed(worker, "Encrypt", key_id=neighbour.key_id, plaintext=b"p")),
        ("Encrypt", warmed(worker, "Encrypt", key_id="alias/neighbour", plaintext=b"p")),
        ("Decrypt", warmed(worker, "Decrypt", ciphertext_blob=worker.encrypt(neighbour.key_id))),
        ("DescribeKey", warmed(worker, "DescribeKey", key_id=neighbour.key_id)),
    ]
    for name, fields in writes_on(touched, second):
        if name != "EnableKey":  # a disabled key has no Permit
            warmed(worker, "Encrypt", **encrypting)
        other.call(name, **fields)
        assert not worker.is_warm("Encrypt", **encrypting), name
        for kept, of_neighbour in others:
            assert worker.is_warm(kept, **of_neighbour), f"{name} made {kept} of another key cold"
    other.create()
    assert all(worker.is_warm(kept, **of_neighbour) for kept, of_neighbour in others), "CreateKey"


def test_a_write_leaves_a_batch_of_other_keys_warm(pair: tuple[Worker, Worker]) -> None:
    worker, other = pair
    key, written = worker.create(), worker.create()
    fields: dict[str, Any] = {"key_id": key.key_id, "items": [{"plaintext": b"p"}] * 3}
    warmed(worker, "EncryptBatch", **fields)
    other.call("DisableKey", key_id=written.key_id)
    assert worker.is_warm("EncryptBatch", **fields)
    other.call("DisableKey", key_id=key.key_id)
    assert not worker.is_warm("EncryptBatch", **fields)


def test_a_change_that_may_concern_a_whole_region_ends_only_that_regions_permits(pair: tuple[Worker, Worker]) -> None:
    worker, other = pair
    key, away = worker.create(), worker.create(region=AWAY)
    fields = warmed(worker, "Encrypt", key_id=key.key_id, plaintext=b"p")
    far = warmed(worker, "Encrypt", region=AWAY, key_id=away.key_id, plaintext=b"p")
    other.shard(HOME).words.announce_all()
    assert not worker.is_warm("Encrypt", **fields)
    assert worker.is_warm("Encrypt", **far)
    warmed(worker, "Encrypt", **fields)
    other.shard(HOME).words.configuration.bump()  # as the supervisor does when a worker has died
    assert not worker.is_warm("Encrypt", **fields)
    assert not worker.is_warm("Encrypt", **far)


def test_a_permit_ends_when_the_snapshot_is_no_longer_fresh(worker: Worker) -> None:
    fields = warmed(worker, "Encrypt", key_id=worker.create().key_id, plaintext=b"p")
    word = worker.shard().words.fresh_until
    word.add(worker.service.clock.boot_ns() + 10**9 - word.value)
    assert worker.is_warm("Encrypt", **fields)
    word.add(-(10**9))
    assert not worker.is_warm("Encrypt", **fields)


def test_names_that_share_a_word_cost_a_look_up_and_no_wrong_answer(
    pair: tuple[Worker, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "NAMES", 1)
    monkeypatch.setattr(Words, "index_of", lambda self, region, name: self.mapped.count - 1)
    worker, other = pair
    key, written = worker.create(), worker.create()
    fields = warmed(worker, "Encrypt", key_id=key.key_id, plaintext=b"p")
    other.call("DisableKey", key_id=written.key_id)
    assert not worker.is_warm("Encrypt", **fields)
    assert worker.call("Encrypt", **fields).key_id == key.arn
    assert worker.refusal("Encrypt", key_id=written.key_id, plaintext=b"p").code == "DisabledException"


def test_a_write_between_the_word_and_the_cache_is_not_missed(pair: tuple[Worker, Worker]) -> None:
    """Admission reads the words before the registry. Whenever the write comes, its Permit does not survive it."""
    worker, other = pair
    key = worker.create()
    find_key = worker.shard().find_key

    def find_then_disable(key_id: str) -> Any:
        found = find_key(key_id)
        other.call("DisableKey", key_id=key_id)
        return found

    worker.shard().find_key = find_then_disable  # type: ignore[method-assign]
    worker.encrypt(key.key_id)
    worker.shard().find_key = find_key  # type: ignore[method-assign]
    assert worker.refusal("Encrypt", key_id=key.key_id, plaintext=b"p").code == "DisabledException"


def test_permits_are_the_callers_own(worker: Worker) -> None:
    """A call with another token, account, region, operation or name of the key is admitted anew."""
    key = worker.create(alias="alias/mine")
    fields = warmed(worker, "Encrypt", key_id=key.key_id, plaintext=b"p")
    assert not worker.is_warm("Encrypt", by=BOB, **fields)
    assert not worker.is_warm("Encrypt", by=EVE, **fields)
    assert not worker.is_warm("Encrypt", region=HOME, **fields)
    assert not worker.is_warm("Encrypt", key_id="alias/mine", plaintext=b"p")
    assert not worker.is_warm("GenerateDataKeyWithoutPlaintext", key_id=key.key_id, number_of_bytes=16)
    assert worker.refusal("Encrypt", by=EVE, **fields).code == "NotFoundException"
    assert worker.refusal("Encrypt", by=EVE, key_id=key.arn, plaintext=b"p").code == "AccessDeniedException"
    for token in ("", "x", ALICE.token + " ", ALICE.token.upper(), None):
        code = "MissingAuthenticationTokenException" if token is None else "UnrecognizedClientException"
        assert refusal_of(lambda token=token: worker.call("Encrypt", by=token, **fields)).code == code


def test_a_blob_of_another_material_is_not_covered(worker: Worker) -> None:
    """A Permit for Decrypt names key and material by the blob's first 55 bytes; a change in any of them finds no
    Permit."""
    key, other = worker.create(), worker.create()
    warmed(worker, "Decrypt", ciphertext_blob=worker.encrypt(key.key_id))
    assert worker.is_warm("Decrypt", ciphertext_blob=worker.encrypt(key.key_id))
    assert not worker.is_warm("Decrypt", ciphertext_blob=worker.encrypt(other.key_id))
    blob = bytearray(worker.encrypt(key.key_id))
    for offset in range(55):
        blob[offset] ^= 1
        assert worker.refusal("Decrypt", ciphertext_blob=bytes(blob)).code == "InvalidCiphertextException"
        blob[offset] ^= 1


class ReadsContexts:
    """An authorizer that decides by the encryption context, and notes each question."""

    def __init__(self, reads: frozenset[str]) -> None:
        self.reads = reads
        self.asked: list[Question] = []

    def decide(self, question: Question) -> Decision:
        self.asked.append(question)
        return Decision(question.encryption_context.get("deny") != "yes", self.reads)


@pytest.mark.parametrize("name", WARM)
def test_a_decision_that_reads_the_context_is_asked_once_for_each(host: Host, name: str) -> None:
    authorizer = ReadsContexts(STABLE_ATTRIBUTES | {"encryption_context"})
    worker = host.worker(authorizer)
    key = worker.create()
    fields = fields_of(name, worker, key)
    actions = [key.action for key in OPERATIONS[name].keys]
    for _ in range(3):
        worker.call(name, **fields)
        assert worker.is_warm(name, **fields)
        assert [question.action for question in authorizer.asked if question.action in actions] == actions


def test_one_unstable_decision_of_two_is_enough(host: Host) -> None:
    """ReEncrypt takes two decisions, and a Permit would stand for both."""

    class ReadsSourceOnly(ReadsContexts):
        def decide(self, question: Question) -> Decision:
            self.reads = STABLE_ATTRIBUTES | ({"source_ip"} if question.action == "kms:ReEncryptFrom" else set())
            return super().decide(question)

    worker = host.worker(ReadsSourceOnly(STABLE_ATTRIBUTES))
    key = worker.create()
    fields = fields_of("ReEncrypt", worker, key)
    worker.call("ReEncrypt", **fields)
    assert not worker.is_warm("ReEncrypt", **fields)


def test_the_context_that_was_sent_is_the_one_that_is_judged(host: Host) -> None:
    authorizer = ReadsContexts(STABLE_ATTRIBUTES | {"encryption_context"})
    worker = host.worker(authorizer)
    key = worker.create()
    worker.encrypt(key.key_id, encryption_context={"deny": "no"})
    denied = worker.refusal("Encrypt", key_id=key.key_id, plaintext=b"p", encryption_context={"deny": "yes"})
    assert denied.code == "AccessDeniedException"
    assert denied.text.startswith(f"User: {ALICE.arn} is not authorized to perform: kms:Encrypt on this resource")
    blob = worker.encrypt(key.key_id)
    contexts = {"source_encryption_context": {"s": "1"}, "destination_encryption_context": {"deny": "yes"}}
    authorizer.asked.clear()
    refusal = worker.refusal("ReEncrypt", ciphertext_blob=blob, destination_key_id=key.key_id, **contexts)
    assert refusal.code == "AccessDeniedException"
    assert [(question.action, dict(question.encryption_context)) for question in authorizer.asked] == [
        ("kms:ReEncryptFrom", {"s": "1"}),
        ("kms:ReEncryptTo", {"deny": "yes"}),
    ]


def test_a_stable_decision_is_asked_once(host: Host) -> None:
    authorizer = ReadsContexts(STABLE_ATTRIBUTES)
    worker = host.worker(authorizer)
    key = worker.create()
    authorizer.asked.clear()
    for _ in range(5):
        worker.encrypt(key.key_id)
    assert len(authorizer.asked) == 1


def test_a_full_table_of_permits_is_emptied_and_goes_on(make_host: Callable[..., Host]) -> None:
    worker = make_host(limits={"cached_keys": 1}).worker()
    keys = [worker.create() for _ in range(6)]
    for key in keys * 3:
        blob = worker.encrypt(key.key_id)
        assert worker.call("Decrypt", ciphertext_blob=blob).key_id == key.arn


def test_keys_that_push_each_other_out_of_the_caches(make_host: Callable[..., Host]) -> None:
    """Two threads use more keys than the caches hold: a key evicted between look-up and use is loaded anew."""
    worker = make_host(limits={"cached_keys": 2}).worker()
    keys = [worker.create() for _ in range(8)]
    blobs = [worker.encrypt(key.key_id) for key in keys]

    def use(step: int) -> None:
        for i in range(150):
            index = (i * step) % len(keys)
            assert worker.encrypt(keys[index].key_id)
            assert worker.call("Decrypt", ciphertext_blob=blobs[index]).plaintext == b"plaintext"

    assert together(*(lambda step=step: use(step) for step in (1, 3, 5))) == [None, None, None]


def test_disable_under_load_is_obeyed(pair: tuple[Worker, Worker]) -> None:
    """Every call that begins on the other worker after the acknowledgement is refused."""
    worker, other = pair
    key = worker.create()
    for _ in range(20):
        worker.encrypt(key.key_id)
        other.call("DisableKey", key_id=key.key_id)
        outcomes = together(*(lambda: worker.encrypt(key.key_id) for _ in range(4)))
        assert [type(outcome).__name__ for outcome in outcomes] == ["DisabledException"] * 4
        other.call("EnableKey", key_id=key.key_id)


def test_pending_deletion_written_to_the_registry_is_obeyed(pair: tuple[Worker, Worker]) -> None:
    worker, other = pair
    key = worker.create()
    fields = warmed(worker, "Encrypt", key_id=key.key_id, plaintext=b"p")
    other.change(key.key_id, state=KeyState.PENDING_DELETION)
    assert worker.refusal("Encrypt", **fields).text == f"{key.arn} is pending deletion."


@pytest.mark.parametrize("name", ["CreateKey", "Encrypt", "ListKeys"])
def test_a_call_past_its_deadline_is_not_begun(worker: Worker, name: str) -> None:
    key = worker.create()
    fields = {"Encrypt": {"key_id": key.key_id, "plaintext": b"p"}}.get(name, {})
    raw = OPERATIONS[name].request(**fields).SerializeToString()
    late = worker.credentials()._replace(deadline_ns=time.monotonic_ns())
    refused = refusal_of(lambda: worker.executor.execute(OPERATIONS[name], late, raw))
    assert refused == Refusal("DeadlineExceeded", "The deadline of the call passed before the call started.")
    assert len(worker.call("ListKeys").keys) == 1
