# Made by `python build.py --client` from kms_grpc/client/key_management.py: do not edit.
"""AsyncKeyManagementClient, the client of all operations that take one request and give one response.

An argument that is an enum takes AWS's name of the value ("EXTERNAL"). A method returns the response message. The
methods are in kms_grpc/client/methods, by topic.
"""

from __future__ import annotations

from kms_grpc.client.aio.methods.aliases import AsyncAliasMethods
from kms_grpc.client.aio.methods.batches import AsyncBatchMethods
from kms_grpc.client.aio.methods.data_keys import AsyncDataKeyMethods
from kms_grpc.client.aio.methods.deletion import AsyncDeletionMethods
from kms_grpc.client.aio.methods.encryption import AsyncEncryptionMethods
from kms_grpc.client.aio.methods.explaining import AsyncExplainingMethods
from kms_grpc.client.aio.methods.grants import AsyncGrantMethods
from kms_grpc.client.aio.methods.importing import AsyncImportMethods
from kms_grpc.client.aio.methods.keys import AsyncKeyMethods
from kms_grpc.client.aio.methods.plain import AsyncPlainMethods
from kms_grpc.client.aio.methods.rotation import AsyncRotationMethods


class AsyncKeyManagementClient(
    AsyncPlainMethods,
    AsyncKeyMethods,
    AsyncAliasMethods,
    AsyncEncryptionMethods,
    AsyncDataKeyMethods,
    AsyncBatchMethods,
    AsyncExplainingMethods,
    AsyncRotationMethods,
    AsyncImportMethods,
    AsyncGrantMethods,
    AsyncDeletionMethods,
):
    """A client of the service, with one method per operation.

    `key_id` arguments take the key's id, ARN, alias name or alias ARN wherever AWS KMS accepts all four. A refused call
    raises the error's class in `kms_grpc.errors`, with `text`, `key`, `state`, `region` and `request_id`. A call that
    gets no answer from the service raises a ClientError.

    Tasks of one event loop may share one client.
    In a forked child process the client opens new connections.
    """
