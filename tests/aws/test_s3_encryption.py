"""The Amazon S3 Encryption Client for Python: objects in a local S3 (moto's server), their data keys from here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from s3_encryption import S3EncryptionClient, S3EncryptionClientConfig
from s3_encryption.exceptions import S3EncryptionClientError
from s3_encryption.materials.kms_keyring import KmsKeyring

from tests.aws.conftest import Ground
from tests.aws.doors import REGION, client
from tests.aws.readme import clients

BUCKET = "orders"
BODY = b"an object of some size" * 10_000


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """URL of an S3 with the bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    plain(url).create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    yield url
    server.stop()


def plain(url: str) -> Any:
    return boto3.client(
        "s3", endpoint_url=url, region_name=REGION, aws_access_key_id="s3", aws_secret_access_key="s3"
    )  # fmt: skip


def context() -> dict[str, str]:
    """Made anew each time: the client puts a pair of its own into what it is given."""
    return {"app": "shop"}


def encrypting(s3: str, kms: Any, key: str) -> Any:
    """Around a client of its own, since it changes the one that it gets."""
    return S3EncryptionClient(plain(s3), S3EncryptionClientConfig(KmsKeyring(kms, key)))


def test_an_object_comes_back(ground: Ground, s3: str) -> None:
    kms = client(ground.url)
    key = kms.create_key()["KeyMetadata"]["Arn"]
    orders = encrypting(s3, kms, key)
    orders.put_object(Bucket=BUCKET, Key="o", Body=BODY, EncryptionContext=context())
    lying_there = plain(s3).get_object(Bucket=BUCKET, Key="o")["Body"].read()
    assert BODY[:22] not in lying_there
    assert orders.get_object(Bucket=BUCKET, Key="o", EncryptionContext=context())["Body"].read() == BODY
    kms.rotate_key_on_demand(KeyId=key)
    assert orders.get_object(Bucket=BUCKET, Key="o", EncryptionContext=context())["Body"].read() == BODY


def test_what_does_not_open_it(ground: Ground, s3: str) -> None:
    kms = client(ground.url)
    key, other = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    orders = encrypting(s3, kms, key)
    orders.put_object(Bucket=BUCKET, Key="p", Body=BODY, EncryptionContext=context())
    with pytest.raises(S3EncryptionClientError, match="encryption context"):
        orders.get_object(Bucket=BUCKET, Key="p", EncryptionContext={"app": "market"})
    with pytest.raises(Exception, match="IncorrectKeyException"):
        encrypting(s3, kms, other).get_object(Bucket=BUCKET, Key="p", EncryptionContext=context())
    kms.disable_key(KeyId=key)
    with pytest.raises(Exception, match="DisabledException"):
        orders.get_object(Bucket=BUCKET, Key="p", EncryptionContext=context())


def test_readmes_line(environment: None, kms: Any, s3: str) -> None:
    names = {"boto3": boto3, "KmsKeyring": KmsKeyring, "key_arn": kms.create_key()["KeyMetadata"]["Arn"]}
    keyring = eval(clients()["tests/aws/test_s3_encryption.py"], names)
    orders = S3EncryptionClient(plain(s3), S3EncryptionClientConfig(keyring))
    orders.put_object(Bucket=BUCKET, Key="q", Body=BODY)
    assert orders.get_object(Bucket=BUCKET, Key="q")["Body"].read() == BODY
