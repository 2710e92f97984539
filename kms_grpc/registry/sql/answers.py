"""Rows of remembered answers."""

from __future__ import annotations

from sqlalchemy import and_, bindparam, delete, insert

from kms_grpc.errors import KMSInternalException
from kms_grpc.registry.rows import RememberedAnswer
from kms_grpc.registry.sql.reader import DIGEST
from kms_grpc.registry.sql.rows import Row, RowKind, Values, digest
from kms_grpc.registry.sql.tables import remembered_answers
from kms_grpc.registry.sql.writer import Writer

ANSWER = RowKind(
    remembered_answers, lambda place, values: f"answer to {values['operation']} request {values['request_id']}"
)

_BY_NAME = ANSWER.select.where(
    and_(
        remembered_answers.c.account == bindparam("account"),
        remembered_answers.c.operation == bindparam("operation"),
        remembered_answers.c.request_id == bindparam("request_id"),
    )
)
_BY_DIGEST = ANSWER.select.where(remembered_answers.c.digest == DIGEST)
_REMOVE = delete(remembered_answers).where(remembered_answers.c.digest == DIGEST)
_ADD = insert(remembered_answers)
_FORGET = delete(remembered_answers).where(remembered_answers.c.created_ns < bindparam("before"))


class SqlWritableAnswers:
    """Implements base.WritableAnswers."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def find(self, account: str, operation: str, request_id: str) -> RememberedAnswer | None:
        row, damaged = self._writer.find(
            ANSWER, _BY_NAME, _BY_DIGEST, account=account, operation=operation, request_id=request_id
        )
        if damaged:
            raise KMSInternalException(
                f"The answer that was given to request {request_id} of {operation} was changed on disk. List the "
                "resources to see what the request did, then call again under another request id."
            )
        return _answer(row) if row is not None else None

    def remember(self, answer: RememberedAnswer) -> None:
        values = _values(answer)
        self._writer.remove(_REMOVE, ANSWER, {"of_digest": values["digest"]})
        text = f"Request {answer.request_id} of {answer.operation} has its answer already"
        self._writer.add(_ADD, ANSWER, values, text)

    def forget_before(self, created_ns: int) -> int:
        return self._writer.remove(_FORGET, ANSWER, {"before": created_ns})


def _values(answer: RememberedAnswer) -> Values:
    return {
        "account": answer.account,
        "operation": answer.operation,
        "request_id": answer.request_id,
        "digest": digest(answer.account, answer.operation, answer.request_id),
        "request_digest": answer.request_digest,
        "response": answer.response,
        "created_ns": answer.created_ns,
    }


def _answer(row: Row) -> RememberedAnswer:
    values = ANSWER.values(row)
    del values["digest"]
    return RememberedAnswer(**values)
