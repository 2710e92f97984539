"""The core's scanner of requests against protobuf's parser, and the core's responses, read by protobuf.

Both must read the same from every request that the scanner accepts.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kms_grpc.crypto import envelope, errors, raw_request
from kms_grpc.crypto._native import ffi
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.errors import InvalidCiphertextException, KMSError
from kms_grpc.operations.contract.validation import validator_for
from kms_grpc.v1 import key_management_pb2 as pb
from tests.bad_requests import bad_requests
from tests.crypto.conftest import Loaded

KINDS: dict[str, tuple[int, Any, Any, str, int]] = {
    "Encrypt": (raw_request.ENCRYPT, pb.EncryptRequest, pb.EncryptResponse, "plaintext", 4096),
    "Decrypt": (raw_request.DECRYPT, pb.DecryptRequest, pb.DecryptResponse, "ciphertext_blob", 65_663),
}
CASES = [case for case in bad_requests(seed=1) if case.operation in KINDS]


def scan(name: str, raw: bytes) -> raw_request.Scanned | None:
    kind, _, _, _, most = KINDS[name]
    return raw_request.scan(kind, raw, most)


def agrees(name: str, raw: bytes) -> bool:
    """Returns whether the scanner accepts the request. Fails if protobuf's parser or the validator disagrees."""
    _, request_class, _, data, _ = KINDS[name]
    scanned = scan(name, raw)
    if scanned is None:
        return False
    request = request_class.FromString(raw)
    if request.key_id:  # no Permit matches an absent KeyId
        validator_for(request_class)(request)
    identity, has_context = scanned
    call = raw_request._buffer.parts[0]
    place, context = call.data, ffi.buffer(call.context, call.context_len)[:]
    assert not request.dry_run
    assert raw[place.at : place.at + place.len] == getattr(request, data)
    assert identity == request.key_id.encode() + (request.ciphertext_blob[:55] if name == "Decrypt" else b"")
    assert context == canonical(request.encryption_context)
    assert has_context is bool(request.encryption_context)
    return True


def is_plain(name: str, raw: bytes) -> bytes | None:
    """Returns the request as protobuf writes it, if it asks for nothing besides sealing or opening; else None."""
    request_class = KINDS[name][1]
    try:
        request = request_class.FromString(raw)
        validator_for(request_class)(request)
        canonical(request.encryption_context)
    except (KMSError, DecodeError):
        return None
    if request.dry_run or (name == "Decrypt" and len(request.ciphertext_blob) <= envelope.OVERHEAD):
        return None
    written: bytes = request.SerializeToString()
    if request.grant_tokens:
        return None  # each token is checked in Python, and no Permit answers such a call
    return written if len(request.key_id.encode()) <= 2048 else None


@pytest.mark.parametrize("name", KINDS)
def test_the_scanner_agrees_with_protobuf_on_bad_requests(name: str) -> None:
    cases = [case.raw for case in CASES if case.operation == name]
    taken = [raw for raw in cases if agrees(name, raw)]
    plain = [written for raw in cases if (written := is_plain(name, raw))]
    assert len(taken) > 100
    assert len(plain) > 100
    assert [raw for raw in plain if not agrees(name, raw)] == [], "the scanner accepts what protobuf writes"


def wire(number: int, kind: int, payload: bytes) -> bytes:
    return bytes([number << 3 | kind]) + payload


def sized(number: int, payload: bytes) -> bytes:
    size, length = len(payload), b""
    while size >= 0x80:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return wire(number, 2, length + bytes([size]) + payload)


