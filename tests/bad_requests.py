"""A generator of bad requests: a valid message with one thing changed, by the type that its descriptor says.

Sizes at and around each limit, enum values, ids of every malformed shape, contexts of ten thousand pairs, text that is
not UTF-8, ARNs of other regions and accounts; and raw bytes that were truncated, spliced, or carry what the contract
doesn't know. Cases at a limit are valid on purpose: they show that the limit is where it is said to be.

Everything follows from the seed. `World` says which keys and blobs there are; the caller makes them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from kms_grpc.aws_members import is_map
from kms_grpc.errors import KMSError
from kms_grpc.operations.contract.descriptors import limits
from kms_grpc.operations.contract.validation import decode, validator_for
from kms_grpc.v1 import envelope_pb2, keys_pb2
from kms_grpc.v1 import key_management_pb2 as pb
from tests.identifier_shapes import MARKERS, World, alias_names, key_ids

SERVICES = (
    pb.DESCRIPTOR.services_by_name["KeyManagementService"],
    envelope_pb2.DESCRIPTOR.services_by_name["EnvelopeService"],
)
METHODS = {
    method.name: method
    for service in SERVICES
    for method in service.methods
    if method.input_type.fields and not method.client_streaming
}
"""Of requests without fields nothing can be wrong; streams have tests of their own."""
CONTEXT_FIELDS = ("encryption_context", "source_encryption_context", "destination_encryption_context")
MARK = "\u2603MARK\u2603"
"""Stands where bytes that are not UTF-8 will be: as long as NOT_UTF8, and found nowhere else."""
NOT_UTF8 = (b"\xc3\x28\xa0\xa1MA\xed\xa0\x80", b"\xff\xfe\xfd\xfcMA\xf8\x88\x80", b"\xc0\xaf\xc0\xafMARK\xe2")


@dataclass(frozen=True)
class BadRequest:
    """`raw` is the serialised request; `member` the AWS name of the one member that was changed, if it was one."""

    operation: str
    what: str
    raw: bytes
    member: str | None = None

    @property
    def path(self) -> str:
        return f"/{METHODS[self.operation].containing_service.full_name}/{self.operation}"


def bad_requests(seed: int, world: World | None = None, count: int | None = None) -> list[BadRequest]:
    """All cases of all operations, in an order that the seed shuffles; or `count` of them, half of which get far."""
    world, chance = world or World(), random.Random(seed)
    cases = [case for name in VALID for case in _of_operation(name, world, chance)]
    chance.shuffle(cases)
    if count is None:
        return cases
    far = [case for case in cases if gets_far(case, world)]
    near = [case for case in cases if not gets_far(case, world)]
    half = min(count // 2, len(far))
    picked = far[:half] + near[: count - half]
    chance.shuffle(picked)
    return picked


def gets_far(case: BadRequest, world: World) -> bool:
    """Whether nothing is wrong with the request as such and the keys that it names are there: it comes to a handler."""
    request_class = type(VALID[case.operation](world))
    try:
        request = decode(request_class, case.raw)
        validator_for(request_class)(request)
    except KMSError:
        return False
    good = {world.key_id, world.second_key_id, world.arn(), ""}
    messages = [request, *getattr(request, "items", ())]
    named = [_name(message, field) for message in messages for field in message.DESCRIPTOR.fields]
    return set(named) <= good and all(_names_its_key(message, world) for message in messages)


def _name(message: Any, field: FieldDescriptor) -> str:
    return str(getattr(message, field.name)) if field.name.endswith("key_id") else ""


def _names_its_key(message: Any, world: World) -> bool:
    """A blob names its key in its first 55 bytes: no handler sees a blob that doesn't."""
    return "ciphertext_blob" not in message.DESCRIPTOR.fields_by_name or (
        message.ciphertext_blob[:55] == world.blob[:55] and len(message.ciphertext_blob) > 127
    )


# --- valid requests ----------------------------------------------------------------------------------------------

