"""Executes every operation of every door, in this order:

open the audit record · credentials → principal · region → shard · decode and validate · resolve the keys · authorize ·
confirm · usage, kind, state · DryRun · handler · commit · audit · count

Denied and failed calls are audited and counted like the others. The steps from "decode" to "commit" are those of the
operation's kind (kinds/). The executor knows no operation by name, no transport and no event loop. `warm` takes the
same steps for a call whose admission a Permit holds.
"""

from __future__ import annotations

import contextlib
import logging
import time

from kms_grpc.audit.record import head_of_refused
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.crypto.errors import StaleHandle
from kms_grpc.errors import KMSError
from kms_grpc.operations.admission import checks
from kms_grpc.operations.admission.permits import NotWarm, Permits
from kms_grpc.operations.call import Call, MustWrite, Service
from kms_grpc.operations.contract.wire import PROTOBUF, Wire
from kms_grpc.operations.operation import Operation, Unserved
from kms_grpc.operations.recording import audit, fail, open_call

log = logging.getLogger(__name__)


class Executor:
    """Executes the operations of one worker, for all doors. Thread-safe."""

    def __init__(self, service: Service, *, raises_on_warm_path: bool = False) -> None:
        """`raises_on_warm_path`: an unexpected error of `warm` is raised, for tests; else it is counted and logged."""
        self.service = service
        self._permits = Permits(limit=service.limits.cached_keys)
        self._raises_on_warm_path = raises_on_warm_path

    def execute(
        self,
        operation: Operation,
        credentials: Credentials,
        raw: bytes,
        wire: Wire = PROTOBUF,
        *,
        may_write: bool = True,
    ) -> bytes:
        """Returns the answer to the request `raw`, both in the door's encoding. Raises KMSError, and with `may_write`
        off also MustWrite, and nothing else."""
        started = time.perf_counter_ns()
        outcome: str | None = "OK"
        call = open_call(self.service, operation, credentials)
        call.may_write = may_write
        try:
            checks.identify(call)
            answer = operation.kind.run(call, operation, raw, wire, self._permits)
            if not operation.writes:
                audit(call, operation)
            return answer
        except MustWrite:
            outcome = None
            raise
        except Exception as problem:
            error = fail(call, problem)
            outcome = error.code
            try:
                raise error from None
            finally:
                del error  # the error refers to this frame: together they would keep the request
        finally:
            if outcome is not None:
                self.service.counters.count(operation.name, outcome, time.perf_counter_ns() - started)

    def warm(self, operation: Operation, credentials: Credentials, raw: bytes, wire: Wire = PROTOBUF) -> bytes | None:
        """Returns the answer if a Permit holds and nothing is wrong. None: call `execute`, which reports, audits and
        counts what is wrong.

        The caller is authenticated here too: a Permit says what is allowed, not who calls."""
        started = time.perf_counter_ns()
        call = open_call(self.service, operation, credentials)
        try:
            call.caller = self.service.authentication.warm_principal(credentials)
            if call.caller is None:
                return None
            if credentials.repeatable:
                checks.check_call(call)
            answer = operation.kind.warm(call, operation, raw, wire, self._permits)
            if answer is None:
                return None
            audit(call, operation)
        except (NotWarm, KMSError, StaleHandle):
            return None
        except Exception as problem:
            self._note_warm_error(call, problem)
            return None
        self.service.counters.count_warm(operation.name, call.cells, time.perf_counter_ns() - started)
        return answer

    def refuse(self, operation: Operation | Unserved, credentials: Credentials, problem: Exception) -> KMSError:
        """Audits and counts a call that a door refuses before it has begun, or that failed in the door. Returns
        `problem`, or KMSInternalException where it is not a KMSError."""
        call = open_call(self.service, operation, credentials)
        call.caller = self.service.authentication.warm_principal(credentials)
        if call.caller is None:
            with contextlib.suppress(KMSError):
                call.caller = self.service.authentication.principal(credentials)
        call.permit_head = head_of_refused(operation.name, call.region, operation.read_only, call.caller)
        error = fail(call, problem)
        counted = operation.counted if isinstance(operation, Unserved) else operation.name
        self.service.counters.count(counted, error.code, 0)
        return error

    def _note_warm_error(self, call: Call, problem: Exception) -> None:
        """Counts an error that `execute` may hide by succeeding. Only the first of an operation is logged: thousands
        may follow per second."""
        if self._raises_on_warm_path:
            raise problem
        if self.service.counters.count_warm_error(call.operation) == 1:
            log.error("%s failed on the warm path", call.operation, exc_info=problem)
