"""The client library for asyncio: the methods of kms_grpc.client as coroutines.

from kms_grpc.client.aio import AsyncKeyManagementClient

async with AsyncKeyManagementClient() as kms:
    blob = (await kms.encrypt("alias/orders", b"hello")).ciphertext_blob

`python build.py --client` writes key_management.py and methods/ from the files of the same names in kms_grpc/client.
"""

from kms_grpc.client.aio.envelope import AsyncEnvelopeClient
from kms_grpc.client.aio.key_management import AsyncKeyManagementClient
from kms_grpc.client.aio.streams import AsyncStreamClient, AsyncStreamed

__all__ = ["AsyncEnvelopeClient", "AsyncKeyManagementClient", "AsyncStreamClient", "AsyncStreamed"]
