"""EncryptStream and DecryptStream: exchange with the AWS Encryption SDK, audit records, and reasons why streams end."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from kms_grpc.audit.log import FileAuditLog
from kms_grpc.authorization.base import STABLE_ATTRIBUTES, Decision, Question
from kms_grpc.crypto import keyring
from kms_grpc.crypto.ciphertext_blob import kid_of
from kms_grpc.crypto.message_format import FRAME_LENGTH, read_header
from kms_grpc.errors import DependencyTimeoutException, InvalidCiphertextException
from kms_grpc.model.key import KeyState
from kms_grpc.operations.contract.descriptors import field_limits
from kms_grpc.operations.kinds.stream_work import PIECE_BYTES
from kms_grpc.v1 import envelope_pb2 as pb
from tests import stock_library
from tests.aws_facts import STATES, answer_in
from tests.operations import external_keys, streams
from tests.operations.service import AWAY, BOB, EVE, HOUR_NS, Host, Refusal, Worker, refusal_of
from tests.operations.streams import CONTEXT, FRAME, Stream, decrypt, decrypting, encrypt, encrypting, refusal

MATERIAL = b"thirty-two bytes of key material"
CONTENT = os.urandom(3 * FRAME + 500)
INVALID = Refusal("InvalidCiphertextException", "")
SIZES = [0, 1, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME - 1, 2 * FRAME, 2 * FRAME + 1, 3_000_001]


@pytest.fixture(scope="module")
def key(shared: Worker) -> Any:
    return shared.create()


@pytest.fixture(scope="module")
def message(shared: Worker, key: Any) -> bytes:
    return encrypt(shared, key.key_id, CONTENT)


# --- with the AWS Encryption SDK ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_aws_encryption_sdk_reads_messages_of_the_service(shared: Worker, key: Any, size: int) -> None:
    content = os.urandom(size)
    for step in (1_000_000, size // 2 + 1, size // 7 + 1):
        written = encrypt(shared, key.key_id, content, step)
        assert stock_library.read(written, streams.key_of_worker(shared, key.arn)) == (content, CONTEXT)


@pytest.mark.parametrize("suite", [0x0478, 0x0578])
@pytest.mark.parametrize("size", SIZES)
def test_service_reads_messages_of_the_aws_encryption_sdk(shared: Worker, key: Any, size: int, suite: int) -> None:
    content = os.urandom(size)
    written = stock_library.write(content, streams.key_of_worker(shared, key.arn), CONTEXT, suite, FRAME)
    for step in (1_000_000, len(written) // 2 + 1, len(written) // 7 + 1):
        assert decrypt(shared, written, step) == content


def test_parts_may_be_of_any_size(shared: Worker, key: Any, message: bytes) -> None:
    """The header may be cut at any byte too."""
    for step in (1, 13, 5_000):
        assert decrypt(shared, message, step) == CONTENT
        assert decrypt(shared, encrypt(shared, key.key_id, CONTENT, step)) == CONTENT
    stream = Stream(shared, "EncryptStream")
    for sent in (
        pb.EncryptStreamRequest(key_id=key.key_id),
        pb.EncryptStreamRequest(),
        pb.EncryptStreamRequest(plaintext=b"abc"),
        pb.EncryptStreamRequest(plaintext=b""),
        pb.EncryptStreamRequest(last=True),
    ):
        stream.send(sent)
    assert decrypt(shared, b"".join(answer.ciphertext for answer in stream.end())) == b"abc"


def test_a_message_is_released_with_its_last_piece(shared: Worker, key: Any) -> None:
    """The release comes before the answer is sent, since sending may wait for the caller; then the next message may be
    read."""
    stream = Stream(shared, "EncryptStream")
    stream.send(pb.EncryptStreamRequest(key_id=key.key_id))
    raw = pb.EncryptStreamRequest(plaintext=bytes(2 * PIECE_BYTES + 1)).SerializeToString()
    unheld = sys.getrefcount(raw)
    stream.call.take(raw)
    seen = []
    for _ in range(3):
        wanted = stream.call.wants_next
        stream.call.answer()
        seen.append((wanted, sys.getrefcount(raw) == unheld))
    assert seen == [(False, False), (False, False), (True, True)]
    assert stream.call.answer() is None
    stream.send(pb.EncryptStreamRequest(last=True))
    assert not stream.call.wants_next
    stream.end()


def test_the_first_answer_has_key_and_material(shared: Worker, key: Any, message: bytes) -> None:
    first, *others = streams.run(shared, "EncryptStream", encrypting(key.key_id, CONTENT, FRAME))
    blob_header = shared.call("DescribeKey", key_id=key.key_id).key_metadata
    assert (first.key_id, first.key_material_id) == (key.arn, blob_header.current_key_material_id)
    assert not any(answer.key_id for answer in others)
    header = read_header(first.ciphertext)
    assert header is not None
    assert (header.suite, header.frame_length, dict(header.context)) == (0x0478, FRAME, CONTEXT)
    answers = streams.run(shared, "DecryptStream", decrypting(message))
    assert (answers[0].key_id, dict(answers[0].encryption_context)) == (key.arn, CONTEXT)
    assert answers[0].key_material_id == first.key_material_id


def test_the_default_frame_length_is_the_contracts(shared: Worker, key: Any) -> None:
    written = encrypt(shared, key.key_id, b"x", frame_length=None)
    header = read_header(written)
    assert header is not None
    limits = field_limits(pb.EncryptStreamRequest, "frame_length")
    assert header.frame_length == limits.default_value == FRAME_LENGTH
    answered = shared.call("GetLimits").streams
    assert (answered.default_frame_length, answered.max_frame_length) == (limits.default_value, limits.max)
    assert (answered.max_streams, answered.max_header_bytes) == (128, 65536)


@pytest.mark.parametrize("length", [1024, 1025, 1048576])
def test_frame_lengths(shared: Worker, key: Any, length: int) -> None:
    """Each message has two whole frames and a final one of one byte."""
    content = os.urandom(2 * length + 1)
    written = encrypt(shared, key.key_id, content, frame_length=length)
    header = read_header(written)
    assert header is not None
    assert (header.frame_length, len(written) - header.size) == (length, len(content) + 2 * 32 + 40)
    assert [written[header.size + at * (length + 32) :][:4] for at in range(3)] == [
        b"\0\0\0\1",
        b"\0\0\0\2",
        b"\xff" * 4,
    ]
    assert decrypt(shared, written) == content


# --- permissions and contexts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
def test_key_states(shared: Worker, state: str) -> None:
    """The key states are those of GenerateDataKey and Decrypt."""
    made = shared.create()
    written = encrypt(shared, made.key_id, CONTENT)
    shared.change(made.key_id, state=KeyState(state))
    calls = {
        "GenerateDataKey": ("EncryptStream", encrypting(made.key_id, CONTENT)),
        "Decrypt": ("DecryptStream", decrypting(written)),
    }
    for permission, (name, messages) in calls.items():
        answer = answer_in(permission, state)
        if answer is None:
            assert streams.run(shared, name, messages)
            continue
        told = refusal(shared, name, messages)
        assert (told.code, told.text, told.state) == (answer[0], answer[1].format(arn=made.arn), state)
    if answer is None:
        assert decrypt(shared, written) == CONTENT


def first(**fields: Any) -> list[Any]:
    return [pb.EncryptStreamRequest(last=True, **fields)]


REFUSED_FIRST: list[tuple[str, Callable[[Any], list[Any]], str, str]] = [
    ("no key", lambda key: first(), "ValidationException", "Value null at 'keyId'"),
    ("no such key", lambda key: first(key_id="alias/none"), "NotFoundException", "alias/none is not found"),
    ("frames too short", lambda key: first(key_id=key, frame_length=1023), "ValidationException", "equal to 1024"),
    ("frames too long", lambda key: first(key_id=key, frame_length=1048577), "ValidationException",
     "Value '1048577' at 'frameLength'"),
    ("frames of nothing", lambda key: first(key_id=key, frame_length=0), "ValidationException", "'frameLength'"),
    ("frames of less", lambda key: first(key_id=key, frame_length=-1), "ValidationException", "'frameLength'"),
    ("a context over 8 KiB", lambda key: first(key_id=key, encryption_context={"k": "v" * 8192}),
     "ValidationException", "longer than 8192"),
    ("a key of the format's own", lambda key: first(key_id=key, encryption_context={"aws-crypto-public-key": "x"}),
     "ValidationException", "aws-crypto-"),
    ("an unknown field", lambda key: [first(key_id=key)[0].SerializeToString() + b"\x9a\x06\x01x"],
     "ValidationException", "unknown field, number 99"),
    ("no message of ours", lambda key: [b"\xff\xff"], "ValidationException", "can't be read"),
    ("no message at all", lambda key: [], "ValidationException", "before its first message"),
    ("no last message", lambda key: [pb.EncryptStreamRequest(key_id=key)], "ValidationException", "without its last"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "messages", "code", "text"), REFUSED_FIRST, ids=[row[0] for row in REFUSED_FIRST])
def test_encrypt_streams_that_are_refused(
    shared: Worker, key: Any, reason: str, messages: Callable[[Any], list[Any]], code: str, text: str
) -> None:
    refused = refusal(shared, "EncryptStream", messages(key.key_id))
    assert refused.code == code
    assert text in refused.text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"key_id": "x"}, "KeyId: allowed only in the first"),
        ({"encryption_context": {"a": "b"}}, "EncryptionContext: allowed only in the first"),
        ({"frame_length": 4096}, "FrameLength: allowed only in the first"),
    ],
)
def test_later_messages_hold_only_parts(shared: Worker, key: Any, fields: Any, text: str) -> None:
    later = pb.EncryptStreamRequest(plaintext=b"x", last=True, **fields)
    refused = refusal(shared, "EncryptStream", [pb.EncryptStreamRequest(key_id=key.key_id), later])
    assert refused.code == "ValidationException"
    assert text in refused.text
    odd = later.SerializeToString() + b"\x9a\x06\x01x"
    assert "unknown field" in refusal(shared, "EncryptStream", [pb.EncryptStreamRequest(key_id=key.key_id), odd]).text


def test_callers_without_permission(shared: Worker, key: Any, message: bytes) -> None:
    """A key of another account gets the error of a key that does not exist."""
    assert refusal(shared, "EncryptStream", encrypting(key.arn, b"x"), by=EVE).code == "AccessDeniedException"
    shared.audit()
    assert refusal(shared, "DecryptStream", decrypting(message), by=EVE).code == "AccessDeniedException"
    assert [resource["ARN"] for resource in shared.audit()[0]["resources"]] == [key.arn], "the audit record names it"
    assert (
        refusal(shared, "DecryptStream", decrypting(message), by="nobody's token").code == "UnrecognizedClientException"
    )
    assert (
        refusal(shared, "DecryptStream", decrypting(message, 5), by=None).code == "MissingAuthenticationTokenException"
    )
    elsewhere = refusal(shared, "DecryptStream", decrypting(message), region=AWAY)
    assert elsewhere.code == "AccessDeniedException"
    assert streams.run(shared, "DecryptStream", decrypting(message), by=BOB)


def test_the_key_and_the_context_that_a_caller_expects(shared: Worker, key: Any, message: bytes) -> None:
    other = shared.create()
    assert decrypt(shared, message, key_id=key.arn, encryption_context=CONTEXT) == CONTENT
    assert decrypt(shared, message, encryption_context={}) == CONTENT
    refused = refusal(shared, "DecryptStream", decrypting(message, key_id=other.key_id))
    assert refused.code == "IncorrectKeyException"
    for wrong in ({"dept": "hr"}, CONTEXT | {"more": "x"}):
        assert refusal(shared, "DecryptStream", decrypting(message, encryption_context=wrong)) == INVALID


def test_messages_under_unknown_keys(shared: Worker, key: Any, message: bytes) -> None:
    strangers = stock_library.write(b"x", stock_library.known_key(key.arn, bytes(32), b"no blob of ours"), {})
    assert refusal(shared, "DecryptStream", decrypting(strangers)) == INVALID
    moved = stock_library.write(
        b"x", stock_library.known_key(key.arn, bytes(32), shared.encrypt(key.key_id, bytes(32))), {"not": "its context"}
    )
    assert refusal(shared, "DecryptStream", decrypting(moved)) == INVALID


@pytest.mark.parametrize("exists", [True, False], ids=["a stranger's key", "no key at all"])
def test_the_first_data_key_whose_key_the_caller_may_use_counts(shared: Worker, key: Any, exists: bool) -> None:
    """The answer does not show whether keys of other accounts exist."""
    data_key, strange = os.urandom(32), shared.create(by=EVE)
    mine = shared.encrypt(key.key_id, data_key, encryption_context=CONTEXT)
    also = stock_library.known_key(key.arn, data_key, mine)

    def written() -> tuple[bytes, bool]:
        """The SDK orders data keys by their hashes."""
        theirs = shared.encrypt(strange.key_id, data_key, encryption_context=CONTEXT, by=EVE)
        blob = theirs if exists else theirs[:2] + kid_of(str(uuid.uuid4())) + theirs[19:]
        message = stock_library.write(CONTENT, stock_library.known_key(strange.arn, data_key, blob, also), CONTEXT)
        header = read_header(message)
        return message, header is not None and header.data_keys[0].blob == blob

    message = next(message for message, theirs_first in (written() for _ in range(64)) if theirs_first)
    assert decrypt(shared, message) == CONTENT


def of_two_keys(worker: Worker, first: Any, second: Any) -> bytes:
    """Returns a message whose first data key is under `first`. The SDK orders data keys by their hashes."""
    data_key = os.urandom(32)

    def wrapped(key: Any) -> bytes:
        return worker.encrypt(key.key_id, data_key, encryption_context=CONTEXT)

    while True:
        blob = wrapped(first)
        also = stock_library.known_key(second.arn, data_key, wrapped(second))
        message = stock_library.write(CONTENT, stock_library.known_key(first.arn, data_key, blob, also), CONTEXT)
        header = read_header(message)
        assert header is not None
        if header.data_keys[0].blob == blob:
            return message


def test_the_data_key_of_the_named_key_counts(worker: Worker) -> None:
    """The key is named by id, ARN or alias, and its data key need not be the first; another key is
    IncorrectKeyException."""
    first, second, other = worker.create(), worker.create(alias="alias/second"), worker.create()
    message = of_two_keys(worker, first, second)
    for named, key in [
        ("", first), (first.arn, first), (second.key_id, second), (second.arn, second), ("alias/second", second),
    ]:  # fmt: skip
        answers = streams.run(worker, "DecryptStream", decrypting(message, key_id=named))
        assert (answers[0].key_id, b"".join(answer.plaintext for answer in answers)) == (key.arn, CONTENT)
    for named, code in [(other.arn, "IncorrectKeyException"), (str(uuid.uuid4()), "NotFoundException")]:
        assert refusal(worker, "DecryptStream", decrypting(message, key_id=named)).code == code
    worker.call("DisableKey", key_id=first.key_id)
    assert decrypt(worker, message, key_id=second.arn) == CONTENT


class Revokes:
    """An authorizer that allows everything except the use of the keys in `revoked` (ARNs)."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()

    def decide(self, question: Question) -> Decision:
        return Decision(question.key is None or question.key.arn not in self.revoked, STABLE_ATTRIBUTES)