VALID: dict[str, Callable[[World], Message]] = {
    "CreateKey": lambda w: pb.CreateKeyRequest(
        description="bad requests", key_spec=keys_pb2.KEY_SPEC_SYMMETRIC_DEFAULT
    ),
    "DescribeKey": lambda w: pb.DescribeKeyRequest(key_id=w.key_id),
    "ListKeys": lambda w: pb.ListKeysRequest(limit=10),
    "EnableKey": lambda w: pb.EnableKeyRequest(key_id=w.key_id),
    "DisableKey": lambda w: pb.DisableKeyRequest(key_id=w.second_key_id),
    "UpdateKeyDescription": lambda w: pb.UpdateKeyDescriptionRequest(key_id=w.key_id, description="changed"),
    "ScheduleKeyDeletion": lambda w: pb.ScheduleKeyDeletionRequest(key_id=w.second_key_id, pending_window_in_days=7),
    "CancelKeyDeletion": lambda w: pb.CancelKeyDeletionRequest(key_id=w.second_key_id),
    "TagResource": lambda w: pb.TagResourceRequest(
        key_id=w.key_id, tags=[keys_pb2.Tag(tag_key="key", tag_value="value")]
    ),
    "UntagResource": lambda w: pb.UntagResourceRequest(key_id=w.key_id, tag_keys=["key"]),
    "ListResourceTags": lambda w: pb.ListResourceTagsRequest(key_id=w.key_id, limit=10),
    "EnableKeyRotation": lambda w: pb.EnableKeyRotationRequest(key_id=w.key_id, rotation_period_in_days=365),
    "DisableKeyRotation": lambda w: pb.DisableKeyRotationRequest(key_id=w.key_id),
    "GetKeyRotationStatus": lambda w: pb.GetKeyRotationStatusRequest(key_id=w.key_id),
    "RotateKeyOnDemand": lambda w: pb.RotateKeyOnDemandRequest(key_id=w.key_id),
    "ListKeyRotations": lambda w: pb.ListKeyRotationsRequest(key_id=w.key_id, limit=10),
    "GetParametersForImport": lambda w: pb.GetParametersForImportRequest(
        key_id=w.key_id,
        wrapping_algorithm=keys_pb2.ALGORITHM_SPEC_RSAES_OAEP_SHA_256,
        wrapping_key_spec=keys_pb2.WRAPPING_KEY_SPEC_RSA_2048,
    ),
    "ImportKeyMaterial": lambda w: pb.ImportKeyMaterialRequest(
        key_id=w.key_id,
        import_token=b"token",
        encrypted_key_material=b"wrapped",
        expiration_model=keys_pb2.EXPIRATION_MODEL_TYPE_KEY_MATERIAL_DOES_NOT_EXPIRE,
    ),
    "DeleteImportedKeyMaterial": lambda w: pb.DeleteImportedKeyMaterialRequest(key_id=w.key_id),
    "CreateAlias": lambda w: pb.CreateAliasRequest(target_key_id=w.key_id, alias_name=f"{w.alias}-more"),
    "UpdateAlias": lambda w: pb.UpdateAliasRequest(target_key_id=w.key_id, alias_name=w.alias),
    "DeleteAlias": lambda w: pb.DeleteAliasRequest(alias_name=f"{w.alias}-more"),
    "ListAliases": lambda w: pb.ListAliasesRequest(key_id=w.key_id, limit=10),
    "Encrypt": lambda w: pb.EncryptRequest(key_id=w.key_id, plaintext=b"plain", encryption_context=dict(w.context)),
    "Decrypt": lambda w: pb.DecryptRequest(key_id=w.key_id, ciphertext_blob=w.blob, encryption_context=dict(w.context)),
    "ReEncrypt": lambda w: pb.ReEncryptRequest(
        destination_key_id=w.key_id,
        source_key_id=w.key_id,
        ciphertext_blob=w.blob,
        source_encryption_context=dict(w.context),
        destination_encryption_context={"new": "context"},
    ),
    "GenerateDataKey": lambda w: pb.GenerateDataKeyRequest(
        key_id=w.key_id, number_of_bytes=32, encryption_context=dict(w.context)
    ),
    "GenerateDataKeyWithoutPlaintext": lambda w: pb.GenerateDataKeyWithoutPlaintextRequest(
        key_id=w.key_id, number_of_bytes=32, encryption_context=dict(w.context)
    ),
    "GenerateRandom": lambda w: pb.GenerateRandomRequest(number_of_bytes=32),
    "EncryptBatch": lambda w: envelope_pb2.EncryptBatchRequest(
        key_id=w.key_id, encryption_context=dict(w.context), items=[_item_of("EncryptBatchItem", w)] * 2
    ),
    "DecryptBatch": lambda w: envelope_pb2.DecryptBatchRequest(
        encryption_context=dict(w.context), items=[_item_of("DecryptBatchItem", w)] * 2
    ),
    "ReEncryptBatch": lambda w: envelope_pb2.ReEncryptBatchRequest(
        destination_key_id=w.key_id,
        source_encryption_context=dict(w.context),
        items=[_item_of("ReEncryptBatchItem", w)] * 2,
    ),
    "GenerateDataKeyBatch": lambda w: envelope_pb2.GenerateDataKeyBatchRequest(
        key_id=w.key_id, number_of_bytes=32, items=[_item_of("GenerateDataKeyBatchItem", w)] * 2
    ),
}
"""One valid request per operation: what every case starts from."""


