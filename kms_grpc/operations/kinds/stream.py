"""Streams: messages go both ways until one side ends the call.

A stream is admitted with its first message, and again whenever a write has touched its key or alias. It holds no
transaction and no lock. It has two audit records: one at admission, and one at its end, with the bytes of plaintext and
the outcome (done, failed or cancelled). It is counted once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Generic

from kms_grpc import errors
from kms_grpc.audit.record import iso_time, new_id
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.model.key import Key
from kms_grpc.operations.admission import checks
from kms_grpc.operations.admission.message_selector import ByMessage
from kms_grpc.operations.admission.permits import Permits, holds, lists_for
from kms_grpc.operations.call import Call, Service
from kms_grpc.operations.contract.validation import decode
from kms_grpc.operations.contract.wire import PROTOBUF, Wire
from kms_grpc.operations.kinds.steps import read_request, while_stale
from kms_grpc.operations.kinds.stream_work import PartReader, StreamWork
from kms_grpc.operations.operation import ENVELOPE, Operation, Request, Row
from kms_grpc.operations.recording import audit, ended_by_caller, fail, open_call

BEGUN: Final = "begun"
DONE: Final = "done"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"


@dataclass(frozen=True, slots=True)
class Stream(Row[Request], Generic[Request]):
    """The row of a stream. Its handler is called once, with the first message, and returns the work."""

    handler: Callable[[Call, Request, Key], StreamWork]
    service: str = field(default=ENVELOPE, kw_only=True)
    may_be_warm: ClassVar[bool] = False

    def run(self, call: Call, operation: Operation, raw: bytes, wire: Wire, permits: Permits) -> bytes:
        """Raises TypeError: a stream has no single answer, StreamCall runs it."""
        raise TypeError(f"{self.name} is a stream: use StreamCall")

    def warm(self, call: Call, operation: Operation, raw: bytes, wire: Wire, permits: Permits) -> None:
        """A stream is not answered by a Permit; it is admitted once for all of its messages."""
        return

    def begin(self, call: Call, operation: Operation, raw: bytes) -> StreamWork:
        """Admits the stream with its first message, and returns its work."""
        checks.identify(call)
        request = read_request(call, operation, raw, PROTOBUF)
        (key,) = checks.admit(call, operation, request)
        assert key is not None, "a stream names its key"
        return while_stale(lambda: self.handler(call, request, key))


class StreamCall:
    """One stream, for one thread at a time. Errors that its methods raise go to `fail`. Each stream ends by one call of
    `done`, `fail` or `cancel`, and then `close`."""

    def __init__(self, service: Service, operation: Operation, credentials: Credentials) -> None:
        """`operation` must be a stream."""
        assert isinstance(operation.kind, Stream), f"{operation.name} is no stream"
        self._kind = operation.kind
        self._operation = operation
        self._call = open_call(service, operation, credentials)
        self._started_ns = time.perf_counter_ns()
        self._parts = PartReader(operation.request)
        self._gathered: Any = None
        self._work: StreamWork | None = None
        self._has_part = False
        self._lists = b""

    @property
    def is_open(self) -> bool:
        """True once the stream was admitted."""
        return self._work is not None

    @property
    def is_last(self) -> bool:
        """True once the message that says Last was taken."""
        return self._work is not None and self._work.is_last

    @property
    def is_whole(self) -> bool:
        """True where the stream may end after the messages so far."""
        return self._work is not None and self._work.is_whole

    @property
    def must_be_admitted(self) -> bool:
        """True where `admit` must be called with the next message first, on a thread that may block."""
        if self._work is None:
            return True
        call = self._call
        call.time_ns = call.service.clock.wall_ns()
        if call.service.authentication.warm_principal(call.credentials) != call.caller:
            return True
        return not holds(call, call.shard, self._lists)

    def admit(self, raw: bytes) -> None:
        """Admits the stream: with its first message by all steps up to the handler, later by the checks of its key."""
        if self._work is None:
            self._begin(raw)
        else:
            self._admit_again(self._work)

    def take(self, raw: bytes) -> None:
        """Takes a message. The stream must be admitted, and `answer` must have returned None for the message before."""
        if self._work is not None and not self._has_part:
            self._work.put(self._parts.read(raw))
        self._has_part = False

    def answer(self) -> bytes | None:
        """Returns the next answer to the message taken; None asks for the next message. There is no answer before all
        messages that name the key have come."""
        return self._work.answer() if self._work is not None else None

    @property
    def wants_next(self) -> bool:
        """True where the next message may be read while `answer` works: the message taken is soon released."""
        return self._work is not None and self._work.wants_next

    def done(self) -> None:
        """Ends a stream whose caller sends no more messages. Raises KMSError if the content is incomplete."""
        if self._work is None:
            if self._gathered is None:
                raise errors.ValidationException("The stream ended before its first message.")
            raise errors.InvalidCiphertextException
        self._work.finish()
        self._record(DONE)
        audit(self._call, self._operation)
        self._count("OK")

    def fail(self, problem: Exception) -> errors.KMSError:
        """Ends a stream that failed, and returns the error that its caller gets."""
        if self._call.caller is None:
            with contextlib.suppress(errors.KMSError):
                self._call.caller = self._call.service.authentication.principal(self._call.credentials)
        self._record(FAILED)
        error = fail(self._call, problem)
        self._count(error.code)
        return error

    def cancel(self) -> None:
        """Ends a stream whose caller has gone, whose deadline has passed, or whose server stops."""
        self._record(CANCELLED)
        self._count(fail(self._call, ended_by_caller(self._call.credentials)).code)

    def close(self) -> None:
        """Erases the stream's keys."""
        if self._work is not None:
            self._work.close()

    def _begin(self, raw: bytes) -> None:
        call = self._call
        selectors = [key for key in self._operation.keys if isinstance(key, ByMessage)]
        first = self._gather(raw, selectors) if selectors else raw
        if first is None:
            return
        work = self._kind.begin(call, self._operation, first)
        self._gathered, self._work, self._has_part = None, work, True
        self._admit_again(work)
        self._record(BEGUN)
        audit(call, self._operation)

    def _gather(self, raw: bytes, selectors: list[ByMessage]) -> bytes | None:
        """Returns the first message joined with as many parts as name its key; None where more must come."""
        call = self._call
        call.caller = call.service.authentication.principal(call.credentials)
        if self._gathered is None:
            self._gathered = decode(self._operation.request, raw)
        else:
            self._parts.join(self._gathered, raw)
        if all(selector.is_ready(self._gathered) for selector in selectors):
            for selector in selectors:
                selector.take_context(self._gathered)
            return bytes(self._gathered.SerializeToString())
        if self._gathered.last:
            raise errors.InvalidCiphertextException
        return None

    def _admit_again(self, work: StreamWork) -> None:
        """Raises where the caller may not go on. A change during the checks is noticed at the next message."""
        call = self._call
        call.caller = call.service.authentication.principal(call.credentials)
        call.time_ns = call.service.clock.wall_ns()
        keys = checks.admit(call, self._operation, work.request)
        self._lists = lists_for(call, tuple(key for key in keys if key is not None))

    def _record(self, outcome: str) -> None:
        """Notes the outcome for the next audit record. A stream that was never admitted has no outcome."""
        record, work = self._call.record, self._work
        if work is None:
            return
        noted: Any = record.additionalEventData or {}
        details = {**noted, "stream": outcome}
        if outcome != BEGUN:
            details["contentBytes"] = work.content_bytes
            record.eventID, record.eventTime = new_id(), iso_time(self._call.service.clock.wall_ns())
        record.additionalEventData = details

    def _count(self, outcome: str) -> None:
        self._call.service.counters.count(self._operation.name, outcome, time.perf_counter_ns() - self._started_ns)
