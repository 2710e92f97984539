"""A load of streams: many slow readers, and a gigabyte that is exchanged with the AWS Encryption SDK.

    .venv/bin/python -m tests.stream_soak [--streams 64] [--seconds 60] [--mib 1024]

Prints its figures. The exit code is 0 if the workers hold at most 8 MiB per stream, other calls are answered, and the
gigabyte is the same after encryption by the one side and decryption by the other. The tests run it for seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aws_encryption_sdk

from kms_grpc.client import KeyManagementClient, StreamClient
from tests import stock_library
from tests.served import Served

MIB = 1024 * 1024
PER_STREAM = 8 * MIB
BYTES_PER_SECOND = 1_000_000
PART = 256 * 1024


@dataclass
class Seen:
    """The bytes of all streams together, and the seconds of the calls beside them."""

    sent: int = 0
    received: int = 0
    grown: int = 0
    """The largest growth of all workers' memory since the time before the streams, in bytes."""
    calls: list[float] = field(default_factory=list)
    blocked_share: float = 0.0
    """The share of the senders' time in which they waited for the server."""


def workers_of(served: Served) -> list[int]:
    """Returns the process ids of a server's workers."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == served.process.pid and b"worker" in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return found


def resident(pids: list[int]) -> int:
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in pids)


class SlowReader(threading.Thread):
    """A stream that sends as fast as the server allows and reads BYTES_PER_SECOND."""

    def __init__(self, streams: StreamClient, key_id: str, ends: float) -> None:
        super().__init__(daemon=True)
        self._streams, self._key_id, self._ends = streams, key_id, ends
        self.sent = self.received = 0
        self.waited = 0.0

    def run(self) -> None:
        begun = time.monotonic()
        with self._streams.encrypt(self._key_id, self._parts()) as encrypted:
            for part in encrypted:
                self.received += len(part)
                due = begun + self.received / BYTES_PER_SECOND
                time.sleep(max(0.0, due - time.monotonic()))
                if time.monotonic() > self._ends:
                    return

    def _parts(self) -> Iterator[bytes]:
        part = bytes(PART)
        while time.monotonic() < self._ends:
            handed = time.monotonic()
            self.sent += len(part)
            yield part
            self.waited += time.monotonic() - handed


def slow_readers(served: Served, count: int, seconds: float) -> Seen:
    """Runs `count` streams at the same time, with an Encrypt every 50 ms beside them."""
    seen, workers = Seen(), workers_of(served)
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
    with (
        served.client() as kms,
        StreamClient(served.address, token=served.token, connections=8, channel_options=options) as streams,
    ):
        key_id = kms.create_key("soak").key_metadata.key_id
        list(streams.encrypt(key_id, [bytes(4 * MIB)]))
        before, ends = resident(workers), time.monotonic() + seconds
        readers = [SlowReader(streams, key_id, ends) for _ in range(count)]
        for reader in readers:
            reader.start()
        while time.monotonic() < ends:
            begun = time.monotonic()
            kms.encrypt(key_id, b"beside the streams")
            seen.calls.append(time.monotonic() - begun)
            seen.grown = max(seen.grown, resident(workers) - before)
            time.sleep(0.05)
        for reader in readers:
            reader.join(30)
    seen.sent = sum(reader.sent for reader in readers)
    seen.received = sum(reader.received for reader in readers)
    seen.blocked_share = sum(reader.waited for reader in readers) / count / seconds
    return seen


def summary(seen: Seen, count: int) -> str:
    moved = f"{seen.sent / 1e6:,.0f} MB sent, {seen.received / 1e6:,.0f} MB received"
    memory = f"workers grew by {seen.grown / count / MIB:.1f} MiB a stream"
    blocked = f"senders blocked {seen.blocked_share:.0%} of their time"
    return f"{moved}, {memory}, {blocked}, {len(seen.calls)} calls beside them in up to {max(seen.calls) * 1e3:.0f} ms"


def is_well(seen: Seen, count: int) -> bool:
    """Returns whether the server's memory and its unread input are within limits, and other calls were answered."""
    held = seen.sent - seen.received
    return seen.grown <= count * PER_STREAM and held <= 2 * count * PER_STREAM and bool(seen.calls)


# --- a gigabyte ------------------------------------------------------------------------------------------------------


class Pattern(io.RawIOBase):
    """A file of `size` bytes without repetition, generated as it is read; `hash` covers the bytes read so far."""

    def __init__(self, size: int) -> None:
        self._left, self._block = size, hashlib.shake_128(b"stream soak").digest(MIB)
        self._number = 0
        self.hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = min(MIB if size < 0 else size, self._left, MIB)
        self._left -= wanted
        self._number += 1
        part = (self._number.to_bytes(8) + self._block)[:wanted]
        self.hash.update(part)
        return part


def by_service_then_library(client: KeyManagementClient, streams: StreamClient, arn: str, size: int) -> bool:
    """Returns whether the SDK decrypts the service's message to the same bytes."""
    source, plaintext = Pattern(size), hashlib.sha256()
    with tempfile.TemporaryFile() as message:
        for part in streams.encrypt(arn, iter(lambda: source.read(MIB), b"")):
            message.write(part)
        message.seek(0)
        library = aws_encryption_sdk.EncryptionSDKClient()
        key = stock_library.key_of_service(client, arn)
        with library.stream(mode="d", source=message, key_provider=key) as decryptor:
            for part in decryptor:
                plaintext.update(part)
    return plaintext.digest() == source.hash.digest()


def by_library_then_service(client: KeyManagementClient, streams: StreamClient, arn: str, size: int) -> bool:
    """Returns whether the service decrypts the SDK's message to the same bytes."""
    source, plaintext = Pattern(size), hashlib.sha256()
    library: Any = aws_encryption_sdk.EncryptionSDKClient()
    how = {"frame_length": 65536, "source_length": size, "algorithm": stock_library.suite(0x0478)}
    with library.stream(
        mode="e", source=source, key_provider=stock_library.key_of_service(client, arn), **how
    ) as encryptor:
        for part in streams.decrypt(iter(lambda: encryptor.read(MIB), b"")):
            plaintext.update(part)
    return plaintext.digest() == source.hash.digest()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--mib", type=int, default=1024)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kms-grpc-soak-") as folder:
        served = Served(Path(folder) / "data")
        served.start()
        try:
            seen = slow_readers(served, chosen.streams, chosen.seconds)
            print(f"{chosen.streams} streams, {chosen.seconds:.0f} s: {summary(seen, chosen.streams)}")
            well = is_well(seen, chosen.streams)
            with served.client() as kms, StreamClient(served.address, token=served.token) as streams:
                arn = kms.create_key("soak").key_metadata.arn
                for way in (by_service_then_library, by_library_then_service):
                    begun = time.monotonic()
                    same = way(kms, streams, arn, chosen.mib * MIB)
                    print(f"{way.__name__}: {chosen.mib} MiB in {time.monotonic() - begun:.1f} s, the same: {same}")
                    well = well and same
        finally:
            served.close()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