def _item_of(name: str, world: World) -> Any:
    """A good message of a list, of that type."""
    if name == "Tag":
        return keys_pb2.Tag(tag_key="key", tag_value="value")
    item = getattr(envelope_pb2, name)()
    fields = item.DESCRIPTOR.fields_by_name
    if "plaintext" in fields:
        item.plaintext = b"plain"
    if "ciphertext_blob" in fields:
        item.ciphertext_blob = world.blob
    return item


def _of_operation(name: str, world: World, chance: random.Random) -> Iterator[BadRequest]:
    make = VALID[name]
    for field in make(world).DESCRIPTOR.fields:
        for what, value in [*variants(field, world), *within(field, chance)]:
            changed = make(world)
            put(changed, field, value)
            yield BadRequest(name, f"{name}.{field.name}: {what}", changed.SerializeToString(), field.json_name)
        yield from _not_utf8(name, make(world), field)
    for what, raw in raw_variants(make(world).SerializeToString(), chance):
        yield BadRequest(name, f"{name}: {what}", raw)


def put(message: Message, field: FieldDescriptor, value: Any) -> None:
    """Sets a field of any type to `value`, clearing it first."""
    message.ClearField(field.name)
    if is_map(field):
        getattr(message, field.name).update(value)
    elif field.is_repeated:
        getattr(message, field.name).extend(value)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(value)
    elif value is not None:
        setattr(message, field.name, value)


# --- one field, by its type --------------------------------------------------------------------------------------


def variants(field: FieldDescriptor, world: World) -> Iterator[tuple[str, Any]]:
    """What `field` could be instead, each with its name."""
    if is_map(field):
        yield from contexts(world)
    elif field.is_repeated:
        yield from _lists(field, world)
    elif field.message_type is not None:
        yield "empty message", field.message_type._concrete_class()
    elif field.enum_type is not None:
        yield from ((f"enum {number}", number) for number in enum_numbers(field))
    elif field.type == FieldDescriptor.TYPE_BOOL:
        yield from (("true", True), ("false", False))
    elif field.type == FieldDescriptor.TYPE_BYTES:
        yield from blobs(field, world)
    elif field.type == FieldDescriptor.TYPE_STRING:
        yield from strings(field, world)
    else:
        yield from ((f"number {number}", number) for number in integers(field))


def around(field: FieldDescriptor, rule: Any = None) -> list[int]:
    """Sizes at and beside each limit; 0, and for the unlimited a few that hurt."""
    rule = rule or limits(field)
    ends = [end for end, known in ((rule.min, rule.HasField("min")), (rule.max, rule.HasField("max"))) if known]
    return sorted({size for end in ends or [1] for size in (end - 1, end, end + 1) if size >= 0} | {0})


def integers(field: FieldDescriptor) -> list[int]:
    return sorted({*around(field), -1, -(2**31), 2**31 - 1})