texts = st.sampled_from([b"", b"k", b"key", "\u2603".encode(), b"\xc3\x28", b"\xed\xa0\x80", b"v" * 4100, b"\x00"])
pairs = st.builds(
    lambda fields: b"".join(sized(number, text) for number, text in fields),
    st.lists(st.tuples(st.sampled_from([1, 2, 1, 2, 3]), texts), max_size=3),
)
numbers = st.sampled_from(
    [b"\x00", b"\x01", b"\x02", b"\x80\x00", b"\x81\x00", b"\xff" * 9 + b"\x01", b"\xff\xff\x7f", b""]
)
fields = st.one_of(
    st.builds(sized, st.sampled_from([1, 3, 4, 6, 9]), texts),
    st.builds(sized, st.sampled_from([4]), st.sampled_from([bytes(127), bytes(128), b"\x01" * 200])),
    st.builds(sized, st.just(2), pairs),
    st.builds(wire, st.sampled_from([3, 5, 8, 16]), st.just(0), numbers),
    st.binary(max_size=4),
)


@settings(max_examples=1500, deadline=None)
@given(name=st.sampled_from(sorted(KINDS)), parts=st.lists(fields, max_size=6))
@example(name="Encrypt", parts=[sized(1, b"a"), sized(1, b"b"), sized(3, b"p"), sized(3, b"q")])
@example(name="Encrypt", parts=[sized(1, b"a"), sized(2, sized(1, b"k")), sized(3, b"p"), sized(2, b"")])
@example(name="Encrypt", parts=[sized(2, sized(1, b"k")), sized(2, sized(1, b"k")), sized(3, b"p")])
@example(name="Decrypt", parts=[sized(1, b""), sized(4, bytes(128))])
def test_the_scanner_agrees_with_protobuf_on_any_fields_in_any_order(name: str, parts: list[bytes]) -> None:
    agrees(name, b"".join(parts))


TAKEN = [
    ("Encrypt", sized(1, b"a") + sized(3, b"p"), True, "the shortest"),
    ("Encrypt", sized(3, b"p") + sized(1, b"a"), True, "in any order"),
    ("Encrypt", sized(1, b"a") + sized(3, b"p") + wire(5, 0, b"\1") + wire(8, 0, b"\0"), True, "defaults, spelled out"),
    ("Encrypt", sized(1, b"a") + sized(3, b"") + sized(3, b"p"), True, "the last value wins"),
    ("Encrypt", sized(1, b"a") + sized(2, b"") + sized(3, b"p"), True, "an empty pair"),
    ("Encrypt", sized(1, b"a") + sized(3, b"p") + wire(8, 0, b"\1"), False, "a dry run"),
    ("Encrypt", sized(1, b"a") + sized(3, b"p") + wire(5, 0, b"\2"), False, "another algorithm"),
    ("Encrypt", sized(1, b"a") + sized(3, b"p") + sized(9, b"t"), False, "a grant token"),
    ("Encrypt", sized(1, b"a") + sized(3, b"p" * 4097), False, "too long"),
    ("Encrypt", sized(1, b"a") + sized(3, b""), False, "nothing to encrypt"),
    ("Encrypt", sized(1, b"a"), False, "no plaintext"),
    ("Encrypt", sized(1, b"\xff") + sized(3, b"p"), False, "no UTF-8"),
    ("Encrypt", b"\x0a\x81\x00a" + sized(3, b"p"), False, "a length that is not in its shortest form"),
    ("Encrypt", sized(1, b"a") + sized(3, b"p") + b"\x82\x01\x00", False, "a field number that is unknown"),
    ("Encrypt", sized(1, b"a") + sized(2, sized(1, b"k") * 2) + sized(3, b"p"), True, "the last key of a pair wins"),
    ("Decrypt", sized(4, bytes(128)), True, "without a key"),
    ("Decrypt", sized(4, bytes(127)), False, "no blob is that short"),
    ("Decrypt", sized(1, b"") + sized(4, bytes(128)), False, "an empty key is not none"),
    ("Decrypt", sized(4, bytes(128)) + sized(11, b""), False, "a recipient"),
]


@pytest.mark.parametrize(("name", "raw", "is_taken", "reason"), TAKEN)
def test_which_requests_the_scanner_accepts(name: str, raw: bytes, is_taken: bool, reason: str) -> None:
    assert agrees(name, raw) is is_taken, reason


# --- answers -------------------------------------------------------------------------------------------------------


