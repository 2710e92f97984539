"""Single calls at the gRPC door: one message in, one message out.

gRPC handles each as a stream of one request, which is the same on the wire. So a handler begins with the call's
headers, and a call that fails always ends with an error of this service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.endpoints.blocking_pool import BlockingPool
from kms_grpc.endpoints.call_limit import DISCONNECT_SECONDS, read_in_time
from kms_grpc.endpoints.grpc_answers import GrpcAnswers
from kms_grpc.endpoints.grpc_metadata import credentials_of, deadline
from kms_grpc.endpoints.rich_errors import Refusal
from kms_grpc.endpoints.stopping import stopped
from kms_grpc.errors import KMSError, ValidationException
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import Operation
from kms_grpc.operations.recording import ended_by_caller

Context = grpc.aio.ServicerContext[Any, Any]
Method = Callable[[Any, Context], Awaitable[bytes]]
NOTHING_ARRIVED: Final = "No request arrived. It may have been larger than GetLimits allows."


class SingleCalls:
    """The single calls of one worker."""

    def __init__(self, executor: Executor, blocking_pool: BlockingPool, answers: GrpcAnswers) -> None:
        self._executor = executor
        self._blocking_pool = blocking_pool
        self._answers = answers

    def method(self, operation: Operation, *, timed: bool = False) -> Method:
        """Returns gRPC's handler of an operation. If `timed`, the message must arrive within ARRIVAL_SECONDS."""

        warm = self._executor.warm if operation.warm else _is_cold
        trailers = self._answers.trailers

        async def serve(_: Any, context: Context) -> bytes:
            credentials = credentials_of(context)
            raw: Any = None
            try:
                raw = await (read_in_time(context) if timed else context.read())
                if raw is grpc.aio.EOF:
                    raw = None
                    await asyncio.sleep(DISCONNECT_SECONDS)
                    raise ValidationException(NOTHING_ARRIVED)
                answer = warm(operation, credentials, raw)
                if answer is None:
                    answer = await self._execute(operation, credentials, raw, context)
                context.set_trailing_metadata(trailers(credentials))
                return answer
            except (Exception, asyncio.CancelledError) as problem:
                refusal = self._refusal(operation, credentials, problem, arrived=raw is not None)
            del raw  # gRPC keeps the error of abort, which refers to this frame
            await context.abort(*refusal)  # no error is kept here: its frames hold the message
            raise AssertionError("abort does not return")

        return serve

    async def _execute(self, operation: Operation, credentials: Credentials, raw: bytes, context: Context) -> bytes:
        credentials = credentials._replace(deadline_ns=deadline(context))
        return await self._blocking_pool.execute(operation, credentials, raw, connection=context.peer())

    def _refusal(
        self, operation: Operation, credentials: Credentials, problem: BaseException, *, arrived: bool
    ) -> Refusal:
        """Returns the end of a call that failed. Audits it if nobody has: before its message arrived, or on an
        unexpected error. Raises `problem` again if for gRPC the call is over."""
        if isinstance(problem, asyncio.CancelledError):
            if not arrived:
                self._executor.refuse(operation, credentials, ended_by_caller(credentials))
            return self._answers.refusal(credentials, stopped(problem))
        if isinstance(problem, grpc.aio.BaseError) or not isinstance(problem, Exception):
            raise problem
        if not arrived or not isinstance(problem, KMSError):
            problem = self._executor.refuse(operation, credentials, problem)
        return self._answers.refusal(credentials, problem)


def _is_cold(*_: Any) -> None:
    """Stands for `Executor.warm` in operations that are never warm."""
