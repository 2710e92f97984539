"""KeyManagementClient, the client of all operations that take one request and give one response.

An argument that is an enum takes AWS's name of the value ("EXTERNAL"). A method returns the response message. The
methods are in kms_grpc/client/methods, by topic.
"""

from __future__ import annotations

from kms_grpc.client.methods.aliases import AliasMethods
from kms_grpc.client.methods.batches import BatchMethods
from kms_grpc.client.methods.data_keys import DataKeyMethods
from kms_grpc.client.methods.deletion import DeletionMethods
from kms_grpc.client.methods.encryption import EncryptionMethods
from kms_grpc.client.methods.explaining import ExplainingMethods
from kms_grpc.client.methods.grants import GrantMethods
from kms_grpc.client.methods.importing import ImportMethods
from kms_grpc.client.methods.keys import KeyMethods
from kms_grpc.client.methods.plain import PlainMethods
from kms_grpc.client.methods.rotation import RotationMethods


class KeyManagementClient(
    PlainMethods,
    KeyMethods,
    AliasMethods,
    EncryptionMethods,
    DataKeyMethods,
    BatchMethods,
    ExplainingMethods,
    RotationMethods,
    ImportMethods,
    GrantMethods,
    DeletionMethods,
):
    """A client of the service, with one method per operation.

    `key_id` arguments take the key's id, ARN, alias name or alias ARN wherever AWS KMS accepts all four. A refused call
    raises the error's class in `kms_grpc.errors`, with `text`, `key`, `state`, `region` and `request_id`. A call that
    gets no answer from the service raises a ClientError.

    Threads may share one client.
    In a forked child process the client opens new connections.
    """
