"""The core's scanner of batches against protobuf's parser; groups of items, and processing a batch in parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from kms_grpc.crypto import envelope, errors, raw_batch, raw_request
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.errors import KMSError, ValidationException
from kms_grpc.operations.contract.validation import refuse_unknown_fields, validator_for
from kms_grpc.v1 import envelope_pb2 as pb
from tests.bad_requests import bad_requests
from tests.crypto.conftest import Loaded
from tests.crypto.test_raw_request import numbers, pairs, sized, texts, wire

KINDS: dict[str, tuple[int, Any, Any]] = {
    "EncryptBatch": (raw_request.ENCRYPT, pb.EncryptBatchRequest, pb.EncryptBatchItem),
    "DecryptBatch": (raw_request.DECRYPT, pb.DecryptBatchRequest, pb.DecryptBatchItem),
    "ReEncryptBatch": (raw_request.RE_ENCRYPT, pb.ReEncryptBatchRequest, pb.ReEncryptBatchItem),
    "GenerateDataKeyBatch": (raw_request.DATA_KEY, pb.GenerateDataKeyBatchRequest, pb.GenerateDataKeyBatchItem),
}
CASES = [case for case in bad_requests(seed=2) if case.operation in KINDS]


def field(message: Any, name: str) -> Any:
    return getattr(message, name, None)


def named(message: Any) -> tuple[str, str]:
    return field(message, "key_id") or field(message, "destination_key_id") or "", field(message, "source_key_id") or ""


def said(message: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the encryption contexts of an item."""
    first = field(message, "encryption_context") or field(message, "destination_encryption_context") or {}
    return dict(first), dict(field(message, "source_encryption_context") or {})


def agrees(name: str, raw: bytes, *, written: bool = False) -> bool:
    """Returns whether the scanner accepts the request. Fails if protobuf's parser reads something else."""
    kind, request_class, item_class = KINDS[name]
    batch = raw_batch.scan(kind, raw, written=written)
    if batch is None:
        return False
    request = request_class.FromString(raw)
    refuse_unknown_fields(request)
    assert batch.items == len(request.items)
    assert (batch.key_spec, batch.number_of_bytes) == (
        field(request, "key_spec") or 0,
        request.number_of_bytes if kind == raw_request.DATA_KEY and request.HasField("number_of_bytes") else None,
    )
    for number, item in enumerate(request.items):
        found = batch.item(number)
        assert item_class.FromString(found.own) == item
        seen = item_class.FromString(found.pairs)
        for mine, own, of_all in zip(said(seen), said(item), said(request), strict=True):
            assert mine == (own or of_all)
        own_names, names_of_all = named(item), named(request)
        assert (found.key.decode(), found.source_key.decode()) == tuple(
            own or of_all for own, of_all in zip(own_names, names_of_all, strict=True)
        )
        assert found.prefix == (field(item, "ciphertext_blob") or b"")[:55]
    return True


def written_again(name: str, raw: bytes) -> bytes | None:
    """Returns the request as protobuf writes it, if it parses and the batch's own fields are valid; else None."""
    request_class = KINDS[name][1]
    try:
        request: Message = request_class.FromString(raw)
        validator_for(request_class)(request)
        for context in said(request):
            canonical(context)
    except (DecodeError, KMSError):
        return None
    return request.SerializeToString()


@pytest.mark.parametrize("name", KINDS)
def test_the_scanner_agrees_with_protobuf_on_bad_requests(name: str) -> None:
    cases = [case.raw for case in CASES if case.operation == name]
    taken = [raw for raw in cases if agrees(name, raw)]
    again = [written for raw in cases if (written := written_again(name, raw))]
    assert min(len(taken), len(again)) > 100
    assert [raw for raw in again if not agrees(name, raw, written=True)] == [], (
        "the scanner accepts what protobuf writes"
    )


inner = st.one_of(
    st.builds(sized, st.sampled_from([1, 3, 4, 13, 9]), texts),
    st.builds(sized, st.just(4), st.sampled_from([bytes(127), bytes(128), b"\x01" * 200])),
    st.builds(sized, st.sampled_from([2, 14]), pairs),
    st.builds(wire, st.sampled_from([3, 6, 7]), st.just(0), numbers),
    st.binary(max_size=3),
)
items = st.builds(lambda parts: sized(3, b"".join(parts)), st.lists(inner, max_size=4))


