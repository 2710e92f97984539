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
from kms_grpc.endpoints.stopping import stopped
from kms_grpc.errors import DeadlineExceeded, KMSError, ValidationException
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

        async def serve(_: Any, context: Context) -> bytes:
            credentials = credentials_of(context)
            try:
                return await self._answer(operation, credentials, context, timed)
            except KMSError as error:
                refusal = self._answers.refusal(credentials, error)
            except asyncio.CancelledError as reason:
                refusal = self._answers.refusal(credentials, stopped(reason))
            except grpc.aio.BaseError:
                raise  # for gRPC the call is over
            except Exception as problem:
                refusal = self._answers.refusal(credentials, self._executor.refuse(operation, credentials, problem))
            await context.abort(*refusal)  # no error is kept here: its frames hold the message
            raise AssertionError("abort does not return")

        return serve

    async def _answer(self, operation: Operation, credentials: Credentials, context: Context, timed: bool) -> bytes:
        raw = await self._read(operation, credentials, context, timed)
        answer = self._executor.warm(operation, credentials, raw) if operation.warm else None
        if answer is None:
            credentials = credentials._replace(deadline_ns=deadline(context))
            answer = await self._blocking_pool.execute(operation, credentials, raw, connection=context.peer())
        context.set_trailing_metadata(self._answers.trailers(credentials))
        return answer

    async def _read(self, operation: Operation, credentials: Credentials, context: Context, timed: bool) -> bytes:
        try:
            raw = await (read_in_time(context) if timed else context.read())
            if raw is grpc.aio.EOF:
                await asyncio.sleep(DISCONNECT_SECONDS)
        except DeadlineExceeded as late:
            raise self._executor.refuse(operation, credentials, late) from None
        except asyncio.CancelledError:
            self._executor.refuse(operation, credentials, ended_by_caller(credentials))
            raise
        if raw is grpc.aio.EOF:
            raise self._executor.refuse(operation, credentials, ValidationException(NOTHING_ARRIVED))
        return raw  # type: ignore[no-any-return]