def enum_numbers(field: FieldDescriptor) -> list[int]:
    known = [value.number for value in field.enum_type.values]
    return [*known, max(known) + 1, -1, 2**31 - 1, -(2**31)]


def blobs(field: FieldDescriptor, world: World) -> Iterator[tuple[str, bytes | None]]:
    yield "absent", None
    yield from ((f"{size} bytes", b"\x01" * size) for size in around(field))
    if field.name != "ciphertext_blob":
        return
    blob = world.blob
    yield from ((f"cut to {size} bytes", blob[:size]) for size in (1, 17, 54, 55, 78, 94, 126, len(blob) - 1))
    yield from (
        (f"bit flipped in byte {at}", flipped(blob, at)) for at in (0, 1, 2, 18, 19, 50, 51, 54, 55, 78, 79, -1)
    )
    yield from (("one byte more", blob + b"\0"), ("twice", blob + blob), ("reversed", blob[::-1]))


def flipped(blob: bytes, at: int) -> bytes:
    changed = bytearray(blob)
    changed[at] ^= 1
    return bytes(changed)


def strings(field: FieldDescriptor, world: World) -> Iterator[tuple[str, str | None]]:
    yield "absent", None
    yield from ((f"{size} characters", "a" * size) for size in around(field))
    yield from ((f"{size} snowmen", "\u2603" * size) for size in around(field))
    if field.name.endswith("key_id") and field.name != "xks_key_id":
        yield from ((f"id {text[:60]!r}", text) for text in key_ids(world))
    if field.name == "alias_name":
        yield from ((f"name {text[:60]!r}", text) for text in alias_names(world))
    if field.name == "marker":
        yield from ((f"marker {text[:60]!r}", text) for text in MARKERS)


def contexts(world: World) -> Iterator[tuple[str, dict[str, str]]]:
    """Contexts that don't fit the blob, and those around 8 KiB in canonical form: 4 bytes, 8 more for each pair."""
    yield from (
        ("no pairs", {}),
        ("an empty pair", {"": ""}),
        ("another value", dict.fromkeys(dict(world.context), "other")),
    )
    yield from (("a pair more", {**dict(world.context), "more": ""}), ("NUL and controls", {"\0": "\x01\x7f"}))
    yield from (
        ("composed", {"\u00e9": "\u00e9"}),
        ("decomposed", {"e\u0301": "e\u0301"}),
        ("astral", {"\U0001f511": "\U0010ffff"}),
    )
    yield from ((f"one pair, {size} bytes", {"k": "v" * (size - 13)}) for size in (8191, 8192, 8193))
    yield from ((f"{count} pairs", {str(i): "" for i in range(count)}) for count in (100, 682, 10_000))
    yield "one pair of a megabyte", {"k": "v" * 2**20}


def _lists(field: FieldDescriptor, world: World) -> Iterator[tuple[str, list[Any]]]:
    for count in around(field):
        yield f"{count} items", [_item(field, world)] * count
    if field.enum_type is not None:
        yield from ((f"enum {number}", [number]) for number in enum_numbers(field))
    elif field.type == FieldDescriptor.TYPE_STRING:
        yield from ((f"an item of {size} characters", ["a" * size]) for size in around(field, limits(field).items))
    elif field.message_type is not None:
        yield from ((f"an item with {what}", [item]) for what, item in _messages(field, world))


def _item(field: FieldDescriptor, world: World) -> Any:
    if field.message_type is not None:
        return _item_of(field.message_type.name, world)
    return 1 if field.enum_type is not None else "item"


def _messages(field: FieldDescriptor, world: World) -> Iterator[tuple[str, Message]]:
    for inner in field.message_type.fields:
        for what, value in variants(inner, world):
            item = _item(field, world)
            put(item, inner, value)
            yield f"{inner.name}: {what}", item


