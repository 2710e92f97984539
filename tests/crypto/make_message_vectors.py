"""Writes tests/vectors/messages_v1.json: messages by the stock library, from known data keys, in all suites.

    .venv/bin/python -m tests.crypto.make_message_vectors

The library draws message ids and signing keys at random, so the file is made once and kept: a message that could be
read must be readable for ever. The script also writes the corpus of the fuzz target.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.crypto.make_vectors import ARN, FOLDER, KEY_ID, drawn

FILE = "messages_v1.json"
DATA_KEY = drawn("data key of messages", 32)
FUZZED_KEY = bytes(range(32))
WRAPPED = drawn("wrapped data key", 159)
COMMITTING, OLD = (0x0478, 0x0578), (0x0378, 0x0346, 0x0214, 0x0178, 0x0146, 0x0114, 0x0078, 0x0046, 0x0014)
CONTEXT = {"purpose": "test", "Größe": "🔑"}
FRAME_LENGTH = 128


def written(suite: int, size: int, context: dict[str, str], data_key: bytes) -> bytes:
    from tests import stock_library  # imported here only: the core's tests run without it and gRPC

    key = stock_library.known_key(ARN + KEY_ID, data_key, WRAPPED)
    return stock_library.write(drawn("plaintext of messages", size), key, context, suite, FRAME_LENGTH)


def rows() -> Iterator[dict[str, Any]]:
    for suite in COMMITTING:
        for size in (0, 1, 127, 128, 129, 300):
            yield row(suite, size, CONTEXT)
        yield row(suite, 100, {})
    for suite in OLD:
        yield row(suite, 100, CONTEXT)


def row(suite: int, size: int, context: dict[str, str]) -> dict[str, Any]:
    message = written(suite, size, context, DATA_KEY)
    return {"suite": f"{suite:04x}", "size": size, "context": context, "message": message.hex()}


def corpus() -> Iterator[tuple[str, bytes]]:
    """Yields messages under the data key of the fuzz target, bytes 0 to 31."""
    for suite in (*COMMITTING, *OLD):
        yield f"suite-{suite:04x}", written(suite, 200, CONTEXT, FUZZED_KEY)
    whole = written(0x0478, 70, {}, FUZZED_KEY)
    yield "no-context", whole
    yield "cut-off-in-the-header", whole[:150]
    yield "cut-off-in-a-frame", whole[:-60]
    yield "a-byte-appended", whole + b"x"
    yield "a-context-too-long", whole[:35] + b"\xff\xff" + whole[37:]
    yield "a-count-of-keys-too-large", whole[:37] + b"\xff\xff" + whole[39:]


def main() -> None:
    (FOLDER / FILE).write_text(json.dumps({"data_key": DATA_KEY.hex(), "messages": list(rows())}, indent=1) + "\n")
    folder = FOLDER / "corpus" / "message"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in corpus():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