def test_a_stream_does_not_go_on_under_another_key_of_its_message(host: Host) -> None:
    """A stream ends when its caller loses the permission for its key, even if the request named none."""
    authorizer = Revokes()
    worker = host.worker(authorizer)
    first, second = worker.create(), worker.create()
    messages = list(decrypting(of_two_keys(worker, first, second), 1500))
    stream = Stream(worker, "DecryptStream")
    stream.send(messages[0])
    authorizer.revoked.add(first.arn)
    worker.shard().words.announce_all()  # the stream is admitted again
    assert refusal_of(lambda: stream.send(messages[1])).code == "AccessDeniedException"


def test_suites_that_do_not_commit(make_host: Callable[..., Host]) -> None:
    """They are read only if the server is configured to."""
    strict, lenient = make_host().worker(), make_host(non_committing_suites=True).worker()
    for worker in (strict, lenient):
        arn = worker.create().arn
        for suite in (0x0378, 0x0346, 0x0214, 0x0178, 0x0146, 0x0114, 0x0078, 0x0046, 0x0014):
            written = stock_library.write(CONTENT, streams.key_of_worker(worker, arn), CONTEXT, suite, FRAME)
            if worker is strict:
                refused = refusal(worker, "DecryptStream", decrypting(written))
                assert refused.code == "UnsupportedOperationException"
                assert f"{suite:#06x}" in refused.text
            else:
                assert decrypt(worker, written) == CONTENT
                assert refusal(worker, "DecryptStream", decrypting(written[:-1])) == INVALID


