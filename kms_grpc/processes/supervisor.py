"""`kms-grpc serve`: locks the data directory and addresses, spawns the other processes, restarts and stops them.

It does not import grpc and holds no keys. It handles these signals:

| signal | effect |
|---|---|
| SIGTERM, SIGINT | workers finish the calls in flight within drain_seconds, then get SIGKILL; exit code 0 |
| a second SIGTERM or SIGINT | all processes get SIGKILL at once; exit code 0 |
| SIGHUP | if its terminal is gone: as SIGTERM; otherwise the configuration of callers is read again (reload.py) |

A child that does not answer is killed and replaced (children.Timing).

When a child dies, all Permits and caches become stale: it may have committed a change without announcing it.
"""

from __future__ import annotations

import logging
import os
import resource
import selectors
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import Final

import msgspec

from kms_grpc.addresses import networks_of
from kms_grpc.config import ConfigurationError, Settings, Source
from kms_grpc.processes import claims, file_descriptors, logs, metrics
from kms_grpc.processes.children import Child, Command, Timing, describe_status
from kms_grpc.processes.claims import StartRefused
from kms_grpc.processes.reload import Reload
from kms_grpc.processes.run_folder import RunFolder
from kms_grpc.processes.signals import Signals
from kms_grpc.registry.file_identity import FileIdentity
from kms_grpc.registry.words import Words

_STOP: Final = frozenset({signal.SIGTERM, signal.SIGINT})
_KEEPER_SECONDS: Final = 5.0
"""How long the keeper may take to copy the remaining audit records."""
_SAME_REQUEST_SECONDS: Final = 0.5
"""Stop signals within this time count as one."""

_RELOAD_SECONDS: Final = 0.02
"""Time between two looks at workers that make a new configuration ready."""

_log = logging.getLogger(__name__)