def _not_utf8(name: str, message: Message, field: FieldDescriptor) -> Iterator[BadRequest]:
    """The field with bytes in it that are not UTF-8, which no protobuf library would write: patched afterwards."""
    if field.type == FieldDescriptor.TYPE_STRING:
        put(message, field, [MARK] if field.is_repeated else MARK)
        places = ["text"]
    elif is_map(field):
        put(message, field, {MARK: MARK})
        places = ["a pair"]
    else:
        return
    raw = message.SerializeToString()
    for bad in NOT_UTF8:
        changed = raw.replace(MARK.encode(), bad.ljust(len(MARK.encode()), b"\xff"))
        yield BadRequest(name, f"{name}.{field.name}: {places[0]} that is not UTF-8", changed, field.json_name)


def within(field: FieldDescriptor, chance: random.Random) -> Iterator[tuple[str, Any]]:
    """Values that the seed picks from inside the field's limits: strange, and right."""
    rule = limits(field)
    if rule.unsupported or field.name.endswith(("key_id", "_blob")):
        return
    for _ in range(4):
        size = chance.randint(rule.min, min(rule.max, 5000))
        if is_map(field):
            yield "pairs by chance", {_text(chance, 9): _text(chance, 30) for _ in range(chance.randrange(40))}
        elif field.type == FieldDescriptor.TYPE_BYTES:
            yield f"{size} bytes by chance", chance.randbytes(size)
        elif field.type == FieldDescriptor.TYPE_STRING and not rule.pattern:
            yield f"{size} characters by chance", _text(chance, size)
        elif field.type == FieldDescriptor.TYPE_INT32:
            yield f"number {size} by chance", size


def _text(chance: random.Random, size: int) -> str:
    return "".join(chance.choices("aZ0 \0\n\x7f\"'\\<&%/:\u00e9\u0301\u2028\u202e\u2603\ufeff\U0001f511", k=size))


# --- raw bytes ---------------------------------------------------------------------------------------------------

UNKNOWN_FIELDS = {
    "an unknown number": b"\xf8\x7f\x01",
    "an unknown text": b"\xfa\x7f\x05hello",
    "field number 0": b"\x00\x00",
    "the largest field number": b"\xf8\xff\xff\xff\x0f\x01",
    "an unknown group": b"\xfb\x7f\xfc\x7f",
    "a group without its end": b"\xfb\x7f",
    "an end without its group": b"\xfc\x7f",
    "wire type 6": b"\x0e",
    "wire type 7": b"\x0f",
    "a length of 2 GiB": b"\x0a\xff\xff\xff\xff\x07",
    "a length beyond 64 bits": b"\x0a" + b"\xff" * 10,
    "an endless varint": b"\x38" + b"\xff" * 11,
    "groups in groups": b"\xfb\x7f" * 5000,
}
"""What the contract doesn't know, or no message may have, put behind or before a valid request."""


def raw_variants(raw: bytes, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Truncations, splices, and additions, at places that the seed picks."""
    yield from (("nothing at all", b""), ("twice over", raw + raw), ("a gRPC frame within", b"\0\0\0\0\x05" + raw))
    for cut in sorted({chance.randrange(len(raw)) for _ in range(12)}):
        yield f"cut after {cut} bytes", raw[:cut]
    for _ in range(12):
        first, second = sorted(chance.choices(range(len(raw) + 1), k=2))
        yield f"bytes {first} to {second} left out", raw[:first] + raw[second:]
        yield f"bytes {first} to {second} twice", raw[:second] + raw[first:]
        yield f"noise at {first}", raw[:first] + chance.randbytes(chance.randrange(1, 9)) + raw[first:]
        yield f"bit flipped in byte {first}", flipped(raw, first % len(raw))
    for what, addition in UNKNOWN_FIELDS.items():
        yield f"{what} behind", raw + addition
        yield f"{what} before", addition + raw
    for number in range(1, 18):
        yield f"field {number} as a varint", raw + _tag(number, 0) + b"\x01"
        yield f"field {number} as four bytes", raw + _tag(number, 5) + b"\x01\x02\x03\x04"
        yield f"field {number} as one byte of text", raw + _tag(number, 2) + b"\x01a"


def _tag(number: int, wire_type: int) -> bytes:
    value = number << 3 | wire_type
    return bytes([value]) if value < 128 else bytes([value & 127 | 128, value >> 7])
