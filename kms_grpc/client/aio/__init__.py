"""The client library for asyncio: the same operations, to be awaited.

from kms_grpc.client.aio import AsyncKeyManagementClient

async with AsyncKeyManagementClient() as kms:
    blob = (await kms.encrypt("alias/orders", b"hello")).ciphertext_blob

key_life.py and key_management.py are made from their namesakes one folder up, by `python build.py --client`.
"""

from kms_grpc.client.aio.envelope import AsyncEnvelopeClient
from kms_grpc.client.aio.key_management import AsyncKeyManagementClient
from kms_grpc.client.aio.streams import AsyncStreamClient, AsyncStreamed

__all__ = ["AsyncEnvelopeClient", "AsyncKeyManagementClient", "AsyncStreamClient", "AsyncStreamed"]
