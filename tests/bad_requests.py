"""A generator of bad requests: the example of an operation (examples.py) with one field or some bytes changed.

Fields change by the type that their descriptor states: sizes at and around each limit, enum values, malformed
identifiers, contexts of ten thousand pairs, text that is not UTF-8. Bytes are truncated, spliced, or extended by fields
that the contract does not know. Cases at a limit are valid on purpose: they show where the limit is.

The cases of an operation follow from the seed and the operation's name, so that a new operation changes no other's.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from kms_grpc.aws_members import is_map
from kms_grpc.errors import KMSError
from kms_grpc.operations.contract.descriptors import limits
from kms_grpc.operations.contract.validation import decode, validator_for
from tests import examples
from tests.examples import CONTEXT, EXAMPLES, request, request_class
from tests.identifier_shapes import MARKERS, World, alias_names, key_ids

METHODS = {name: method for name, method in examples.METHODS.items() if method.input_type.fields}
NAMES = [name for name in EXAMPLES if name in METHODS and not METHODS[name].client_streaming]
"""Operations with something to change in their request. Streams have tests of their own."""
MARK = "\u2603MARK\u2603"
"""A placeholder for bytes that are not UTF-8: as long as those of NOT_UTF8, and found nowhere else in a request."""
NOT_UTF8 = (b"\xc3\x28\xa0\xa1MA\xed\xa0\x80", b"\xff\xfe\xfd\xfcMA\xf8\x88\x80", b"\xc0\xaf\xc0\xafMARK\xe2")


@dataclass(frozen=True)
class BadRequest:
    """`raw` is the serialised request, `member` AWS's name of the changed member; None where bytes were changed."""

    operation: str
    what: str
    raw: bytes
    member: str | None = None

    @property
    def path(self) -> str:
        return f"/{METHODS[self.operation].containing_service.full_name}/{self.operation}"


def bad_requests(seed: int, world: World | None = None, each: int | None = None) -> list[BadRequest]:
    """Returns all cases of all operations, or `each` of every operation, in an order that the seed shuffles.

    Half of `each` come to a handler, where the operation has as many such cases.
    """
    world = world or World()
    cases = [case for name in NAMES for case in _of_operation(name, world, seed, each)]
    return sorted(cases, key=lambda case: hashlib.sha256(f"{seed} {case.what}".encode()).digest())


def _of_operation(name: str, world: World, seed: int, each: int | None) -> list[BadRequest]:
    chance = random.Random(f"{seed} {name}")
    cases = list(_all_of_operation(name, world, chance))
    if each is None:
        return cases
    chance.shuffle(cases)
    far = [case for case in cases if gets_far(case, world)][: each // 2]
    near = [case for case in cases if not gets_far(case, world)]
    return far + near[: each - len(far)]


def valid(name: str, world: World) -> Any:
    """Returns the operation's valid request, which every case starts from."""
    return request(name, world.value_of)


def gets_far(case: BadRequest, world: World) -> bool:
    """Says whether the case comes to a handler: the request is valid as such, and the keys that it names exist."""
    message_class = request_class(case.operation)
    try:
        message = decode(message_class, case.raw)
        validator_for(message_class)(message)
    except KMSError:
        return False
    good = {world.key_id, world.second_key_id, world.arn(), ""}
    messages = [message, *getattr(message, "items", ())]
    named = [_name(inside, field) for inside in messages for field in inside.DESCRIPTOR.fields]
    return set(named) <= good and all(_names_its_key(inside, world) for inside in messages)


def _name(message: Any, field: FieldDescriptor) -> str:
    return str(getattr(message, field.name)) if field.name.endswith("key_id") else ""


def _names_its_key(message: Any, world: World) -> bool:
    """Says whether the blob's first 55 bytes, which name its key, are intact: otherwise no handler sees the blob."""
    return "ciphertext_blob" not in message.DESCRIPTOR.fields_by_name or (
        message.ciphertext_blob[:55] == world.blob[:55] and len(message.ciphertext_blob) > 127
    )


def _item_of(item_class: type[Message], world: World) -> Any:
    """A valid message for a list: its required members, and the blob or plaintext that a batch's item carries."""
    item: Any = item_class()
    for field in item.DESCRIPTOR.fields:
        if field.type == FieldDescriptor.TYPE_BYTES:
            setattr(item, field.name, world.blob if field.name == "ciphertext_blob" else b"plain")
        elif limits(field).required:
            getattr(item, field.name).append("text") if field.is_repeated else setattr(item, field.name, "text")
    return item


def _all_of_operation(name: str, world: World, chance: random.Random) -> Iterator[BadRequest]:
    for field in METHODS[name].input_type.fields:
        for what, value in [*variants(field, world), *within(field, chance)]:
            changed = valid(name, world)
            put(changed, field, value)
            yield BadRequest(name, f"{name}.{field.name}: {what}", changed.SerializeToString(), field.json_name)
        yield from _not_utf8(name, valid(name, world), field)
    for what, raw in raw_variants(valid(name, world).SerializeToString(), chance):
        yield BadRequest(name, f"{name}: {what}", raw)


def put(message: Message, field: FieldDescriptor, value: Any) -> None:
    """Clears a field of any type and sets it to `value`."""
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
    """Yields other values of `field`, each with a description."""
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
    """Returns the sizes at and next to each limit, and 0; without a limit, 0 to 2."""
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
    """Yields encryption contexts that are not the blob's, and some around the limit of 8 KiB.

    The canonical form has 4 bytes, and 8 more than its text for each pair.
    """
    yield from (
        ("no pairs", {}),
        ("an empty pair", {"": ""}),
        ("another value", dict.fromkeys(CONTEXT, "other")),
    )
    yield from (("a pair more", {**CONTEXT, "more": ""}), ("NUL and controls", {"\0": "\x01\x7f"}))
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
        return _item_of(field.message_type._concrete_class, world)
    return 1 if field.enum_type is not None else "item"


def _messages(field: FieldDescriptor, world: World) -> Iterator[tuple[str, Message]]:
    for inner in field.message_type.fields:
        for what, value in variants(inner, world):
            item = _item(field, world)
            put(item, inner, value)
            yield f"{inner.name}: {what}", item


def _not_utf8(name: str, message: Message, field: FieldDescriptor) -> Iterator[BadRequest]:
    """Yields requests with bytes in the field that are not UTF-8. Protobuf would not write them."""
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
    """Yields unusual but valid values, which the seed picks within the field's limits."""
    rule = limits(field)
    if rule.unsupported or field.name.endswith(("key_id", "_blob", "grant_id", "grant_token", "grant_tokens")):
        return
    for _ in range(4):
        size = chance.randint(rule.min, min(rule.max, 5000) if rule.HasField("max") else rule.min)
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
"""Bytes that the contract does not know or that no message may have. They are put before and after a valid request."""


def raw_variants(raw: bytes, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yields truncated, spliced and extended bytes; the seed picks the places."""
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