class Supervisor:
    """Supervises one server. `command` returns the arguments of each process; `operations` are the names of the
    operations whose calls are counted."""

    def __init__(
        self,
        settings: Settings,
        command: Command,
        operations: Sequence[str],
        timing: Timing | None = None,
        source: Source | None = None,
    ) -> None:
        self._settings = settings
        self._command = command
        self._operations = operations
        self._timing = timing or Timing()
        self._run_folder = RunFolder(settings.data_dir)
        self._children: list[Child] = []
        self._stops = 0
        self._stopped_at = 0.0
        self._next_beat = 0.0
        self._serving = False
        self._published = False
        self._collector: metrics.ServerCollector | None = None
        self._reload = Reload(settings, source)
        self._had_terminal = sys.stderr.isatty()

    def run(self) -> int:
        """Serve until a stop signal arrives; return the exit code.

        Call it in the main thread, because the children are killed when the thread that spawned them ends.
        """
        logs.configure("supervisor", self._settings.log_level)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        file_descriptors.raise_limit()
        os.umask(0o077)
        try:
            with ExitStack() as held:
                return self._run(held)
        except StartRefused as refused:
            _log.error("cannot start: %s", refused)
            return refused.code

    # --- start -------------------------------------------------------------------------------------------------

    def _run(self, held: ExitStack) -> int:
        settings = self._settings
        held.enter_context(claims.data_directory(settings.data_dir))
        addresses = held.enter_context(claims.address(settings.listen, settings.workers))
        aws_addresses = self._claim_aws(held)
        self._run_folder.make(settings, self._operations)
        self._map_words()
        self._selector = held.enter_context(selectors.DefaultSelector())
        self._signals = held.enter_context(Signals((*_STOP, signal.SIGHUP, signal.SIGCHLD)))
        self._selector.register(self._signals, selectors.EVENT_READ)
        held.callback(self._kill_all)
        folder = self._run_folder
        for published in (folder.address, folder.aws_address, folder.tls_certificate):
            held.callback(published.unlink, missing_ok=True)
        self._prepare()
        if not self._stops:
            self._spawn_all(addresses, aws_addresses)
            self._serve_metrics(held)
        while not self._stops:
            self._handle_events()
            self._beat()
            self._restart_due()
            self._look_at_words()
            self._look_at_configuration()
            self._announce(addresses, aws_addresses)
        return self._stop()

    def _map_words(self) -> None:
        self._words = Words(self._run_folder.words)
        self._words_file = FileIdentity(self._run_folder.words)
        self._words.configuration_number.raise_to(self._reload.taken.number)

    def _look_at_words(self) -> None:
        """Restarts all processes if run/words was replaced or removed: processes that map different files would no
        longer notice each other's changes. All are killed, and start with new files and empty caches."""
        if not self._words_file.has_changed():
            return
        _log.error("%s was replaced while the server runs: all processes are restarted", self._run_folder.words)
        for child in self._children:
            child.kill("run/words was replaced")
        try:
            self._run_folder.make(self._settings, self._operations)
        except StartRefused as refused:
            _log.error("cannot restart: %s", refused)
            return
        self._map_words()
        self._published = False
        if self._collector is not None:
            self._collector.map_files()

    def _look_at_configuration(self) -> None:
        if self._serving:
            self._reload.look(self._children, self._words)

    def _claim_aws(self, held: ExitStack) -> list[str]:
        """Returns the AWS door's address for each worker; empty if the door is not configured."""
        listen, workers = self._settings.aws_listen, self._settings.workers
        return [] if listen is None else held.enter_context(claims.address(listen, workers, "--aws-listen"))

    def _prepare(self) -> None:
        """Run the child `prepare` to its end. It is not restarted."""
        child = self._child("prepare", 0)
        self._children = [child]
        self._spawn(child)
        while child.running and not self._stops:
            self._handle_events()
        self._kill_all()
        self._children = []
        try:
            self._reload.read_first()
        except ConfigurationError as error:
            raise StartRefused(str(error)) from None

    def _spawn_all(self, addresses: list[str], aws_addresses: list[str]) -> None:
        doors = zip_longest(addresses, aws_addresses)
        workers = [
            self._child("worker", index, listen=listen, aws_listen=aws_listen)
            for index, (listen, aws_listen) in enumerate(doors)
        ]
        self._children = [*workers, self._child("keeper", 0)]
        for child in self._children:
            self._spawn(child)

    def _child(self, role: str, index: int, **doors: str | None) -> Child:
        settings = msgspec.structs.replace(self._settings, **doors)
        child = Child(role, index, self._command, settings, self._timing)
        child.taken = self._reload.taken
        return child

    def _spawn(self, child: Child) -> None:
        try:
            output = child.spawn()
        except OSError as error:
            if not self._serving:
                raise StartRefused(f"{child.name}: {error}") from None
            _log.error("cannot start %s: %s", child.name, error)
            child.plan_restart(lived=0)
            return
        self._selector.register(output, selectors.EVENT_READ, child)

    def _serve_metrics(self, held: ExitStack) -> None:
        if self._settings.metrics_listen is None:
            return
        networks = networks_of(self._settings.metrics_networks)
        self._collector = metrics.ServerCollector(self._run_folder, self._settings, self._operations, self._states)
        where = held.enter_context(metrics.serve(self._settings.metrics_listen, networks, self._collector))
        _log.info("metrics", extra={"address": f"http://{where}/metrics"})

    def _states(self) -> list[metrics.ProcessState]:
        return [metrics.ProcessState(c.name, c.up, c.restarts, c.hangs, c.facts or {}) for c in self._children]

    def _announce(self, addresses: list[str], aws_addresses: list[str]) -> None:
        """Publish the addresses when all children are ready, and log them the first time."""
        if self._published or not all(child.ready for child in self._children):
            return
        self._published = True
        self._write(self._run_folder.address, addresses)
        self._write(self._run_folder.aws_address, aws_addresses)
        if self._settings.tls is not None:
            self._write(self._run_folder.tls_certificate, [str(self._settings.tls.certificate_file.absolute())])
        if not self._serving:
            self._serving = True
            self._log_start(addresses, aws_addresses)

    def _log_start(self, addresses: list[str], aws_addresses: list[str]) -> None:
        facts = self._children[0].facts or {}
        shown = {name: value for name, value in facts.items() if name not in ("advice", "sqlite_advice")}
        _log.info(
            "serving",
            extra={
                "address": " ".join(dict.fromkeys(addresses)),
                **({"aws_address": " ".join(dict.fromkeys(aws_addresses))} if aws_addresses else {}),
                "regions": " ".join(self._settings.regions),
                "workers": self._settings.workers,
            }
            | shown,
        )
        for advice in ("advice", "sqlite_advice"):
            if facts.get(advice):
                _log.warning("%s", facts[advice])
        if not facts.get("memory_locked", True):
            _log.warning(
                "keys may be swapped to disk: allow the server to lock memory"
                " (ulimit -l 8192, LimitMEMLOCK=8M or CAP_IPC_LOCK)"
            )

    def _write(self, path: Path, lines: list[str]) -> None:
        """Write a file that tells other processes an address or path. A failure, as on a full disk, is only logged."""
        if not lines:
            return
        try:
            path.write_text("".join(f"{each}\n" for each in dict.fromkeys(lines)))
        except OSError as error:
            _log.warning("cannot write %s: %s", path, error.strerror)

    # --- the loop ----------------------------------------------------------------------------------------------

    def _handle_events(self) -> None:
        """Wait for the next event or restart, and handle reports, signals and ended children."""
        for key, _ in self._selector.select(self._timeout()):
            if isinstance(key.data, Child) and (not key.data.read() or key.data.ready):
                self._selector.unregister(key.fd)  # the answers of a ready child are read at the next beat
        for number in self._signals.take():
            if number in _STOP or (number == signal.SIGHUP and self._has_lost_terminal()):
                self._note_stop()
            elif number == signal.SIGHUP:
                self._reload.ask()
        for child in self._children:
            status = child.poll()
            if status is not None:
                self._ended(child, status)
            elif child.late:
                child.reason = f"not ready after {self._timing.ready:.0f} s"
                child.signal(signal.SIGKILL)

    def _beat(self) -> None:
        """Ask all children, once a second, whether they respond, and kill those that have not answered for long.
        Answers that have arrived are read before a child is judged, however late the supervisor itself is."""
        now = time.monotonic()
        if now < self._next_beat:
            return
        self._next_beat = now + self._timing.beat
        for child in self._children:
            if child.ready:
                child.read()
            child.kill_hung()
            child.ask()

    def _has_lost_terminal(self) -> bool:
        """Returns whether there was a terminal and it has closed. It is none any more then."""
        return self._had_terminal and not sys.stderr.isatty()

    def _note_stop(self) -> None:
        """Count a stop request. timeout(1) and others signal the process and then its group, which is one request."""
        now = time.monotonic()
        if not self._stops or now - self._stopped_at > _SAME_REQUEST_SECONDS:
            self._stops += 1
            self._stopped_at = now

    def _timeout(self) -> float:
        if self._stops:
            return 1.0
        if self._reload.is_under_way:
            return _RELOAD_SECONDS
        due = [child.restart_at for child in self._children if child.restart_at is not None]
        return max(0.0, min([*due, self._next_beat, time.monotonic() + 1.0]) - time.monotonic())

    def _ended(self, child: Child, status: int) -> None:
        """Read the last report of an ended process, then restart it or, before the server serves, refuse to start."""
        self._forget_output(child)
        child.ended()
        reason = child.reason or describe_status(status)
        if child.role == "prepare":
            if status != 0 and not self._stops:
                raise StartRefused(reason, status if status > 0 else 1)
            return
        self._words.bump_all()
        if self._stops:
            return
        if not self._serving:
            raise StartRefused(f"{child.name}: {reason}", status if status > 0 else 1)
        _log.error(
            "%s ended and will be restarted",
            child.name,
            extra={"status": describe_status(status), "reason": child.reason},
        )

    def _forget_output(self, child: Child) -> None:
        while child.read():
            pass
        for key in [key for key in self._selector.get_map().values() if key.data is child]:
            self._selector.unregister(key.fd)

    def _restart_due(self) -> None:
        for child in self._children:
            if child.restart_at is not None and child.restart_at <= time.monotonic() and not self._stops:
                child.restarts += 1
                self._spawn(child)

    # --- stop --------------------------------------------------------------------------------------------------

    def _stop(self) -> int:
        """Stop the workers first, then the keeper, which copies the remaining audit records."""
        _log.info("stopping")
        workers = [child for child in self._children if child.role == "worker"]
        if self._serving:
            self._end(workers, self._settings.drain_seconds + self._timing.kill_margin)
            self._end(self._children, _KEEPER_SECONDS)
        self._kill_all()
        _log.info("stopped")
        return 0

    def _end(self, children: list[Child], seconds: float) -> None:
        for child in children:
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while any(child.running for child in children) and self._stops == 1 and time.monotonic() < deadline:
            self._handle_events()
        for child in children:
            if child.running:
                _log.warning("%s did not end in time and was killed", child.name)
                child.signal(signal.SIGKILL)

    def _kill_all(self) -> None:
        for child in self._children:
            child.signal(signal.SIGKILL)
        for child in self._children:
            child.wait()
