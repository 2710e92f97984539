"""`core.*`: the core beside bare AES-256-GCM by EVP, on the same libcrypto, in this process. Nanoseconds per item."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kms_grpc.bench.bench_data import BenchData
from kms_grpc.bench.effort import ITEM_BYTES
from kms_grpc.bench.own_service import SLOTS
from kms_grpc.bench.statistics import BenchRow, interleaved
from kms_grpc.bench.yardsticks import CoreYardstick
from kms_grpc.crypto import key_wrapping
from kms_grpc.crypto.ciphertext_blob import associated_prefix, header_prefix, kid_of
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.crypto.keyring import evict, libcrypto_version, open_keyring

KEY_ID: Final = "1234abcd-12ab-34cd-56ef-1234567890ab"
ARN: Final = f"arn:aws:kms:eu-central-1:123456789012:key/{KEY_ID}"
ITEMS: Final = 1_000
GOAL_ON_3_0: Final = 1.25
GOAL: Final = 1.35
GOAL_SINGLY: Final = 1.9

Measure = Callable[[], float]
_PAIRS: Final[Mapping[str, tuple[Callable[[CoreYardstick], float], Callable[[CoreYardstick], float]]]] = {
    "core.seal.1k": (CoreYardstick.seal, CoreYardstick.bare_seal),
    "core.open.1k": (CoreYardstick.open, CoreYardstick.bare_open),
    "core.seal.1k.single": (CoreYardstick.seal_singly, CoreYardstick.bare_seal_singly),
}
NAMES: Final = tuple(_PAIRS)


def goal_of(name: str, libcrypto: str) -> float:
    """Returns the goal for a libcrypto: a faster cipher makes the share of fixed costs larger."""
    if name.endswith(".single"):
        return GOAL_SINGLY
    return GOAL_ON_3_0 if libcrypto.startswith("OpenSSL 3.0.") else GOAL


def measure(name: str, bench_data: BenchData) -> list[BenchRow]:
    ours, bare = _PAIRS[name]
    batches = bench_data.effort.batches
    with core_yardstick() as yardstick:
        measured, reference = _mean(lambda: ours(yardstick), batches), _mean(lambda: bare(yardstick), batches)
        return [
            interleaved(
                name, "ns/item", goal_of(name, libcrypto_version()), measured, reference, bench_data.effort.rounds
            )
        ]


def _mean(measure: Measure, batches: int) -> Measure:
    """Returns a measurement that is the mean of `batches` batches."""
    return lambda: sum(measure() for _ in range(batches)) / batches


@contextmanager
def core_key() -> Iterator[tuple[int, bytes]]:
    """Creates a key in the keyring, wrapped and loaded like any key; returns its handle and the header of its blobs."""
    open_keyring(SLOTS)
    with tempfile.TemporaryDirectory(prefix="kms-grpc-bench-") as folder:
        path = Path(folder) / "root.key"
        key_wrapping.create_root_key_file(path)
        root = key_wrapping.load_root_key_file(path)
    region = key_wrapping.load_region_key(root, b"bench", key_wrapping.generate_region_key(root, b"bench"))
    kid = kid_of(KEY_ID)
    material_id, wrapped = key_wrapping.generate_material(region, kid, b"bench")
    handle = key_wrapping.load_material(region, kid, material_id, b"bench", wrapped)
    try:
        yield handle, header_prefix(kid, material_id)
    finally:
        for each in (handle, region, root):
            evict(each)


@contextmanager
def core_yardstick() -> Iterator[CoreYardstick]:
    with core_key() as (handle, prefix):
        yield CoreYardstick(handle, prefix, associated_prefix(ARN) + canonical({}), ITEM_BYTES, ITEMS)
