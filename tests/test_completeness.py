"""Every rpc has all that belongs to an operation. What is missing is listed with the place to add it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from kms_grpc.client import KeyManagementClient
from kms_grpc.client.aio import AsyncKeyManagementClient
from kms_grpc.client.methods import WITHOUT_METHOD
from kms_grpc.endpoints.aws_operations import AWS_OPERATIONS
from kms_grpc.model.key_state import RULES
from kms_grpc.operations.table import NAMES
from tests.aws_facts import KEY_STATES, MODEL
from tests.examples import EXAMPLES, METHODS

COMMANDS = Path(__file__).resolve().parent.parent / "kms_grpc" / "cli"
WITHOUT_COMMAND = {
    "ListKeyPolicies": "the only name is `default`; `kms-grpc policy get` shows that policy",
    "EncryptBatch": "programs send batches; `kms-grpc encrypt` sends one plaintext",
    "DecryptBatch": "as EncryptBatch",
    "ReEncryptBatch": "as EncryptBatch",
    "GenerateDataKeyBatch": "as EncryptBatch",
    "EncryptStream": "`kms-grpc encrypt-file` encrypts files of any size, with a data key of its own",
    "DecryptStream": "as EncryptStream: `kms-grpc decrypt-file`",
}
"""Operations that no command calls, with the reason."""


def method_name(operation: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()


def called_by_commands() -> set[str]:
    """Returns the attributes that the modules of the command line read, such as `client.encrypt`."""
    trees = [ast.parse(path.read_text("utf-8")) for path in COMMANDS.glob("*.py")]
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


ATTRIBUTES = called_by_commands()


def missing(name: str) -> Iterator[str]:
    """Yields what an rpc lacks, with the place to add it."""
    if name not in NAMES:
        yield "a handler and its row: kms_grpc/operations/handlers/"
    if name not in EXAMPLES:
        yield "an example: tests/examples.py"
    if METHODS[name].containing_service.name == "KeyManagementService":
        yield from missing_of_aws(name)
    method = method_name(name)
    if name not in WITHOUT_METHOD:
        if not hasattr(KeyManagementClient, method):
            yield "a client method, or an entry in WITHOUT_METHOD: kms_grpc/client/methods/"
        elif not hasattr(AsyncKeyManagementClient, method):
            yield "the generated asyncio method: python build.py --client"
    if method not in ATTRIBUTES and name not in WITHOUT_COMMAND:
        yield "a command in kms_grpc/cli/, or an entry in WITHOUT_COMMAND in tests/test_completeness.py"


def missing_of_aws(name: str) -> Iterator[str]:
    if name not in MODEL["operations"]:
        yield "AWS's model of it: python tests/contract/extract_aws_model.py"
    if name not in AWS_OPERATIONS:
        yield "its name: kms_grpc/endpoints/aws_operations.py"
    if name in EXAMPLES and not EXAMPLES[name].keys:
        return
    if name not in RULES:
        yield "its key states: kms_grpc/model/key_state.py"
    if name not in KEY_STATES:
        yield "the published key states: tests/aws_facts.py"


def test_every_rpc_has_all_that_belongs_to_an_operation() -> None:
    lacking = [f"{name}: {piece}" for name in METHODS for piece in missing(name)]
    assert not lacking, "\n".join(["missing", *lacking])


def test_nothing_is_left_of_an_rpc_that_is_gone() -> None:
    for found in (NAMES, EXAMPLES, MODEL["operations"], WITHOUT_METHOD, WITHOUT_COMMAND):
        assert set(found) <= set(METHODS)


def test_exceptions_are_needed() -> None:
    """An operation that has a method or a command needs no exception."""
    assert not [name for name in WITHOUT_METHOD if hasattr(KeyManagementClient, method_name(name))]
    assert not [name for name in WITHOUT_COMMAND if method_name(name) in ATTRIBUTES]