def under(key: Loaded) -> Any:
    made = raw_request.material(key.handle, key.prefix, key.associated({})[:-4])
    assert made is not None
    return made


@pytest.mark.parametrize("context", [{}, {"a": "1"}, {"b": "2", "a": "\u2603", "": ""}])
@pytest.mark.parametrize("size", [1, 1024, 4096])
def test_protobuf_reads_the_cores_responses(key: Loaded, context: dict[str, str], size: int) -> None:
    plaintext = bytes(i % 251 for i in range(size))
    raw = pb.EncryptRequest(key_id="k", plaintext=plaintext, encryption_context=context).SerializeToString()
    assert scan("Encrypt", raw)
    sealed = pb.EncryptResponse.FromString(raw_request.answer(raw_request.ENCRYPT, raw, under(key)))
    assert envelope.open_blob(key.handle, key.associated(context), sealed.ciphertext_blob) == plaintext
    symmetric = sealed.encryption_algorithm
    assert sealed == pb.EncryptResponse(
        key_id=key.second.arn, ciphertext_blob=sealed.ciphertext_blob, encryption_algorithm=symmetric
    )
    raw = pb.DecryptRequest(ciphertext_blob=sealed.ciphertext_blob, encryption_context=context).SerializeToString()
    assert scan("Decrypt", raw)
    opened = pb.DecryptResponse.FromString(raw_request.answer(raw_request.DECRYPT, raw, under(key)))
    assert opened == pb.DecryptResponse(
        key_id=key.second.arn,
        plaintext=plaintext,
        encryption_algorithm=symmetric,
        key_material_id=key.material_id.hex(),
    )


def test_the_largest_blob_opens(key: Loaded) -> None:
    blob = envelope.seal(key.handle, key.prefix, key.associated({}), b"p" * 65_536)
    raw = pb.DecryptRequest(ciphertext_blob=blob).SerializeToString()
    assert scan("Decrypt", raw)
    opened = pb.DecryptResponse.FromString(raw_request.answer(raw_request.DECRYPT, raw, under(key)))
    assert opened.plaintext == b"p" * 65_536


def test_a_blob_that_does_not_open_leaves_no_answer(key: Loaded) -> None:
    blob = bytearray(envelope.seal(key.handle, key.prefix, key.associated({}), b"secret of the test"))
    blob[-1] ^= 1
    raw = pb.DecryptRequest(ciphertext_blob=bytes(blob)).SerializeToString()
    scanned = scan("Decrypt", raw)
    assert scanned
    with pytest.raises(InvalidCiphertextException):
        raw_request.answer(raw_request.DECRYPT, raw, under(key))
    assert raw_request._buffer.parts[0].answer_len == 0
    assert b"secret of" not in ffi.buffer(raw_request._buffer.parts[0].answer)[:]


def test_no_plaintext_remains_in_the_buffer(key: Loaded) -> None:
    blob = envelope.seal(key.handle, key.prefix, key.associated({}), b"secret of the test")
    raw = pb.DecryptRequest(ciphertext_blob=blob).SerializeToString()
    scanned = scan("Decrypt", raw)
    assert scanned
    assert b"secret of" in raw_request.answer(raw_request.DECRYPT, raw, under(key))
    assert b"secret of" not in ffi.buffer(raw_request._buffer.parts[0].answer)[:]


def test_an_invalid_handle_is_an_error(key: Loaded) -> None:
    raw = pb.EncryptRequest(key_id="k", plaintext=b"p").SerializeToString()
    assert scan("Encrypt", raw)
    gone = raw_request.material(key.handle + (1 << 40), key.prefix, key.associated({})[:-4])
    with pytest.raises(errors.StaleHandle):
        raw_request.answer(raw_request.ENCRYPT, raw, gone)


def test_an_arn_too_long_for_c_gives_no_material(key: Loaded) -> None:
    assert raw_request.material(key.handle, key.prefix, bytes(514)) is not None
    assert raw_request.material(key.handle, key.prefix, bytes(515)) is None