# --- damaged messages -----------------------------------------------------------------------------------------------


def test_incomplete_messages_are_refused(shared: Worker, message: bytes) -> None:
    """The call ends with an error; plaintext sent before the error is from verified frames."""
    header = read_header(message)
    assert header is not None
    for end in [*range(0, header.size, 29), *range(header.size, len(message), FRAME + 32), len(message) - 1]:
        stream = Stream(shared, "DecryptStream")
        stream.send(pb.DecryptStreamRequest(ciphertext=message[:end]))
        assert refusal_of(stream.end) == INVALID
        given = b"".join(answer.plaintext for answer in stream.answers)
        assert CONTENT.startswith(given)
    assert refusal(shared, "DecryptStream", decrypting(message + b"\0")) == INVALID


def test_a_last_message_with_half_a_header_is_answered_at_once(shared: Worker, message: bytes) -> None:
    """The caller may wait for the answer before it ends the stream."""
    stream = Stream(shared, "DecryptStream")
    stream.send(pb.DecryptStreamRequest(ciphertext=message[:20]))
    assert refusal_of(lambda: stream.send(pb.DecryptStreamRequest(ciphertext=message[20:50], last=True))) == INVALID


def test_a_header_of_a_megabyte(shared: Worker, message: bytes) -> None:
    """It is refused while it arrives, in parts of any size."""
    endless = message[:35] + b"\0\0" + b"\xff\xff" + bytes(1 << 20)
    for step in (1 << 20, 40_000):
        stream = Stream(shared, "DecryptStream")
        sent = 0
        with pytest.raises(InvalidCiphertextException):
            for part in streams.parts_of(endless, step):
                stream.send(pb.DecryptStreamRequest(ciphertext=part))
                sent += len(part)
        assert sent <= 2 * 65536


