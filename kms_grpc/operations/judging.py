"""Judges the caller of a call before anything is spent on it. The executor judges again, as its first step."""

from __future__ import annotations

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.errors import KMSError
from kms_grpc.operations.call import Service
from kms_grpc.operations.operation import Operation
from kms_grpc.operations.recording import fail, open_call


def knows(service: Service, credentials: Credentials) -> bool:
    """Returns whether the caller is known, as far as that can be told without the disk."""
    return service.authentication.warm_principal(credentials) is not None


def error_of(service: Service, credentials: Credentials) -> KMSError | None:
    """Returns the error of a call whose caller is unknown, else None."""
    if service.authentication.warm_principal(credentials) is not None:
        return None
    try:
        service.authentication.principal(credentials)
    except KMSError as error:
        return error
    return None


def authenticate(service: Service, operation: Operation, credentials: Credentials) -> None:
    """Verifies the credentials, with the disk if need be. Raises KMSError if they are wrong; the call is then audited
    and counted."""
    try:
        service.authentication.principal(credentials)
    except Exception as problem:
        error = fail(open_call(service, operation, credentials), problem)
        service.counters.count(operation.name, error.code, 0)
        raise error from None
