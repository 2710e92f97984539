"""The client library: the service's operations as Python calls, its errors as Python exceptions.

from kms_grpc.client import KeyManagementClient
from kms_grpc.errors import DisabledException

with KeyManagementClient() as kms:               # KMS_GRPC_ENDPOINT, KMS_GRPC_TOKEN, KMS_GRPC_REGION
    key = kms.create_key(description="billing").key_metadata
    blob = kms.encrypt(key.key_id, b"hello", {"order": "17"}).ciphertext_blob
    assert kms.decrypt(blob, {"order": "17"}).plaintext == b"hello"

EnvelopeClient encrypts records here, under data keys that are kept for a while; StreamClient has the service encrypt
what is too large for a call. The same for asyncio is in kms_grpc.client.aio.
"""

from kms_grpc.client.connection import Connection
from kms_grpc.client.data_key_cache import CacheCounters, CacheLimits
from kms_grpc.client.data_keys import RecordsFailed
from kms_grpc.client.envelope import BoundEnvelope, EnvelopeClient
from kms_grpc.client.failures import (
    CallFailed,
    ClientError,
    DeadlineExceeded,
    InvalidConnection,
    ServiceUnreachable,
    item_error,
)
from kms_grpc.client.key_management import KeyManagementClient
from kms_grpc.client.messages import MessageClient
from kms_grpc.client.streams import StreamClient, Streamed

__all__ = [
    "BoundEnvelope",
    "CacheCounters",
    "CacheLimits",
    "CallFailed",
    "ClientError",
    "Connection",
    "InvalidConnection",
    "DeadlineExceeded",
    "EnvelopeClient",
    "KeyManagementClient",
    "MessageClient",
    "RecordsFailed",
    "ServiceUnreachable",
    "StreamClient",
    "Streamed",
    "item_error",
]
