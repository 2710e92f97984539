"""The Amazon S3 Encryption Client for Python with a local S3 (moto's server) and data keys from this service.

The package requires `cryptography` below 49. It is installed without its dependencies into a cache outside the source
tree, so that all other packages can use the current version.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.aws.doors import REGION
from tests.aws.readme import clients
from tests.languages.packages import cache

BUCKET = "orders"
BODY = b"an object of some size" * 10_000


PACKAGE, VERSION = "amazon-s3-encryption-client-python", "4.0.0"


class Package(NamedTuple):
    """The parts of the package that the tests use."""

    client: Any
    config: Any
    keyring: Any
    error: Any

    def encrypting(self, s3: str, keyring: Any) -> Any:
        """Returns an encrypting client around a new S3 client, since it modifies the client that it is given."""
        return self.client(plain(s3), self.config(keyring))


@pytest.fixture(scope="module")
def package() -> Iterator[Package]:
    kept = cache() / f"{PACKAGE}-{VERSION}"
    if not kept.exists():
        options = ["--quiet", "--no-deps", "--no-compile", "--target", str(kept)]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, f"{PACKAGE}=={VERSION}"], check=True)
    sys.path.append(str(kept))
    names = (("", "S3EncryptionClient"), ("", "S3EncryptionClientConfig"), (".materials.kms_keyring", "KmsKeyring"),
             (".exceptions", "S3EncryptionClientError"))  # fmt: skip
    yield Package(*(getattr(importlib.import_module(f"s3_encryption{module}"), name) for module, name in names))
    sys.path.remove(str(kept))


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Runs an S3 server with the bucket; yields its URL."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    plain(url).create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    yield url
    server.stop()


def plain(url: str) -> Any:
    return boto3.client("s3", endpoint_url=url, region_name=REGION, aws_access_key_id="s3", aws_secret_access_key="s3")


def context() -> dict[str, str]:
    """Returns a new encryption context, since the client adds a pair to the one that it is given."""
    return {"app": "shop"}


def test_round_trip(package: Package, kms: Any, s3: str) -> None:
    key = kms.create_key()["KeyMetadata"]["Arn"]
    orders = package.encrypting(s3, package.keyring(kms, key))
    orders.put_object(Bucket=BUCKET, Key="o", Body=BODY, EncryptionContext=context())
    stored = plain(s3).get_object(Bucket=BUCKET, Key="o")["Body"].read()
    assert BODY[:22] not in stored
    assert orders.get_object(Bucket=BUCKET, Key="o", EncryptionContext=context())["Body"].read() == BODY
    kms.rotate_key_on_demand(KeyId=key)
    assert orders.get_object(Bucket=BUCKET, Key="o", EncryptionContext=context())["Body"].read() == BODY


def test_wrong_context_wrong_key_and_disabled_key(package: Package, kms: Any, s3: str) -> None:
    key, other = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    orders = package.encrypting(s3, package.keyring(kms, key))
    orders.put_object(Bucket=BUCKET, Key="p", Body=BODY, EncryptionContext=context())
    with pytest.raises(package.error, match="encryption context"):
        orders.get_object(Bucket=BUCKET, Key="p", EncryptionContext={"app": "market"})
    with pytest.raises(Exception, match="IncorrectKeyException"):
        package.encrypting(s3, package.keyring(kms, other)).get_object(
            Bucket=BUCKET, Key="p", EncryptionContext=context()
        )
    kms.disable_key(KeyId=key)
    with pytest.raises(Exception, match="DisabledException"):
        orders.get_object(Bucket=BUCKET, Key="p", EncryptionContext=context())


def test_readmes_line(environment: None, package: Package, kms: Any, s3: str) -> None:
    names = {"kms": kms, "KmsKeyring": package.keyring, "key_arn": kms.create_key()["KeyMetadata"]["Arn"]}
    orders = package.encrypting(s3, eval(clients()["tests/aws/test_s3_encryption.py"], names))
    orders.put_object(Bucket=BUCKET, Key="q", Body=BODY)
    assert orders.get_object(Bucket=BUCKET, Key="q")["Body"].read() == BODY
