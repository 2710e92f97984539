"""Every exception of the product survives pickle and copy, with its text and attributes: a process pool sends it."""

from __future__ import annotations

import copy
import importlib
import multiprocessing
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from types import ModuleType

import pytest

import kms_grpc
from kms_grpc.client.failures import CallFailed, ClientError, UnknownKMSError
from kms_grpc.client.record_decryption import RecordsFailed
from kms_grpc.endpoints.http_requests import BadRequest
from kms_grpc.errors import InvalidCiphertextException, KMSError
from kms_grpc.processes.claims import StartRefused

NOT_IMPORTED = ("kms_grpc.__main__", "kms_grpc.registry.migrations")


def records_failed() -> RecordsFailed:
    unknown = UnknownKMSError("NewException", "new", key="key-1", state="Enabled")
    return RecordsFailed([b"one", None, None], {1: InvalidCiphertextException(), 2: unknown})


EXAMPLES: dict[type[Exception], Callable[[], Exception]] = {
    CallFailed: lambda: CallFailed("INTERNAL", "no answer"),
    UnknownKMSError: lambda: UnknownKMSError("NewException", "new", key="key-1", state="Enabled"),
    RecordsFailed: records_failed,
    BadRequest: lambda: BadRequest(400, "no request"),
    StartRefused: lambda: StartRefused("no room", 3),
}
"""Examples of the classes whose constructors take more than a text."""


def modules() -> Iterator[ModuleType]:
    for module in pkgutil.walk_packages(kms_grpc.__path__, "kms_grpc."):
        if not module.name.startswith(NOT_IMPORTED):
            yield importlib.import_module(module.name)


def exception_classes() -> list[type[Exception]]:
    defined = (one for module in modules() for one in vars(module).values() if isinstance(one, type))
    ours = {one for one in defined if issubclass(one, Exception) and one.__module__.startswith("kms_grpc.")}
    return sorted(ours, key=lambda one: (one.__module__, one.__name__))


def example_of(kind: type[Exception]) -> Exception:
    error = EXAMPLES.get(kind, lambda: kind("what happened"))()
    if isinstance(error, KMSError):
        error.key, error.state, error.region, error.request_id = "key-1", "Disabled", "eu-west-1", "request-1"
    error.add_note("a note")
    return error


def described(error: Exception) -> object:
    """Returns all that a caller can see of an error, with the errors that it holds."""
    facts = {name: vars(error)[name] for name in vars(error)}
    if isinstance(error, RecordsFailed):
        facts["errors"] = {index: described(one) for index, one in error.errors.items()}
    code = error.code if isinstance(error, KMSError) else None
    return type(error), str(error), error.args, code, facts


@pytest.mark.parametrize("kind", exception_classes(), ids=lambda kind: kind.__name__)
def test_an_exception_survives_pickle_and_copy(kind: type[Exception]) -> None:
    error = example_of(kind)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert described(pickle.loads(pickle.dumps(error, protocol))) == described(error)
    assert described(copy.copy(error)) == described(copy.deepcopy(error)) == described(error)


def test_the_classes_of_the_client_are_among_them() -> None:
    classes = set(exception_classes())
    assert {ClientError, CallFailed, UnknownKMSError, RecordsFailed, InvalidCiphertextException} <= classes


def fail() -> None:
    raise records_failed()


def test_a_process_pool_hands_the_exception_to_its_caller() -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(RecordsFailed) as failed:
            pool.submit(fail).result()
        assert failed.value.plaintexts == [b"one", None, None]
        assert pool.submit(len, "the pool still works").result() == 20
