"""Output of answers that contain bytes: each blob goes to a file, to standard output or into the printed answer."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kms_grpc.cli.files import STANDARD, write_output
from kms_grpc.cli.output import JSON, print_facts, print_json, shaped

if TYPE_CHECKING:
    from google.protobuf.message import Message

INSIDE: Final = None
"""The target of a member that stays in the printed answer."""


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """A member of the answer, by AWS's name, and its target: a path, `-`, or INSIDE."""

    member: str
    content: bytes
    target: str | None
    secret: bool = False
    as_base64: bool = False


def deliver(output: str, message: Message, *parts: AnswerPart, force: bool = False) -> None:
    """Writes each part to its target, and prints the rest of the answer unless a part went to standard output."""
    for part in parts:
        if part.target is not INSIDE:
            content = base64.b64encode(part.content) + b"\n" if part.as_base64 else part.content
            write_output(part.target, content, secret=part.secret, force=force)
    if any(part.target == STANDARD for part in parts):
        return
    written = {part.member for part in parts if part.target is not INSIDE}
    rest = {name: value for name, value in shaped(message).items() if name not in written}
    print_json(rest) if output == JSON else print_facts(rest)


def target_of(given: str | None, output: str) -> str | None:
    """Returns the target of an answer's only blob: `given`, or by default the printed JSON or standard output."""
    return given or (INSIDE if output == JSON else STANDARD)
