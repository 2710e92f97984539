"""The words file, which all processes of a host map: what was changed, and what time it is.

| offset | bytes | field |
|---|---|---|
| 0 | 8 | number of regions R |
| 8 | 16 | key of the hash, random, new at each start |
| 24 | 40 | 0 |
| 64 | 8 | the word of the configuration: changes when something changes that concerns all regions |
| 72 | 8 | number of the configuration in force: 0 at the start, then one more with each reload |
| 80 | 48 | 0 |
| 128 + 64 i | 8 | epoch of region i, in the order of the configuration: changes with each commit |
| 136 + 64 i | 8 | the word of region i: changes when something changes that may concern all of the region |
| 144 + 64 i | 8 | latest time that is known, ns since 1970: the shards record it in turn |
| 152 + 64 i | 8 | boot time, ns, until which what was read from the shard counts as fresh; 2^64-1: always |
| 160 + 64 i | 8 | number of entries of the change log that were announced here |
| 168 + 64 i | 24 | 0 |
| 128 + 64 R | 8 × 65,536 | the words of names, of all regions: keys, aliases, access keys |

All numbers are u64 in the machine's byte order. The word of a name is the one at BLAKE2b-64 (under the key of the hash)
of region, kind and name, modulo 65,536. Names that share a word cost a look-up, never a wrong answer.

A process that commits a change bumps the region's epoch, then the words of the names that it touched, after the commit
and before its answer. A process that relies on a name reads its word, then the epoch, then the registry or a cache that
was brought up to that epoch. So a process that has seen an old row has also seen an old word.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from kms_grpc.crypto import validity
from kms_grpc.crypto.envelope import random_bytes
from kms_grpc.crypto.words import SIZE, MappedWords, Word
from kms_grpc.registry.change import Name
from kms_grpc.zero_file import make_zero_file

NAMES: Final = 65_536
"""Number of words for names."""

_CONFIGURATION: Final = 8
_NUMBER: Final = 9
_REGIONS: Final = 16
_REGION: Final = 8
_FRESH_UNTIL: Final = 3


def words_path(data_dir: Path) -> Path:
    """Returns the path of the file in a data directory."""
    return data_dir / "run" / "words"


def create_words(path: Path, regions: int) -> None:
    """Makes a new file. Only the process that starts the others calls this, before it starts them."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = path.with_name(path.name + ".new")
    make_zero_file(made, SIZE * (_REGIONS + _REGION * regions + NAMES))
    descriptor = os.open(made, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, struct.pack("=Q", regions) + random_bytes(16), 0)
        for region in range(regions):
            os.pwrite(
                descriptor, struct.pack("=Q", validity.FOR_EVER), SIZE * (_REGIONS + _REGION * region + _FRESH_UNTIL)
            )
    finally:
        os.close(descriptor)
    made.replace(path)


class Words:
    """The mapped file. Raises ValueError if it has another size than its number of regions asks for."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            buffer = mmap.mmap(file.fileno(), 0)
        self.mapped = MappedWords(buffer)
        self.regions = self.mapped.read(0) if self.mapped.count > _REGIONS else 0
        if self.mapped.count != _REGIONS + _REGION * self.regions + NAMES:
            raise ValueError(f"{path} is not a words file, or is damaged")
        self._hash_key = bytes(buffer[8:24])
        self.configuration = self.mapped.word(_CONFIGURATION)
        self.configuration_number = self.mapped.word(_NUMBER)

    def region(self, index: int, region: str) -> RegionWords:
        """Returns the words of the region that is at `index` in the configuration. Raises IndexError."""
        if not 0 <= index < self.regions:
            raise IndexError(f"region {index} of {self.regions}")
        return RegionWords(self, _REGIONS + _REGION * index, region)

    def index_of(self, region: str, name: Name) -> int:
        """Returns the index of a name's word."""
        text = "\0".join((region, *name)).encode("utf-8", "surrogateescape")
        hashed = hashlib.blake2b(text, key=self._hash_key, digest_size=8).digest()
        return _REGIONS + _REGION * self.regions + int.from_bytes(hashed, "little") % NAMES

    def take_configuration(self, number: int) -> None:
        """Puts the configuration of this number in force in all workers, each of which must have it ready. Permits made
        under the earlier one end."""
        self.configuration_number.raise_to(number)
        self.configuration.bump()

    def bump_all(self) -> None:
        """Makes all Permits and caches stale. The supervisor does so when a child has died, which may have committed
        without announcing it."""
        for index in range(self.regions):
            self.mapped.bump(_REGIONS + _REGION * index)
        self.configuration.bump()


class RegionWords:
    """The words that concern one region."""

    def __init__(self, words: Words, first: int, region: str) -> None:
        self._words, self.region = words, region
        self.mapped = words.mapped
        self.hold = validity.judge(words.mapped)
        """Returns whether the lists of a Basis hold; takes the lists, the wall clock and the boot clock."""
        self.configuration, self.configuration_number = words.configuration, words.configuration_number
        self.epoch, self.whole, self.latest_time, self.fresh_until, self.announced = (
            Word(words.mapped, first + offset) for offset in range(5)
        )

    def index_of(self, name: Name) -> int:
        """Returns the index of a name's word."""
        return self._words.index_of(self.region, name)

    def announce(self, names: Iterable[Name], entries: int) -> None:
        """Makes known a commit that touched these names and added this number of entries to the change log."""
        self.epoch.bump()
        for name in names:
            self.mapped.bump(self.index_of(name))
        self.announced.add(entries)

    def announce_all(self) -> None:
        """Makes known that anything of the region may have changed."""
        self.epoch.bump()
        self.whole.bump()
