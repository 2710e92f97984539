"""Reads the configuration of callers again, and hands it to all workers at one moment.

It is read when SIGHUP comes, and when one of its files has changed and then stayed as it is for a second, symbolic
links followed. Each worker makes the new configuration ready. When all have, its number is written into the words file,
and from then on it is in force everywhere. If it cannot be read or used, the earlier one stays in force as a whole.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from kms_grpc import config
from kms_grpc.config import ConfigurationError, Settings, Source
from kms_grpc.configured_files import texts_of
from kms_grpc.processes.child_protocol import AT_START, Offer, Taken
from kms_grpc.processes.children import Child
from kms_grpc.registry.words import Words

RELOADED: Final = ("principals", "issuers", "mappings", "client_bundles")
"""Settings that are taken without a restart."""
LOOK_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 20.0
"""A worker that has not answered an offer for so long is replaced by one that begins with the new configuration."""

Identity = dict[Path, tuple[int, int, int, int] | None]
_log = logging.getLogger(__name__)


class Reload:
    """The configuration of one server. `source` is where the settings come from; without it they stay as they are, and
    only the files that they name are read again."""

    def __init__(self, settings: Settings, source: Source | None) -> None:
        self.settings = settings
        self.taken = AT_START
        self._source = source
        self._number = 0
        self._paths = self._paths_of(settings)
        self._seen = self._last = _identity(self._paths)
        self._is_asked = False
        self._next_look = 0.0
        self._offer: Offer | None = None
        self._offered_at = 0.0

    @property
    def is_under_way(self) -> bool:
        """True while workers make a configuration ready."""
        return self._offer is not None

    def read_first(self) -> None:
        """Reads the files that the settings name. Raises ConfigurationError."""
        self.taken = Taken(0, texts_of(self.settings.named_files()))

    def ask(self) -> None:
        """Has the configuration read at the next look, whether or not a file has changed."""
        self._is_asked = True

    def look(self, children: Sequence[Child], words: Words) -> None:
        """Reads what has changed, or goes on with what the workers make ready."""
        if self._offer is not None:
            self._go_on(self._offer, children, words)
            return
        now = time.monotonic()
        if now < self._next_look and not self._is_asked:
            return
        self._next_look = now + LOOK_SECONDS
        found = _identity(self._paths)
        is_still, self._last = found == self._last, found
        if self._is_asked or (is_still and found != self._seen):
            self._read()

    # --- reading -------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        was_asked, self._is_asked = self._is_asked, False
        self._seen = _identity(self._paths)
        try:
            settings, files = self._read_files()
        except ConfigurationError as error:
            _log.error("the configuration is refused, the earlier one stays in force: %s", error)
            return
        if self._seen != _identity(self._paths):
            self._is_asked = was_asked
            self._seen = {}  # a file was written meanwhile: what was read may be of two versions
            return
        if (settings, files) == (self.settings, self.taken.files):
            if was_asked:
                _log.info("the configuration is unchanged")
            return
        self._number += 1
        self._offer = Offer(msgspec.Raw(config.to_json(settings)), Taken(self._number, files))
        self._offered_at = time.monotonic()

    def _read_files(self) -> tuple[Settings, dict[str, str]]:
        found = self.settings if self._source is None else self._source.load()
        changes = {name: getattr(found, name) for name in RELOADED}
        settings = msgspec.structs.replace(self.settings, **changes)
        others = [*_changed(self.settings, found)]
        if others:
            _log.warning("changed settings need a restart of the server: %s", ", ".join(others))
        named = self._paths_of(settings)
        self._seen |= _identity(set(named) - set(self._paths))
        self._paths = sorted({*named, *self._paths})
        return settings, texts_of(settings.named_files())

    def _paths_of(self, settings: Settings) -> list[Path]:
        own = [] if self._source is None or self._source.path is None else [self._source.path]
        return [*own, *(path for path, _ in settings.named_files())]

    # --- handing over --------------------------------------------------------------------------------------------

    def _go_on(self, offer: Offer, children: Sequence[Child], words: Words) -> None:
        number = offer.taken.number
        workers = [child for child in children if child.role == "worker"]
        for worker in workers:
            if worker.ready and worker.offered != number:
                worker.offer(offer)
            elif worker.ready:
                worker.read()
        answers = [worker.answer if worker.ready else (0, None) for worker in workers]
        refused = next((reason for answered, reason in answers if answered == number and reason is not None), None)
        if refused is not None:
            self._offer = None
            _log.error("the configuration is refused, the earlier one stays in force: %s", refused)
            return
        taken = [answered == number for answered, _ in answers]
        is_late = time.monotonic() - self._offered_at > ANSWER_SECONDS
        if all(taken) or (any(taken) and is_late):
            self._take(offer, children, words)

    def _take(self, offer: Offer, children: Sequence[Child], words: Words) -> None:
        settings, number = offer.settings(), offer.taken.number
        for child in children:
            reloaded = {name: getattr(settings, name) for name in RELOADED}
            child.settings = msgspec.structs.replace(child.settings, **reloaded)
            child.taken = offer.taken
            if child.role == "worker" and child.running and child.answer != (number, None):
                child.kill("did not take the new configuration")
        words.take_configuration(number)
        self.settings, self.taken, self._offer = settings, offer.taken, None
        self._paths = self._paths_of(settings)
        self._seen = self._last = {path: self._seen.get(path) for path in self._paths}
        facts = {"number": number, "principals": len(settings.principals)}
        _log.info("the changed configuration is in force", extra=facts)


def _changed(before: Settings, found: Settings) -> Iterable[str]:
    """Yields the settings that differ and are not taken: of a section, the settings in it."""
    for name in before.__struct_fields__:
        old, new = getattr(before, name), getattr(found, name)
        if name in RELOADED or old == new:
            continue
        if isinstance(old, msgspec.Struct) and isinstance(new, msgspec.Struct):
            differing = [each for each in old.__struct_fields__ if getattr(old, each) != getattr(new, each)]
            yield from (f"{name}.{each}" for each in differing)
        else:
            yield name


def _identity(paths: Iterable[Path]) -> Identity:
    """Returns device, inode, size and time of change of each file, symbolic links followed; None for a missing one."""
    found: Identity = {}
    for path in paths:
        try:
            one = path.stat()
        except OSError:
            found[path] = None
        else:
            found[path] = (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns)
    return found