@settings(max_examples=1500, deadline=None)
@given(name=st.sampled_from(sorted(KINDS)), parts=st.lists(items | inner, max_size=6))
def test_the_scanner_agrees_with_protobuf_on_any_fields_in_any_order(name: str, parts: list[bytes]) -> None:
    raw = b"".join(parts)
    agrees(name, raw)
    written = written_again(name, raw)
    assert written is None or agrees(name, written, written=True)


# --- groups -------------------------------------------------------------------------------------------------------


def batch_of(
    items: Sequence[dict[str, Any]], *, by_context: bool = False, **common: Any
) -> tuple[raw_batch.ScannedBatch, bytes]:
    raw = pb.EncryptBatchRequest(items=items, **common).SerializeToString()
    batch = raw_batch.scan(raw_request.ENCRYPT, raw, by_context=by_context)
    assert batch is not None
    return batch, raw


def test_items_with_the_same_keys_form_one_group() -> None:
    items = [{"key_id": f"k{i % 3}", "plaintext": b"p", "encryption_context": {"n": str(i % 5)}} for i in range(60)]
    batch, _ = batch_of(items)
    assert [batch.group(number).key for number in range(batch.groups)] == [b"k0", b"k1", b"k2"]
    apart, _ = batch_of(items, by_context=True)
    assert apart.groups == 15


def test_ten_thousand_groups() -> None:
    batch, _ = batch_of([{"key_id": f"k{i}", "plaintext": b"p"} for i in range(10_000)])
    assert batch.groups == 10_000
    assert [batch.group(number).key for number in (0, 5_000, 9_999)] == [b"k0", b"k5000", b"k9999"]
    assert raw_batch.scan(raw_request.ENCRYPT, b"\x1a\x00" * 10_001) is None, "one item more"


# --- processing ---------------------------------------------------------------------------------------------------


def under(key: Loaded) -> Any:
    made = raw_request.material(key.handle, key.prefix, key.associated({})[:-4])
    assert made is not None
    return made


def test_parts_of_a_batch_give_the_whole_answer(key: Loaded) -> None:
    """Processes parts in any order, as threads would, with failed items among them."""
    texts = [bytes([i % 251]) * (1 + i * 3) for i in range(600)]
    items = [{"key_id": "x" if i % 10 == 3 else "k", "plaintext": text} for i, text in enumerate(texts)]
    batch, _ = batch_of(items, encryption_context={"a": "1"})
    admitted = [raw_batch.Admitted(under(key)), raw_batch.Admitted()]
    batch.plan(admitted, 0)
    for first, end in ((450, 600), (0, 64), (64, 449), (449, 450)):
        batch.run(first, end)
    done, failures = batch.tally()
    assert [of_group.items for of_group in done] == [540, 0]
    assert [failure.number for failure in failures] == list(range(3, 600, 10))
    assert {failure.status for failure in failures} == {raw_batch.NOT_ADMITTED}
    error = pb.EncryptBatchResponse(results=[pb.EncryptBatchResult(key=7)]).SerializeToString()
    answer = pb.EncryptBatchResponse.FromString(batch.results([(failure, error) for failure in failures]))
    assert len(answer.results) == 600
    for i, (text, result) in enumerate(zip(texts, answer.results, strict=True)):
        if i % 10 == 3:
            assert result == pb.EncryptBatchResult(key=7)
        else:
            opened = envelope.open_blob(key.handle, key.associated({"a": "1"}), result.ciphertext_blob)
            assert opened == text


@pytest.mark.parametrize("name", ["EncryptBatch", "ReEncryptBatch", "GenerateDataKeyBatch"])
def test_no_two_items_have_the_same_nonce(key: Loaded, name: str) -> None:
    """The nonces are drawn into the end of the answer; no item may overwrite the nonce of a later one."""
    blob = envelope.seal(key.handle, key.prefix, key.associated({}), b"p")
    requests = {
        "EncryptBatch": pb.EncryptBatchRequest(key_id="k", items=[{"plaintext": b"p"}] * 1000),
        "ReEncryptBatch": pb.ReEncryptBatchRequest(destination_key_id="k", items=[{"ciphertext_blob": blob}] * 1000),
        "GenerateDataKeyBatch": pb.GenerateDataKeyBatchRequest(
            key_id="k", number_of_bytes=1, items=[{"count": 10}] * 100
        ),
    }
    batch = raw_batch.scan(KINDS[name][0], requests[name].SerializeToString())
    assert batch is not None
    batch.plan([raw_batch.Admitted(under(key), under(key))], 1)
    for first, end in ((0, 1), (1, 90), (90, batch.items)):
        batch.run(first, end)
    answer = pb.GenerateDataKeyBatchResponse if name.startswith("Gen") else pb.EncryptBatchResponse
    results: Any = answer.FromString(batch.results([])).results
    blobs = [one.ciphertext_blob for result in results for one in getattr(result, "data_keys", [result])]
    assert len(blobs) == len({blob[55:79] for blob in blobs}) == 1000
    assert all(envelope.open_blob(key.handle, key.associated({}), blob) for blob in blobs)


