"""AWS's JSON 1.1 protocol, derived from the protobuf descriptors. No operation has code of its own.

| kind | in JSON |
|---|---|
| bytes | base64, with padding |
| Timestamp | seconds since 1970, to the millisecond in answers |
| enum | AWS's spelling (the option `aws_name`) |
| absent | no member; a request may send null instead, a response never does |

A field without presence (proto3) is sent if its value is not the default, or if the proto marks it as always sent by
AWS. An operation without output answers with an empty body. Source:
https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from kms_grpc.aws_members import is_map, is_time
from kms_grpc.endpoints.aws_answers import members_of
from kms_grpc.errors import SerializationException, ValidationException
from kms_grpc.operations.contract.descriptors import aws_maxima, descriptor, numbers
from kms_grpc.operations.contract.validation import Validator, validator_for

Put = Callable[[Message, Any, str, dict[int | str, str]], None]
"""(message, value, path, spellings): sets a field of the message to the value of a JSON member."""
Convert = Callable[[Any, str, dict[int | str, str]], Any]
"""(value, path, spellings): returns the value of a member, or an item of its list, as the field's type."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_MEMBER = re.compile(rb'"[ \t\r\n]*:')
"""The end of a member's name. It also matches in a string that begins with a colon, or that has an escaped quote before
a colon."""
_RANGES = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
}
_LATEST = 253_402_300_799
"""The last second of the year 9999, the largest that google.protobuf.Timestamp holds."""


class AwsJson:
    """The wire format of the AWS door (see operations/contract/wire.py)."""

    is_protobuf = False

    def read(self, message_class: type[Message], raw: bytes) -> tuple[Any, Validator]:
        """Returns the request and its validator.

        Raises SerializationException if the body is not a JSON object or a member has a value of the wrong type,
        ValidationException for members that the operation does not have.
        """
        request, spellings = message_class(), dict[int | str, str]()
        _fill(request, _object(raw), "", spellings)
        judge = _validator(message_class)  # type: ignore[arg-type]  # classes hash
        return request, partial(judge, spellings=spellings) if spellings else judge

    def write(self, answer: Message) -> bytes:
        if not descriptor(answer).fields:
            return b""
        return _encode(members_of(descriptor(answer))(answer))


