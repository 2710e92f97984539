"""The client library. Operations of the service are methods, and its errors are exceptions (kms_grpc.errors).

from kms_grpc.client import KeyManagementClient
from kms_grpc.errors import DisabledException

with KeyManagementClient() as kms:               # KMS_GRPC_ENDPOINT, KMS_GRPC_TOKEN, KMS_GRPC_REGION
    key = kms.create_key(description="billing").key_metadata
    blob = kms.encrypt(key.key_id, b"hello", {"order": "17"}).ciphertext_blob
    assert kms.decrypt(blob, {"order": "17"}).plaintext == b"hello"

EnvelopeClient encrypts records in this process, under cached data keys. MessageClient does the same with messages of
the AWS Encryption SDK. StreamClient lets the service encrypt content that is too large for one call. The asyncio
clients are in kms_grpc.client.aio.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from kms_grpc.client.connection import Connection
    from kms_grpc.client.data_key_cache import CacheCounters, CacheLimits
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
    from kms_grpc.client.record_decryption import RecordsFailed
    from kms_grpc.client.streams import StreamClient, Streamed

_HOMES: Final = {
    "connection": ("Connection",),
    "data_key_cache": ("CacheCounters", "CacheLimits"),
    "envelope": ("BoundEnvelope", "EnvelopeClient"),
    "failures": (
        "CallFailed",
        "ClientError",
        "DeadlineExceeded",
        "InvalidConnection",
        "ServiceUnreachable",
        "item_error",
    ),
    "key_management": ("KeyManagementClient",),
    "messages": ("MessageClient",),
    "record_decryption": ("RecordsFailed",),
    "streams": ("StreamClient", "Streamed"),
}
"""The names of each module of this folder. A module is imported when one of its names is used: a command that makes one
call needs none of the encryption."""

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


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