# --- changes while a stream runs ------------------------------------------------------------------------------------


def disabled(worker: Worker, key_id: str) -> None:
    worker.call("DisableKey", key_id=key_id)


def scheduled(worker: Worker, key_id: str) -> None:
    worker.call("ScheduleKeyDeletion", key_id=key_id)


def without_material(worker: Worker, key_id: str) -> None:
    worker.call("DeleteImportedKeyMaterial", key_id=key_id)


@pytest.mark.parametrize(
    ("happens", "code", "state"),
    [
        (disabled, "DisabledException", "Disabled"),
        (scheduled, "KMSInvalidStateException", "PendingDeletion"),
        (without_material, "KMSInvalidStateException", "PendingImport"),
    ],
)
@pytest.mark.parametrize("name", ["EncryptStream", "DecryptStream"])
def test_a_change_in_another_worker_ends_the_stream_at_its_next_message(
    host: Host, name: str, happens: Callable[[Worker, str], None], code: str, state: str
) -> None:
    worker, other = host.worker(), host.worker()
    made = external_keys.external(worker)
    external_keys.provide_pair(worker.shard())
    worker.call("ImportKeyMaterial", **external_keys.package(worker, made.key_id, MATERIAL))
    written = encrypt(worker, made.key_id, CONTENT)
    messages = list(encrypting(made.key_id, CONTENT, 1000) if name == "EncryptStream" else decrypting(written, 1500))
    stream = Stream(worker, name)
    stream.send(messages[0])
    stream.send(messages[1])
    worker.audit()
    happens(other, made.key_id)
    refused = refusal_of(lambda: stream.send(messages[2]))
    assert (refused.code, refused.state) == (code, state)
    (record,) = worker.audit()
    assert (record["errorCode"], record["additionalEventData"]["stream"]) == (code, "failed")


