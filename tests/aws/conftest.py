"""A server with two regions, two workers and both doors, for AWS's own clients."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.aws.doors import DOORS, REGION, DoorClient, client
from tests.operations.conftest import IN_MEMORY
from tests.served import Served, clean


class AwsEndpoint(NamedTuple):
    """A server and its URL for AWS's clients."""

    served: Served
    url: str

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables with which AWS's clients use this server and nothing else of AWS."""
        own = clean() | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        rest = {name: value for name, value in own.items() if not name.startswith("AWS_")}
        return rest | {
            "AWS_ENDPOINT_URL_KMS": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def endpoint_of(served: Served) -> AwsEndpoint:
    address = (served.data_dir / "run" / "aws-address").read_text().split()[0]
    return AwsEndpoint(served, f"http://{address}")


@pytest.fixture(scope="session")
def endpoint() -> Iterator[AwsEndpoint]:
    """One server for all tests of this folder in this process; each test creates its own keys. The data directory is in
    memory if possible, since there are thousands of small writes."""
    folder = Path(tempfile.mkdtemp(prefix="kms-grpc-aws-", dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None))
    served = Served(folder / "data", ["--aws-listen", "127.0.0.1:0"])
    try:
        served.start()
        yield endpoint_of(served)
    finally:
        served.close()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def kms(endpoint: AwsEndpoint) -> Any:
    """A boto3 client that checks each response (judge.py)."""
    return client(endpoint.url)


@pytest.fixture(scope="session")
def doors(endpoint: AwsEndpoint) -> dict[str, DoorClient]:
    return {name: door(endpoint.served, endpoint.url) for name, door in DOORS.items()}


@pytest.fixture
def environment(endpoint: AwsEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables that README describes in this process."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in endpoint.variables.items():
        monkeypatch.setenv(name, value)
