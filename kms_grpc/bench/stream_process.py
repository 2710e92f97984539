"""The client of rows `stream.*`: ENDPOINT TOKEN REGION encrypt|decrypt|echo|echo-encrypted|stall COUNT [FILE].

Prints the seconds from the first of COUNT messages of 1 MiB to the last answer, on a warm connection. For `stall` it
prints the worker's growth in bytes for each of COUNT streams that no client reads. FILE is the CA's certificate for
TLS.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc

from kms_grpc.bench.echo import ECHO_STREAM, USAGE
from kms_grpc.bench.load import last_processor
from kms_grpc.client import KeyManagementClient
from kms_grpc.processes.memory import keep_freed_pages
from kms_grpc.v1 import envelope_pb2 as pb

MESSAGE_BYTES: Final = 1024 * 1024
STILL_SECONDS: Final = 1.0
SERVICE: Final = "/kms_grpc.v1.EnvelopeService/"
Messages = Callable[[int], Iterator[bytes]]


class Client:
    """A client that sends and receives raw bytes; it builds and parses only the first message."""

    def __init__(self, endpoint: str, token: str, region: str, ca: str | None) -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]
        self._channel: Any = _channel(endpoint, ca, options)
        self._metadata = (("authorization", f"Bearer {token}"), ("kms-region", region))
        with KeyManagementClient(endpoint, token=token, region=region, tls_ca=ca) as kms:
            self.key_id = kms.create_key("kms-grpc bench").key_metadata.key_id

    def stream(self, path: str, messages: Iterator[bytes]) -> Any:
        return self._channel.stream_stream(path)(messages, metadata=self._metadata)

    def resident_bytes(self) -> int:
        answer = self._channel.unary_unary(USAGE)(b"")
        return int(json.loads(answer)["resident_bytes"])

    def plain(self, count: int) -> Iterator[bytes]:
        """Yields the messages of an EncryptStream."""
        part = bytes(MESSAGE_BYTES)
        yield pb.EncryptStreamRequest(key_id=self.key_id, plaintext=part).SerializeToString()
        following = pb.EncryptStreamRequest(plaintext=part).SerializeToString()
        for _ in range(count - 2):
            yield following
        yield pb.EncryptStreamRequest(plaintext=part, last=True).SerializeToString()

    def encrypted(self, count: int) -> list[bytes]:
        """Returns the messages of a DecryptStream: the output of an EncryptStream in parts of a message's size."""
        answers = self.stream(SERVICE + "EncryptStream", self.plain(count))
        whole = b"".join(pb.EncryptStreamResponse.FromString(answer).ciphertext for answer in answers)
        parts = (whole[at : at + MESSAGE_BYTES] for at in range(0, len(whole), MESSAGE_BYTES))
        return [pb.DecryptStreamRequest(ciphertext=part).SerializeToString() for part in parts]


def _channel(endpoint: str, ca: str | None, options: list[tuple[str, int]]) -> grpc.Channel:
    if ca is None:
        return grpc.insecure_channel(endpoint, options=options)
    return grpc.secure_channel(endpoint, grpc.ssl_channel_credentials(Path(ca).read_bytes()), options=options)


def timed(client: Client, path: str, messages: Messages, count: int) -> float:
    sum(map(len, client.stream(path, messages(3))))
    begun = time.perf_counter()
    taken = sum(map(len, client.stream(path, messages(count))))
    seconds = time.perf_counter() - begun
    if taken < count * MESSAGE_BYTES:
        raise RuntimeError(f"{path}: {taken} bytes came back")
    return seconds


def echoed(count: int) -> Iterator[bytes]:
    message = bytes(MESSAGE_BYTES)
    for _ in range(count):
        yield message


def of_encrypted(client: Client, path: str, count: int) -> float:
    """Measures a stream of ciphertext, which is made beforehand, up to 256 MiB, and sent repeatedly.

    No message is in a processor cache, and the same holds for the echo of the stream."""
    most = min(count, 256)
    ready, seconds = client.encrypted(most), 0.0
    for _ in range(count // most):
        seconds += timed(client, path, lambda wanted: iter(ready), most)
    return seconds * count / (count // most * most)


def stalled(client: Client, count: int) -> float:
    """Sends on `count` streams until no stream takes any more; returns the worker's growth per stream."""
    sent = [0] * count

    def endless(number: int) -> Iterator[bytes]:
        for message in client.plain(1 << 30):
            sent[number] += 1
            yield message

    for _ in client.stream(SERVICE + "EncryptStream", client.plain(8)):
        pass
    before = client.resident_bytes()
    calls = [client.stream(SERVICE + "EncryptStream", endless(number)) for number in range(count)]
    for call in calls:
        next(call)
    seen = -1
    while sum(sent) != seen:
        seen = sum(sent)
        time.sleep(STILL_SECONDS)
    grown = client.resident_bytes() - before
    for call in calls:
        call.cancel()
    return grown / count


def main() -> None:
    endpoint, token, region, mode, count = *sys.argv[1:5], int(sys.argv[5])
    keep_freed_pages()
    processor = last_processor()
    if processor is not None:
        os.sched_setaffinity(0, {processor})
    client = Client(endpoint, token, region, sys.argv[6] if len(sys.argv) > 6 else None)
    measures: dict[str, Callable[[], float]] = {
        "encrypt": lambda: timed(client, SERVICE + "EncryptStream", client.plain, count),
        "decrypt": lambda: of_encrypted(client, SERVICE + "DecryptStream", count),
        "echo-encrypted": lambda: of_encrypted(client, ECHO_STREAM, count),
        "echo": lambda: timed(client, ECHO_STREAM, echoed, count),
        "stall": lambda: stalled(client, count),
    }
    print(measures[mode]())


if __name__ == "__main__":
    main()