def test_changes_of_other_keys_neither_end_a_stream_nor_have_it_admitted_again(host: Host) -> None:
    worker, other = host.worker(), host.worker()
    made = worker.create()
    stream = Stream(worker, "EncryptStream")
    for part in encrypting(made.key_id, CONTENT, 1000):
        disabled(other, other.create().key_id)
        assert stream.call.must_be_admitted is not stream.call.is_open
        stream.send(part)
    assert decrypt(worker, b"".join(answer.ciphertext for answer in stream.end())) == CONTENT


@pytest.mark.parametrize("name", ["EncryptStream", "DecryptStream"])
def test_a_moved_alias_leaves_a_stream_with_its_key(host: Host, name: str) -> None:
    """The stream goes on under its key and ends when that key is disabled, whatever key the alias has by then."""
    worker = host.worker()
    made, another = worker.create(alias="alias/moves"), worker.create()
    written = encrypt(worker, made.key_id, CONTENT)
    encrypts, decrypts = encrypting("alias/moves", CONTENT, 1000), decrypting(written, 1500, key_id="alias/moves")
    messages = list(encrypts if name == "EncryptStream" else decrypts)
    stream = Stream(worker, name)
    stream.send(messages[0])
    worker.call("UpdateAlias", alias_name="alias/moves", target_key_id=another.key_id)
    stream.send(messages[1])
    disabled(worker, made.key_id)
    assert refusal_of(lambda: stream.send(messages[2])).code == "DisabledException"


