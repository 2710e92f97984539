"""The one way in: every operation, from every door, is executed here, in this order.

open the audit record · credentials → principal · region → shard · decode and validate · resolve the keys · authorize ·
confirm · usage, kind, state · DryRun · handler · commit · audit · count

Denied and failed calls leave by the same door and are audited by the same `finally`. The executor knows no operation by
name, no transport and no event loop. `warm` is the same way for a call whose admission a Permit still holds.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Hashable
from typing import Any

from google.protobuf.message import Message

from kms_grpc import errors
from kms_grpc.audit.record import AuditRecord, head_of_refused, iso_time, new_id
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.faults import fault_point
from kms_grpc.operations import idempotency
from kms_grpc.operations.admission import checks
from kms_grpc.operations.admission.permits import Permit, Permits, end_for
from kms_grpc.operations.call import Call, Service
from kms_grpc.operations.contract.wire import PROTOBUF, Wire
from kms_grpc.operations.kinds.answering import NotWarm
from kms_grpc.operations.kinds.stream import StreamCall
from kms_grpc.operations.operation import Operation
from kms_grpc.registry.base import OutboxRow

log = logging.getLogger(__name__)


class Executor:
    """The one way in, for every operation and every door. Thread-safe."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._permits = Permits(limit=service.limits.cached_keys)

    def execute(self, operation: Operation, credentials: Credentials, raw: bytes, wire: Wire = PROTOBUF) -> bytes:
        """The answer to the request `raw`, both as the door's wire has them. Raises KMSError, and nothing else."""
        started = time.perf_counter_ns()
        outcome = "OK"
        call = self._open(operation, credentials, self._service.clock.wall_ns())
        try:
            response = self._run(call, raw, wire)
            if not operation.writes:
                self._audit(call, call.audit_head)
            return response if operation.batch else wire.write(response)
        except Exception as problem:
            error = self._fail(call, problem)
            outcome = error.code
            raise error from None
        finally:
            self._service.counters.count(operation.name, outcome, time.perf_counter_ns() - started)

    def warm(self, operation: Operation, credentials: Credentials, raw: bytes, wire: Wire = PROTOBUF) -> bytes | None:
        """The answer, where a Permit holds and nothing is amiss; else None: `execute` words, audits and counts it. The
        caller is authenticated here as well: a Permit stands for what is allowed, never for who calls."""
        started = time.perf_counter_ns()
        now_ns = self._service.clock.wall_ns()
        form = wire.form(operation)
        try:
            caller = self._service.authentication.warm_principal(credentials)
            if caller is None:
                return None
            asked = form.read(operation, raw)
            permit = self._permits.find(
                (caller, credentials.region, operation.name, form.identity(operation, asked)), now_ns
            )
            if permit is None:
                return None
            call = self._open(operation, credentials, now_ns)
            if credentials.repeatable:
                checks.check_call(call)
            call.caller, call.called, call.keys = permit.principal, permit.shard, permit.keys
            answer = form.answer(call, asked, raw, permit)
            self._audit(call, permit.audit_head)
        except Exception:
            return None
        self._service.counters.count(operation.name, "OK", time.perf_counter_ns() - started)
        return answer

    def warm_batch(self, operation: Operation, credentials: Credentials, raw: bytes) -> bytes | None:
        """As `warm`: of a batch that is not large, where Permits hold for all of its items."""
        started = time.perf_counter_ns()
        call = self._open(operation, credentials, self._service.clock.wall_ns())
        try:
            call.caller = self._service.authentication.warm_principal(credentials)
            if call.caller is None or operation.batch is None:
                return None
            call.called = checks.called_shard(call)
            if not call.shard.is_fresh():
                return None
            answer = operation.batch.warm(call, raw, self._held)
            self._audit(call, call.audit_head)
        except Exception:
            return None
        self._service.counters.count(operation.name, "OK", time.perf_counter_ns() - started)
        return answer

    def stream(self, operation: Operation, credentials: Credentials) -> StreamCall:
        """A stream that begins; its messages are admitted, taken and audited one after the other."""
        call = self._open(operation, credentials, self._service.clock.wall_ns())
        return StreamCall(call, self._run, self._audit, self._fail)

    def refuse(self, operation: Operation, credentials: Credentials, error: errors.KMSError) -> errors.KMSError:
        """A door turns a call away before it is begun: audited and counted as any other."""
        call = self._open(operation, credentials, self._service.clock.wall_ns())
        caller = self._service.authentication.warm_principal(credentials)
        if caller is None:
            with contextlib.suppress(errors.KMSError):
                caller = self._service.authentication.principal(credentials)
        call.record.fail(error.code, error.text)
        head = head_of_refused(operation.name, call.region, operation.read_only, caller)
        self._service.audit_log.append(call.record.line(head))
        self._service.counters.count(operation.name, error.code, 0)
        return error

    def _open(self, operation: Operation, credentials: Credentials, now_ns: int) -> Call:
        peer, agent = credentials.peer, credentials.user_agent
        record = AuditRecord(iso_time(now_ns), peer, agent, credentials.request_id, new_id())
        return Call(operation, self._service, credentials, now_ns, record)

    def _run(self, call: Call, raw: bytes, wire: Wire = PROTOBUF) -> Any:
        operation = call.operation
        call.caller = self._service.authentication.principal(call.credentials)
        checks.check_call(call)
        call.called = checks.called_shard(call)
        if operation.batch is not None:
            return operation.batch.run(call, raw, self._admit)
        request, validate = wire.read(operation, raw)
        call.record.requestParameters = operation.describe(request)
        validate(request)
        call.shard.catch_up()
        epoch = call.shard.seen_epoch
        keys = checks.admit(call, request)
        if operation.writes:
            operation.make_ready(call, request)
            return self._write(call, request)
        self._keep_permit(call, request, raw, wire, epoch)
        return operation.handle(call, request, keys)

    def _write(self, call: Call, request: Any) -> Message:
        """Admission once more, on what the transaction sees: nothing changes between the checks and the write."""
        with call.shard.writing() as call.transaction:
            response = idempotency.remembered(call, request)
            if response is None:
                response = call.operation.handle(call, request, checks.admit(call, request))
                idempotency.remember(call, request, response)
            if call.refusal is not None:
                call.record.fail(call.refusal.code, call.refusal.text)
            own = OutboxRow(call.record.eventID, call.account, call.record.line(call.audit_head))
            for row in (*call.beside, own):
                call.transaction.outbox.add(row)
        fault_point("answer.before")
        if call.refusal is not None:
            raise call.refusal
        return response

    def _keep_permit(self, call: Call, request: Any, raw: bytes, wire: Wire, epoch: int) -> None:
        operation, form = call.operation, wire.form(call.operation)
        if operation.warm and call.stable:
            with contextlib.suppress(NotWarm):
                said = form.identity(operation, form.read(operation, raw))
                self._permits.keep(_identity(call, said), self._permit(call, epoch, form.under(call, request)))

    def _held(self, call: Call, item: Callable[[], Any], said: bytes, anew: bool) -> Permit:
        """As `_admit`, of a Permit that holds alone."""
        permit = None if anew else self._permits.find(_identity(call, said), call.time_ns)
        if permit is None:
            raise NotWarm
        return permit

    def _admit(self, call: Call, item: Callable[[], Any], said: bytes, anew: bool) -> Permit:
        """Of a batch's group, by its first item: the Permit that holds, or a new one, kept if it may be."""
        identity, epoch = _identity(call, said), call.shard.seen_epoch
        permit = None if anew else self._permits.find(identity, call.time_ns)
        if permit is None:
            assert call.operation.batch is not None
            message = item()
            checks.admit(call, message)
            permit = self._permit(call, epoch, call.operation.batch.under(call, message))
            if call.stable:
                self._permits.keep(identity, permit)
        return permit

    def _permit(self, call: Call, epoch: int, under: object) -> Permit:
        return Permit(call.principal, call.shard, call.keys, epoch, call.audit_head, end_for(call.keys), under)

    def _audit(self, call: Call, head: bytes) -> None:
        """What yields secrets is in the log before its answer goes out, or is refused."""
        line = call.record.line(head)
        if call.operation.yields_secrets:
            self._service.audit_log.write(line)
        else:
            self._service.audit_log.append(line)

    def _fail(self, call: Call, problem: Exception) -> errors.KMSError:
        error = problem if isinstance(problem, errors.KMSError) else self._internal(call, problem)
        if error is call.refusal:
            return error  # its record was committed with what it counts
        call.record.fail(error.code, error.text)
        for line in (*(row.record for row in call.beside), call.record.line(call.audit_head)):
            self._service.audit_log.append(line)
        return error

    def _internal(self, call: Call, problem: Exception) -> errors.KMSError:
        log.error("%s failed", call.operation.name, exc_info=problem, extra={"request_id": call.record.requestID})
        text = f"The request failed because of an internal error; request id {call.record.requestID}."
        return errors.KMSInternalException(text)


def _identity(call: Call, said: Hashable) -> Hashable:
    """What a Permit is found by; `said` is what the request says of its keys."""
    return call.principal, call.credentials.region, call.operation.name, said
