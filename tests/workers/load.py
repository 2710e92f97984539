"""Load from a process of its own: `python -m tests.workers.load ADDRESS REGION KEY` with KMS_GRPC_TOKEN, until it
is killed.

Encrypts and decrypts in turn, 4 calls in flight on 4 connections. Any error ends it with its text.
"""

from __future__ import annotations

import asyncio
import os
import sys

import grpc

from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import key_management_pb2_grpc
from tests.workers.connections import OPTIONS


async def work(address: str, region: str, key: str) -> None:
    metadata = (("authorization", f"Bearer {os.environ['KMS_GRPC_TOKEN']}"), ("kms-region", region))
    async with grpc.aio.insecure_channel(address, OPTIONS) as channel:
        stub = key_management_pb2_grpc.KeyManagementServiceStub(channel)
        while True:
            sealed = await stub.Encrypt(pb.EncryptRequest(key_id=key, plaintext=b"x" * 1024), metadata=metadata)
            await stub.Decrypt(pb.DecryptRequest(ciphertext_blob=sealed.ciphertext_blob), metadata=metadata)


async def main() -> None:
    await asyncio.gather(*(work(*sys.argv[1:4]) for _ in range(4)))


if __name__ == "__main__":
    asyncio.run(main())