def test_material_that_expires_ends_the_stream(host: Host) -> None:
    worker = host.worker()
    made = external_keys.external(worker)
    external_keys.provide_pair(worker.shard())
    until = external_keys.expiring(host.clock.now_ns + HOUR_NS)
    worker.call("ImportKeyMaterial", **external_keys.package(worker, made.key_id, MATERIAL, **until))
    messages = list(encrypting(made.key_id, CONTENT, 1000))
    stream = Stream(worker, "EncryptStream")
    stream.send(messages[0])
    assert not stream.call.must_be_admitted
    host.clock.step(2 * HOUR_NS)
    assert refusal_of(lambda: stream.send(messages[1])).code == "KMSInvalidStateException"


# --- audit records and counts ---------------------------------------------------------------------------------------


def test_two_records_and_one_count(worker: Worker) -> None:
    made = worker.create()
    worker.audit()
    written = encrypt(worker, made.key_id, CONTENT, 1000)
    begun, done = worker.audit()
    assert begun["eventName"] == done["eventName"] == "EncryptStream"
    assert begun["requestID"] == done["requestID"]
    assert begun["eventID"] != done["eventID"]
    assert begun["requestParameters"] == {"keyId": made.key_id, "encryptionContext": CONTEXT, "frameLength": FRAME}
    assert [resource["ARN"] for resource in begun["resources"]] == [made.arn]
    assert begun["additionalEventData"]["stream"] == "begun"
    assert done["additionalEventData"] | {"keyMaterialId": ""} == {
        "keyMaterialId": "", "stream": "done", "contentBytes": len(CONTENT),
    }  # fmt: skip
    assert decrypt(worker, written) == CONTENT
    begun, done = worker.audit()
    assert begun["requestParameters"]["encryptionContext"] == CONTEXT
    assert (done["additionalEventData"]["stream"], done["additionalEventData"]["contentBytes"]) == (
        "done",
        len(CONTENT),
    )
    counted = worker.counted()
    assert (counted["EncryptStream"], counted["DecryptStream"]) == ({"OK": 1}, {"OK": 1})


def test_a_stream_that_fails_and_one_that_is_cancelled(worker: Worker) -> None:
    made = worker.create()
    written = encrypt(worker, made.key_id, CONTENT)
    before = keyring.keyring_facts().used
    worker.audit()
    assert refusal(worker, "DecryptStream", decrypting(written[:-1], 1000)) == INVALID
    _, failed = worker.audit()
    assert (failed["errorCode"], failed["additionalEventData"]["stream"]) == ("InvalidCiphertextException", "failed")
    assert failed["additionalEventData"]["contentBytes"] == 3 * FRAME
    stream = Stream(worker, "DecryptStream")
    stream.send(next(decrypting(written, 2000)))
    stream.call.cancel()
    stream.call.close()
    _, cancelled = worker.audit()
    assert (cancelled["errorCode"], cancelled["additionalEventData"]["stream"]) == (
        "Cancelled", "cancelled",
    )  # fmt: skip
    assert worker.counted()["DecryptStream"] == {"InvalidCiphertextException": 1, "Cancelled": 1}
    assert keyring.keyring_facts().used == before
    assert refusal(worker, "EncryptStream", encrypting("alias/none", b"x")).code == "NotFoundException"
    (refused,) = worker.audit()
    assert (refused["errorCode"], refused["additionalEventData"]) == ("NotFoundException", None)


def test_no_plaintext_before_its_audit_record(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a log that cannot be written, decryption is refused; encryption is not."""
    made = worker.create()
    written = encrypt(worker, made.key_id, CONTENT)

    def full(_: FileAuditLog, line: bytes) -> None:
        raise DependencyTimeoutException("no room")

    monkeypatch.setattr(FileAuditLog, "write", full)
    stream = Stream(worker, "DecryptStream")
    refused = refusal_of(lambda: stream.send(next(decrypting(written))))
    assert (refused.code, stream.answers) == ("DependencyTimeoutException", [])
    assert encrypt(worker, made.key_id, CONTENT)


def test_no_record_holds_content(worker: Worker) -> None:
    made = worker.create()
    worker.audit()
    secret = b"attack at dawn, bring the grapes"
    decrypt(worker, encrypt(worker, made.key_id, secret))
    assert b"grapes" not in repr(worker.audit()).encode()