@cache
def _validator(request: type[Message]) -> Validator:
    return validator_for(request, aws_maxima(request), knows_absent_lists=True)  # type: ignore[arg-type]  # classes hash


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = _decode(raw)
        if isinstance(value, dict) and raw.count(b":") != len(value) and len(_MEMBER.findall(raw)) != _count(value):
            _refuse_repeated(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SerializationException("The body of the request is not valid JSON.") from None
    if not isinstance(value, dict):
        raise SerializationException("The body of the request must be a JSON object.")
    return value


def _count(value: Any) -> int:
    """Returns the number of members in a JSON value, at all depths."""
    if isinstance(value, dict):
        return len(value) + sum([_count(each) for each in value.values() if type(each) in (dict, list)])
    return sum([_count(each) for each in value if type(each) in (dict, list)])


def _refuse_repeated(raw: bytes) -> None:
    """Raises SerializationException if an object has a member twice: JSON parsers differ in which of the two they take,
    so a proxy that has checked the request may have read the other one."""

    def members(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) != len(pairs):
            raise SerializationException("An object in the body of the request has a member twice.")

    json.loads(raw, object_pairs_hook=members)


def _fill(message: Message, members: dict[str, Any], path: str, spellings: dict[int | str, str]) -> None:
    known = _members(descriptor(message))
    for name, value in members.items():
        put = known.get(name)
        if put is None:
            shown = name[:64].encode("ascii", "backslashreplace").decode()
            raise ValidationException(f"{descriptor(message).name} has no member '{path}{shown}'.")
        if value is not None:
            put(message, value, path + name, spellings)


@cache
def _members(of: Descriptor) -> dict[str, Put]:
    return {field.json_name: _put_for(field) for field in of.fields}


def _put_for(field: FieldDescriptor) -> Put:
    if is_map(field):
        return partial(_put_map, field.name)
    if _is_structure(field):
        return partial(_put_structures if field.is_repeated else _put_structure, field.name)
    if field.type == FieldDescriptor.TYPE_STRING and not (field.is_repeated or field.has_presence):
        return partial(_put_text, field.name)
    convert = _convert_for(field)
    return partial(_put_list if field.is_repeated else _put_value, field.name, convert)


def _is_structure(field: FieldDescriptor) -> bool:
    return field.message_type is not None and not is_time(field)


# --- setting fields ----------------------------------------------------------------------------------------------


def _put_value(
    name: str, convert: Convert, message: Message, value: Any, path: str, spellings: dict[int | str, str]
) -> None:
    converted = convert(value, path, spellings)
    if isinstance(converted, tuple):
        time = getattr(message, name)
        time.seconds, time.nanos = converted
        time.SetInParent()
    else:
        setattr(message, name, converted)


def _put_text(name: str, message: Message, value: Any, path: str, spellings: dict[int | str, str]) -> None:
    """Set a string without presence, and note an empty one for the validator, which cannot tell "" from absence."""
    setattr(message, name, _string(value, path, spellings))
    if not value:
        spellings[_constraint_path(path)] = value


def _constraint_path(path: str) -> str:
    """Returns a path as AWS's constraint errors spell it: `tags.1.member.tagKey` for `Tags.1.TagKey`."""
    parts = path.split(".")
    return ".".join(f"{part}.member" if part.isdigit() else part[0].lower() + part[1:] for part in parts)


def _put_list(
    name: str, convert: Convert, message: Message, value: Any, path: str, spellings: dict[int | str, str]
) -> None:
    items = _list(value, path, spellings)
    converted = [convert(item, f"{path}.{position}", spellings) for position, item in enumerate(items, start=1)]
    getattr(message, name).extend(converted)


def _put_structure(name: str, message: Message, value: Any, path: str, spellings: dict[int | str, str]) -> None:
    structure = getattr(message, name)
    structure.SetInParent()
    _fill(structure, _structure(value, path), f"{path}.", spellings)


def _put_structures(name: str, message: Message, value: Any, path: str, spellings: dict[int | str, str]) -> None:
    structures = getattr(message, name)
    for position, item in enumerate(_list(value, path, spellings), start=1):
        _fill(structures.add(), _structure(item, f"{path}.{position}"), f"{path}.{position}.", spellings)


def _put_map(name: str, message: Message, value: Any, path: str, spellings: dict[int | str, str]) -> None:
    pairs = _structure(value, path)
    if not all(type(item) is str for item in pairs.values()):
        raise _wrong(path, "an object of strings")
    getattr(message, name).update(pairs)


def _list(value: Any, path: str, spellings: dict[int | str, str]) -> list[Any]:
    """Returns a list, and notes an empty one for the validator, which cannot tell it from absence."""
    if not isinstance(value, list):
        raise _wrong(path, "a list")
    if not value:
        spellings[_constraint_path(path)] = ""
    return value


def _structure(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(path, "an object")
    return value


# --- values ------------------------------------------------------------------------------------------------------


def _convert_for(field: FieldDescriptor) -> Convert:
    if field.enum_type is not None:
        return partial(_enum, numbers(field.enum_type))
    if is_time(field):
        return _time
    if field.type in _RANGES:
        return partial(_number, *_RANGES[field.type])
    return {
        FieldDescriptor.TYPE_STRING: _string,
        FieldDescriptor.TYPE_BYTES: _blob,
        FieldDescriptor.TYPE_BOOL: _boolean,
    }[field.type]


def _string(value: Any, path: str, spellings: dict[int | str, str]) -> str:
    if type(value) is not str:
        raise _wrong(path, "a string")
    return value


def _blob(value: Any, path: str, spellings: dict[int | str, str]) -> bytes:
    if type(value) is not str:
        raise _wrong(path, "a string in base64")
    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        raise _wrong(path, "a string in base64") from None


def _boolean(value: Any, path: str, spellings: dict[int | str, str]) -> bool:
    if type(value) is not bool:
        raise _wrong(path, "true or false")
    return value


def _number(least: int, most: int, value: Any, path: str, spellings: dict[int | str, str]) -> int:
    if type(value) is not int or not least <= value <= most:
        raise _wrong(path, f"an integer from {least} to {most}")
    return value


def _enum(known: dict[str, int], value: Any, path: str, spellings: dict[int | str, str]) -> int:
    """Returns the number of an enum value. An unknown spelling becomes an unknown number, so that the validator rejects
    it and shows the spelling."""
    if type(value) is not str:
        raise _wrong(path, "a string")
    number = known.get(value)
    if number is None:
        number = -1 - len(spellings)
        spellings[number] = value
    return number


def _time(value: Any, path: str, spellings: dict[int | str, str]) -> tuple[int, int]:
    """Returns seconds and nanoseconds, rounded to microseconds, which is about the precision of a double."""
    if type(value) not in (int, float) or not 0 <= value <= _LATEST:
        raise _wrong(path, "a number of seconds since 1970")
    seconds, micros = divmod(round(value * 1_000_000), 1_000_000)
    return seconds, micros * 1_000


def _wrong(path: str, what: str) -> SerializationException:
    return SerializationException(f"{path} must be {what}.")
