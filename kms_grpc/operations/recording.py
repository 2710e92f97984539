"""Opens a call's audit record and closes it: done, or failed. Executor and streams record their calls with it."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from kms_grpc.audit.record import AGENT_LENGTH, AuditRecord, iso_time, new_id
from kms_grpc.authentication.credentials import REQUEST_ID_LENGTH, Credentials
from kms_grpc.authorization.base import Decision
from kms_grpc.errors import (
    AccessDeniedException,
    Cancelled,
    DeadlineExceeded,
    KMSError,
    KMSInternalException,
    MissingAuthenticationTokenException,
    ThrottlingException,
)
from kms_grpc.operations.call import Call, Service
from kms_grpc.operations.operation import Operation, Unserved

log = logging.getLogger(__name__)

TOO_MANY: Final = "Too many calls with credentials that do not verify came from this address. Retry after a moment."
DEADLINE_MARGIN_NS: Final = 100_000_000
"""A caller cancels a call a little before the deadline that the server computes, since gRPC rounds deadlines up when it
sends them."""


def open_call(service: Service, operation: Operation | Unserved, credentials: Credentials) -> Call:
    """Returns a call that arrives now, with an open audit record. Of what is too long the record has the beginning."""
    now_ns = service.clock.wall_ns()
    agent, request_id = credentials.user_agent[:AGENT_LENGTH], credentials.request_id[:REQUEST_ID_LENGTH]
    record = AuditRecord(iso_time(now_ns), credentials.peer, agent, request_id, new_id())
    return Call(operation.name, operation.read_only, service, credentials, now_ns, record)


def audit(call: Call, operation: Operation) -> None:
    """Records a call. If the answer holds secrets, the record is written before this returns, or
    DependencyTimeoutException is raised and the call is refused; else the log may hold the record for a moment."""
    line = call.record.line(call.permit_head or call.audit_head)
    if operation.yields_secrets:
        call.service.audit_log.write(line)
    else:
        call.service.audit_log.append(line)


def fail(call: Call, problem: Exception) -> KMSError:
    """Records a failed call and returns the error that its caller gets: `problem`, or KMSInternalException where it is
    not a KMSError. Calls of unknown callers are not all recorded (audit/sampling.py)."""
    error = problem if isinstance(problem, KMSError) else _internal(call, problem)
    if error is call.refusal:
        return error  # the transaction that counted it holds its record
    answer = error if call.caller is not None else _throttled(call, error)
    if call.caller is None and not _is_written(call):
        return answer
    call.record.fail(error.code, error.text)
    if call.denial is not None and isinstance(error, AccessDeniedException):
        call.record.additionalEventData = {"authorization": _described(call.denial)}
    for line in (*(row.record for row in call.beside), call.record.line(call.audit_head)):
        call.service.audit_log.append(line)
    return answer


def _throttled(call: Call, error: KMSError) -> KMSError:
    """Counts a credential that did not verify, and returns the error that its sender gets: beyond the rate of the
    peer's address it is ThrottlingException. A credential that verifies never comes here."""
    if error.status != "UNAUTHENTICATED" or isinstance(error, MissingAuthenticationTokenException):
        return error
    return error if call.service.failures.take(call.credentials.peer) is not None else ThrottlingException(TOO_MANY)


def _described(denial: Decision) -> dict[str, Any]:
    """Returns the reason of a denied call, for those who may read the audit: the caller learns none."""
    described: dict[str, Any] = {"decision": denial.step or "denied"}
    if denial.deciding is not None:
        kind, policy, sid, place, line = denial.deciding
        described |= {"policyType": kind, "policy": policy, "statement": place, "line": line}
        described |= {"sid": sid} if sid else {}
    return described


def _is_written(call: Call) -> bool:
    """Returns whether a refusal of an unknown caller is written, and notes in its record how many were not."""
    not_written = call.service.sampling.take(call.credentials.peer)
    if not_written:
        call.record.additionalEventData = {"refusalsNotWritten": not_written}
    return not_written is not None


def ended_by_caller(credentials: Credentials) -> KMSError:
    """Returns the outcome of a call that was cancelled: DeadlineExceeded if its deadline has passed, else Cancelled."""
    deadline = credentials.deadline_ns
    if deadline is not None and time.monotonic_ns() >= deadline - DEADLINE_MARGIN_NS:
        return DeadlineExceeded("The deadline of the call passed before its answer.")
    return Cancelled("The call was cancelled before its answer, by its caller or by the end of the server.")


def _internal(call: Call, problem: Exception) -> KMSError:
    log.error("%s failed", call.operation, exc_info=problem, extra={"request_id": call.record.requestID})
    return KMSInternalException(f"The request failed because of an internal error; request id {call.record.requestID}.")
