"""The one way in: every operation, from every door, is executed here, in this order.

open the audit record · credentials → principal · region → shard · decode and validate · resolve the keys · authorize ·
confirm · usage, kind, state · DryRun · handler · commit · audit · count

Denied and failed calls leave by the same door and are audited by the same `finally`. The executor knows no operation by
name, no transport and no event loop. `warm` is the same way for a call whose admission a Permit still holds.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from google.protobuf.message import Message

from kms_grpc import errors
from kms_grpc.audit.record import AuditRecord
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.crypto.errors import StaleHandle
from kms_grpc.faults import fault_point
from kms_grpc.model.key import Key
from kms_grpc.operations import admission, idempotency
from kms_grpc.operations.audit_fields import describe
from kms_grpc.operations.call import Call, Service
from kms_grpc.operations.operation import Operation
from kms_grpc.operations.permit import Permit, Permits
from kms_grpc.operations.validation import decode, validator_for
from kms_grpc.registry.base import OutboxRow

log = logging.getLogger(__name__)


class Executor:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._permits = Permits(limit=4 * service.limits.cached_keys)

    def execute(self, operation: Operation, credentials: Credentials, raw: bytes) -> bytes:
        """The serialised answer to the serialised request `raw`. Raises KMSError, and nothing else."""
        started = time.perf_counter_ns()
        call = self._open(operation, credentials)
        try:
            response = self._run(call, raw)
            self._audit_answer(call)
            return response.SerializeToString()
        except Exception as problem:
            raise self._fail(call, problem) from None
        finally:
            self._service.counters.count(operation.name, call.record.error_code or "OK", time.perf_counter_ns() - started)

    def warm(self, operation: Operation, credentials: Credentials, raw: bytes) -> bytes | None:
        """The answer, where a Permit holds and nothing is amiss; else None: `execute` words, audits and counts it."""
        started = time.perf_counter_ns()
        now_ns = self._service.clock.wall_ns()
        try:
            request = operation.request.FromString(raw)
            permit = self._permits.find((credentials.token, credentials.region, operation.name, operation.identity(request)), now_ns)
            if permit is None:
                return None
            validator_for(operation.request)(request)
            if operation.dry_run and request.dry_run:
                return None
            call = self._open(operation, credentials, now_ns)
            call.principal, call.shard = permit.principal, permit.shard
            self._describe(call, request, permit.keys)
            response = operation.handler(call, request, *permit.keys)
            self._audit_answer(call)
        except Exception:
            return None
        self._service.counters.count(operation.name, "OK", time.perf_counter_ns() - started)
        answer: bytes = response.SerializeToString()
        return answer

    def refuse(self, operation: Operation, credentials: Credentials, error: errors.KMSError) -> errors.KMSError:
        """A door turns a call away before it is begun: audited and counted as any other."""
        failed = self._fail(self._open(operation, credentials), error)
        self._service.counters.count(operation.name, failed.code, 0)
        return failed

    def _open(self, operation: Operation, credentials: Credentials, now_ns: int | None = None) -> Call:
        record = AuditRecord(
            operation.name,
            credentials.region or self._service.shards.default.region,
            now_ns or self._service.clock.wall_ns(),
            credentials.request_id,
            credentials.peer,
            credentials.user_agent,
            operation.read_only,
        )
        return Call(operation, self._service, credentials, record)

    def _run(self, call: Call, raw: bytes) -> Message:
        call.principal = call.record.principal = self._service.authentication.principal(call.credentials)
        admission.check_call(call)
        call.shard = admission.called_shard(call)
        request = decode(call.operation.request, raw)
        call.record.parameters = describe(request)
        validator_for(call.operation.request)(request)
        call.shard.catch_up()
        epoch = call.shard.seen_epoch
        keys = admission.admit(call, request)
        if call.operation.writes:
            return self._write(call, request)
        self._keep_permit(call, request, keys, epoch)
        return self._handle(call, request, keys)

    def _write(self, call: Call, request: Any) -> Message:
        """Admission once more, on what the transaction sees: nothing changes between the checks and the write."""
        with call.shard.writing() as call.transaction:
            response = idempotency.remembered(call, request)
            if response is None:
                response = self._handle(call, request, admission.admit(call, request))
                idempotency.remember(call, request, response)
            call.transaction.record(OutboxRow(call.record.event_id, call.account, call.record.line()))
        fault_point("answer.before")
        return response

    def _handle(self, call: Call, request: Any, keys: tuple[Key | None, ...]) -> Message:
        if call.operation.dry_run and request.dry_run:
            raise errors.DryRunOperationException(errors.DRY_RUN_SUCCEEDS)
        try:
            return call.operation.handler(call, request, *keys)
        except StaleHandle:
            # Another thread made room in the keyring between look-up and use: the second look-up loads the material anew.
            return call.operation.handler(call, request, *keys)

    def _describe(self, call: Call, request: Message, keys: tuple[Key, ...]) -> None:
        call.record.principal = call.principal
        call.record.parameters = describe(request)
        call.record.keys = keys

    def _keep_permit(self, call: Call, request: Any, keys: tuple[Any, ...], epoch: int) -> None:
        if not (call.operation.warm and call.stable):
            return
        credentials = call.credentials
        identity = (credentials.token, credentials.region, call.operation.name, call.operation.identity(request))
        self._permits.keep(identity, Permit(call.principal, call.shard, keys, epoch))

    def _audit_answer(self, call: Call) -> None:
        if call.operation.writes:
            return
        line = call.record.line()
        if call.operation.yields_secrets:
            self._service.audit_log.write(line)
        else:
            self._service.audit_log.append(line)

    def _fail(self, call: Call, problem: Exception) -> errors.KMSError:
        error = problem if isinstance(problem, errors.KMSError) else self._internal(call, problem)
        call.record.error_code, call.record.error_text = error.code, error.text
        self._service.audit_log.append(call.record.line())
        return error

    def _internal(self, call: Call, problem: Exception) -> errors.KMSError:
        log.error("%s failed", call.operation.name, exc_info=problem, extra={"request_id": call.record.request_id})
        return errors.KMSInternalException(f"The request failed because of an internal error; request id {call.record.request_id}.")