def test_a_failed_run_leaves_zeros(key: Loaded) -> None:
    """The key of the second item was evicted: the answer holds nothing of the first either."""
    blob = envelope.seal(key.handle, key.prefix, key.associated({}), b"secret of the test")
    raw = pb.DecryptBatchRequest(
        items=[{"ciphertext_blob": blob, "key_id": name} for name in ("k", "x")]
    ).SerializeToString()
    batch = raw_batch.scan(raw_request.DECRYPT, raw)
    assert batch is not None
    gone = raw_request.material(key.handle + (1 << 40), key.prefix, key.associated({})[:-4])
    batch.plan([raw_batch.Admitted(under(key)), raw_batch.Admitted(gone)], 0)
    with pytest.raises(errors.StaleHandle):
        batch.run()
    assert b"secret of" not in batch.results([])


@pytest.mark.parametrize("name", ["DecryptBatch", "ReEncryptBatch"])
def test_an_item_that_does_not_open_leaves_zeros(key: Loaded, name: str) -> None:
    blob = bytearray(envelope.seal(key.handle, key.prefix, key.associated({}), b"secret of the test"))
    blob[-1] ^= 1
    requests = {
        "DecryptBatch": pb.DecryptBatchRequest(items=[{"ciphertext_blob": bytes(blob)}]),
        "ReEncryptBatch": pb.ReEncryptBatchRequest(destination_key_id="k", items=[{"ciphertext_blob": bytes(blob)}]),
    }
    batch = raw_batch.scan(KINDS[name][0], requests[name].SerializeToString())
    assert batch is not None
    batch.plan([raw_batch.Admitted(under(key), under(key))], 0)
    batch.run()
    (failure,) = batch.tally()[1]
    assert failure.status == raw_batch.INVALID_CIPHERTEXT
    (result,) = pb.DecryptBatchResponse.FromString(batch.results([])).results
    assert result.plaintext in (bytes(18), b"")
    assert set(pb.EncryptBatchResult.FromString(result.SerializeToString()).ciphertext_blob) <= {0}


@pytest.mark.parametrize("name", ["DecryptBatch", "GenerateDataKeyBatch"])
def test_the_answer_is_not_copied(key: Loaded, name: str) -> None:
    """The answer is the buffer itself, without a copy; after `results` nothing writes to it."""
    blob = envelope.seal(key.handle, key.prefix, key.associated({}), b"secret of the test")
    requests = {
        "DecryptBatch": pb.DecryptBatchRequest(items=[{"ciphertext_blob": blob}]),
        "GenerateDataKeyBatch": pb.GenerateDataKeyBatchRequest(items=[{"key_id": "k", "count": 3}], number_of_bytes=32),
    }
    raw = requests[name].SerializeToString()
    batch = raw_batch.scan(KINDS[name][0], raw)
    assert batch is not None
    batch.plan([raw_batch.Admitted(under(key))], 32, behind=b"behind")
    batch.run()
    written = batch._out
    answer = batch.results([])
    assert answer is written
    assert answer.endswith(b"behind")
    kept = bytes(bytearray(answer))
    batch.run()
    assert answer == kept


def test_an_invalid_part_is_an_error(key: Loaded) -> None:
    batch, _ = batch_of([{"key_id": "k", "plaintext": b"p"}] * 3)
    batch.plan([raw_batch.Admitted(under(key))], 0)
    for first, end in ((0, 4), (2, 2), (3, 3)):
        with pytest.raises((errors.CryptoFailure, ValidationException)):
            batch.run(first, end)
