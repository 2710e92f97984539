"""Rows `client.records.*`: EnvelopeClient's `encrypt` and `decrypt` with one call per record, the asyncio client's
`decrypt`, and `encrypt_many` of 1,000 records.

The unit is microseconds of the thread's CPU per record of 1 KiB. All limits of the data key cache are on, and the
encryption context is bound once.

The reference is the least that a caller can do without the service: AESGCM of `cryptography` under one fixed key, in
the same loop, for encryption with a random nonce; for asyncio in a coroutine of the same event loop. It stores no
encrypted data key, key commitment or encryption context, and never replaces its key.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import thread_time_ns
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kms_grpc.bench.bench_data import BenchData
from kms_grpc.bench.effort import ITEM_BYTES
from kms_grpc.bench.server import Target, own_server
from kms_grpc.bench.statistics import BenchRow, interleaved
from kms_grpc.client.aio.envelope import AsyncBoundEnvelope, AsyncEnvelopeClient
from kms_grpc.client.aio.key_management import AsyncKeyManagementClient
from kms_grpc.client.data_key_cache import CacheLimits
from kms_grpc.client.envelope import BoundEnvelope, EnvelopeClient
from kms_grpc.client.key_management import KeyManagementClient
from kms_grpc.crypto.keyring import libcrypto_version

ONE_BY_ONE: Final = "client.records.1k"
MANY: Final = "client.records.1k.many"
DECRYPT: Final = "client.records.1k.decrypt"
ASYNCIO: Final = "client.records.1k.decrypt.asyncio"
NAMES: Final = (ONE_BY_ONE, MANY, DECRYPT, ASYNCIO)
GOALS_ON_3_0: Final = {ONE_BY_ONE: 3.5, MANY: 0.8, DECRYPT: 2.5, ASYNCIO: 2.5}
GOALS: Final = {ONE_BY_ONE: 2.5, MANY: 0.5, DECRYPT: 2.5, ASYNCIO: 2.5}
AT_ONCE: Final = 1_000
NONCE_BYTES: Final = 12
LIMITS: Final = CacheLimits(capacity=100, max_age=300, max_messages_encrypted=1 << 32, max_bytes_encrypted=1 << 50)
CONTEXT: Final = {"bench": ONE_BY_ONE}

Work = Callable[[list[bytes]], object]
"""Encrypts plaintexts, or decrypts records."""


def goal_of(name: str, libcrypto: str) -> float:
    """Returns the goal for a libcrypto: a faster cipher makes the share of all other work larger."""
    return (GOALS_ON_3_0 if libcrypto.startswith("OpenSSL 3.0.") else GOALS)[name]


def measure(name: str, bench_data: BenchData) -> list[BenchRow]:
    items, turns = [bytes(ITEM_BYTES)] * AT_ONCE, bench_data.effort.batches
    with (
        own_server(bench_data.fresh("client"), 1) as target,
        _bound(target) as bound,
        _work(name, bound, target) as (ours, bare),
    ):
        if name in (DECRYPT, ASYNCIO):
            items = bound.encrypt_many(items)
        for warm_up in (ours, bare):
            cpu_us(warm_up, items, 1)
        return [
            interleaved(
                name,
                "µs/record",
                goal_of(name, libcrypto_version()),
                lambda: cpu_us(ours, items, turns),
                lambda: cpu_us(bare, items, turns),
                bench_data.effort.rounds,
            )
        ]


@contextmanager
def _work(name: str, bound: BoundEnvelope, target: Target) -> Iterator[tuple[Work, Work]]:
    """Yields our work and the reference."""
    if name == ASYNCIO:
        with asyncio.Runner() as runner, _bound_for_asyncio(target, runner) as for_asyncio:
            yield _by_asyncio(runner, for_asyncio), _in_a_coroutine(runner, reference_decryption())
    elif name == DECRYPT:
        yield _one_by_one(bound.decrypt), reference_decryption()
    else:
        yield bound.encrypt_many if name == MANY else _one_by_one(bound.encrypt), reference()


def cpu_us(work: Work, items: list[bytes], turns: int) -> float:
    """Returns this thread's CPU per record in microseconds."""
    begun = thread_time_ns()
    for _ in range(turns):
        work(items)
    return (thread_time_ns() - begun) / 1000 / turns / len(items)


def reference() -> Work:
    """Returns a function that encrypts records under one fixed key, each with a random nonce."""
    seal, random = AESGCM(AESGCM.generate_key(256)).encrypt, os.urandom

    def encrypt(plaintexts: list[bytes]) -> None:
        for plaintext in plaintexts:
            seal(random(NONCE_BYTES), plaintext, None)

    return encrypt


def reference_decryption() -> Work:
    """Returns a function that decrypts as many records as it is given, but its own, under one fixed key."""
    cipher, nonce = AESGCM(AESGCM.generate_key(256)), os.urandom(NONCE_BYTES)
    decrypt_one, record = cipher.decrypt, cipher.encrypt(nonce, bytes(ITEM_BYTES), None)

    def decrypt(records: list[bytes]) -> None:
        for _ in records:
            decrypt_one(nonce, record, None)

    return decrypt


def _one_by_one(call: Callable[[bytes], bytes]) -> Work:
    def work(items: list[bytes]) -> None:
        for item in items:
            call(item)

    return work


def _by_asyncio(runner: asyncio.Runner, bound: AsyncBoundEnvelope) -> Work:
    async def decrypt(records: list[bytes]) -> None:
        call = bound.decrypt
        for record in records:
            await call(record)

    return lambda records: runner.run(decrypt(records))


def _in_a_coroutine(runner: asyncio.Runner, work: Work) -> Work:
    """Returns the same work as a program does it whose event loop runs. To enter the loop costs as much for both."""

    async def run(records: list[bytes]) -> None:
        work(records)

    return lambda records: runner.run(run(records))


@contextmanager
def _bound(target: Target) -> Iterator[BoundEnvelope]:
    """Yields an envelope client bound to a key of the server, which is called for one data key."""
    with (
        KeyManagementClient(target.endpoint, token=target.token, region=target.region) as kms,
        EnvelopeClient(kms, LIMITS) as envelope,
    ):
        yield envelope.bind(kms.create_key("bench").key_metadata.key_id, CONTEXT)


@contextmanager
def _bound_for_asyncio(target: Target, runner: asyncio.Runner) -> Iterator[AsyncBoundEnvelope]:
    """Yields an asyncio client for records of any key under the same context."""

    async def opened() -> tuple[AsyncKeyManagementClient, AsyncEnvelopeClient]:
        kms = AsyncKeyManagementClient(target.endpoint, token=target.token, region=target.region)
        return kms, AsyncEnvelopeClient(kms, LIMITS)

    kms, envelope = runner.run(opened())
    try:
        yield envelope.bind("", CONTEXT)
    finally:
        runner.run(envelope.close())
        runner.run(kms.close())
