"""Rows `client.records.*`: EnvelopeClient's `encrypt` with one call per record, and `encrypt_many` of 1,000 records.

The unit is microseconds of the thread's CPU per record of 1 KiB. All limits of the data key cache are on, and the
encryption context is bound once.

The reference is the least that a caller can do without the service: AESGCM.encrypt of `cryptography` with a random
nonce under one fixed key, in the same loop. It stores no encrypted data key, key commitment or encryption context, and
never replaces its key.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import thread_time_ns
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kms_grpc.bench.bench_data import BenchData
from kms_grpc.bench.server import own_server
from kms_grpc.bench.sizes import ITEM_BYTES
from kms_grpc.bench.statistics import Row, interleaved
from kms_grpc.client.data_key_cache import CacheLimits
from kms_grpc.client.envelope import BoundEnvelope, EnvelopeClient
from kms_grpc.client.key_management import KeyManagementClient
from kms_grpc.crypto.keyring import libcrypto_version

ONE_BY_ONE: Final = "client.records.1k"
MANY: Final = "client.records.1k.many"
NAMES: Final = (ONE_BY_ONE, MANY)
GOALS_ON_3_0: Final = {ONE_BY_ONE: 3.5, MANY: 0.8}
GOALS: Final = {ONE_BY_ONE: 2.5, MANY: 0.5}
AT_ONCE: Final = 1_000
NONCE_BYTES: Final = 12
LIMITS: Final = CacheLimits(capacity=100, max_age=300, max_messages_encrypted=1 << 32, max_bytes_encrypted=1 << 50)

Encrypt = Callable[[list[bytes]], object]


def goal_of(name: str, libcrypto: str) -> float:
    """Returns the goal for a libcrypto: a faster cipher makes the share of all other work larger."""
    return (GOALS_ON_3_0 if libcrypto.startswith("OpenSSL 3.0.") else GOALS)[name]


def measure(name: str, bench_data: BenchData) -> list[Row]:
    plaintexts, turns = [bytes(ITEM_BYTES)] * AT_ONCE, bench_data.effort.batches
    with _bound(bench_data) as bound:
        ours, bare = _one_by_one(bound) if name == ONE_BY_ONE else bound.encrypt_many, reference()
        for warm_up in (ours, bare):
            cpu_us(warm_up, plaintexts, 1)
        return [
            interleaved(
                name,
                "µs/record",
                goal_of(name, libcrypto_version()),
                lambda: cpu_us(ours, plaintexts, turns),
                lambda: cpu_us(bare, plaintexts, turns),
                bench_data.effort.rounds,
            )
        ]


def cpu_us(encrypt: Encrypt, plaintexts: list[bytes], turns: int) -> float:
    """Returns this thread's CPU per record in microseconds."""
    begun = thread_time_ns()
    for _ in range(turns):
        encrypt(plaintexts)
    return (thread_time_ns() - begun) / 1000 / turns / len(plaintexts)


def reference() -> Encrypt:
    """Returns a function that encrypts records under one fixed key, each with a random nonce."""
    seal, random = AESGCM(AESGCM.generate_key(256)).encrypt, os.urandom

    def encrypt(plaintexts: list[bytes]) -> None:
        for plaintext in plaintexts:
            seal(random(NONCE_BYTES), plaintext, None)

    return encrypt


def _one_by_one(bound: BoundEnvelope) -> Encrypt:
    seal = bound.encrypt

    def encrypt(plaintexts: list[bytes]) -> None:
        for plaintext in plaintexts:
            seal(plaintext)

    return encrypt


@contextmanager
def _bound(bench_data: BenchData) -> Iterator[BoundEnvelope]:
    """Yields an envelope client bound to a key of its own server, which is called for one data key."""
    with (
        own_server(bench_data.fresh("client"), 1) as target,
        KeyManagementClient(target.endpoint, token=target.token, region=target.region) as kms,
        EnvelopeClient(kms, LIMITS) as envelope,
    ):
        key_id = kms.create_key("bench").key_metadata.key_id
        yield envelope.bind(key_id, {"bench": ONE_BY_ONE})
