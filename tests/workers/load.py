"""Generates load in a process of its own until it is killed: `python -m tests.workers.load ADDRESS REGION KEY`.

Encrypts and decrypts in turn, with 4 calls in flight on 4 connections. The token is in KMS_GRPC_TOKEN. Any error ends
the process.
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
