"""A stream on its way through the executor: admitted once, and again whenever anything has changed.

No transaction and no lock is held over it. Its audit has two records, one at admission and one at its end, with the
plaintext's bytes and how it ended: done, failed or cancelled. It is counted once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

from kms_grpc import errors
from kms_grpc.audit.record import iso_time, new_id
from kms_grpc.operations.admission import checks
from kms_grpc.operations.admission.permits import FOR_EVER, end_for
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.validation import decode
from kms_grpc.operations.kinds.stream_work import PartReader, StreamWork

BEGUN: Final = "begun"
DONE: Final = "done"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"


class StreamCall:
    """One stream. For one thread at a time. What it raises goes to `fail`, which words it; each ends by `done`, `fail`
    or `cancel`, once."""

    def __init__(
        self,
        call: Call,
        run: Callable[[Call, bytes], Any],
        audit: Callable[[Call, bytes], None],
        fail: Callable[[Call, Exception], errors.KMSError],
    ) -> None:
        """`run`, `audit` and `fail` are the executor's own."""
        self._call = call
        self._run, self._audit, self._fail = run, audit, fail
        self._started_ns = time.perf_counter_ns()
        self._parts = PartReader(call.operation.request)
        self._gathered: Any = None
        self._flow: StreamWork | None = None
        self._has_part = False
        self._epoch, self._ends_ns = -1, FOR_EVER

    @property
    def is_open(self) -> bool:
        """Whether it was admitted."""
        return self._flow is not None

    @property
    def is_last(self) -> bool:
        """Whether the message that was taken said that it is the last one."""
        return self._flow is not None and self._flow.is_last

    @property
    def is_whole(self) -> bool:
        """Whether what came may end here."""
        return self._flow is not None and self._flow.is_whole

    @property
    def must_be_admitted(self) -> bool:
        """Whether `admit` must see the next message first, on a thread that may block."""
        shard = self._call.called
        fresh = shard is not None and self._epoch == shard.epoch.value
        return self._flow is None or not fresh or self._call.service.clock.wall_ns() >= self._ends_ns

    def admit(self, raw: bytes) -> None:
        """The executor's way up to the handler, for the first message; the checks of admission, for any other."""
        if self._flow is None:
            self._begin(raw)
        else:
            self._admit_again(self._flow)

    def take(self, raw: bytes) -> None:
        """A message that was admitted, when all answers to the one before it have been asked for."""
        if self._flow is not None and not self._has_part:
            self._flow.put(self._parts.read(raw))
        self._has_part = False

    def answer(self) -> bytes | None:
        """The next answer to what was taken; None: the next message is wanted. Of a stream whose first part is being
        gathered there is none."""
        return self._flow.answer() if self._flow is not None else None

    @property
    def wants_next(self) -> bool:
        """Whether the next message may be read while `answer` is at work: what was taken is soon let go."""
        return self._flow is not None and self._flow.wants_next

    def done(self) -> None:
        """No message comes any more. Raises where what came is not whole."""
        if self._flow is None:
            if self._gathered is None:
                raise errors.ValidationException("The stream ended before its first message.")
            raise errors.InvalidCiphertextException
        self._flow.finish()
        self._tell(DONE)
        self._audit(self._call, self._call.audit_head)
        self._count("OK")

    def fail(self, problem: Exception) -> errors.KMSError:
        """The error that the caller gets."""
        if self._call.caller is None:
            with contextlib.suppress(errors.KMSError):
                self._call.caller = self._call.service.authentication.principal(self._call.credentials)
        self._tell(FAILED)
        error = self._fail(self._call, problem)
        self._count(error.code)
        return error

    def cancel(self) -> None:
        """The caller has gone, or its deadline has passed, or the server stops."""
        self._tell(CANCELLED)
        text = "Cancelled before its end: by the caller, its deadline, or the end of the server."
        self._count(self._fail(self._call, errors.DependencyTimeoutException(text)).code)

    def close(self) -> None:
        """Its keys are gone."""
        if self._flow is not None:
            self._flow.close()

    def _begin(self, raw: bytes) -> None:
        call = self._call
        gathered = self._gather(raw) if any(key.gathers for key in call.operation.keys) else raw
        if gathered is None:
            return
        flow = self._run(call, gathered)
        self._gathered, self._flow, self._has_part = None, flow, True
        self._admit_again(flow)
        self._tell(BEGUN)
        self._audit(call, call.audit_head)

    def _gather(self, raw: bytes) -> bytes | None:
        """The first message with as many parts as its key is named in; None where that is not all."""
        call = self._call
        call.caller = call.service.authentication.principal(call.credentials)
        if self._gathered is None:
            self._gathered = decode(call.operation.request, raw)
        else:
            self._parts.joined(self._gathered, raw)
        if all(key.is_ready(self._gathered) for key in call.operation.keys):
            return bytes(self._gathered.SerializeToString())
        if self._gathered.last:
            raise errors.InvalidCiphertextException
        return None

    def _admit_again(self, flow: StreamWork) -> None:
        """Whoever may not go on is told so here. The epoch is read first: what changes meanwhile is seen next time."""
        call = self._call
        call.caller = call.service.authentication.principal(call.credentials)
        call.time_ns = call.service.clock.wall_ns()
        call.shard.catch_up()
        epoch = call.shard.seen_epoch
        keys = checks.admit(call, flow.request)
        self._epoch, self._ends_ns = epoch, end_for(tuple(key for key in keys if key is not None))

    def _tell(self, outcome: str) -> None:
        """What the next audit record says of the stream. One that was never admitted has nothing to tell."""
        record, flow = self._call.record, self._flow
        if flow is None:
            return
        noted: Any = record.additionalEventData or {}
        told = {**noted, "stream": outcome}
        if outcome != BEGUN:
            told["contentBytes"] = flow.content_bytes
            record.eventID, record.eventTime = new_id(), iso_time(self._call.service.clock.wall_ns())
        record.additionalEventData = told

    def _count(self, outcome: str) -> None:
        self._call.service.counters.count(self._call.operation.name, outcome, time.perf_counter_ns() - self._started_ns)
