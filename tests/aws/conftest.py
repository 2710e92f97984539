"""A real `kms-grpc serve` with two regions, two workers and both doors, for AWS's own clients."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.aws.doors import DOORS, REGION, Door, client
from tests.operations.conftest import IN_MEMORY
from tests.served import Served, clean


class BenchData(NamedTuple):
    """The server, and what AWS's clients are told of it."""

    served: Served
    url: str

    @property
    def variables(self) -> dict[str, str]:
        """The environment in which AWS's clients find it and nothing else of AWS."""
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


def ground_of(served: Served) -> BenchData:
    address = (served.data_dir / "run" / "aws-address").read_text().split()[0]
    return BenchData(served, f"http://{address}")


@pytest.fixture(scope="session")
def ground() -> Iterator[BenchData]:
    """One for all tests of this folder in this process: tests make their own keys in it. In memory where that can be
    had: thousands of small writes need not wait for a disk here."""
    folder = Path(tempfile.mkdtemp(prefix="kms-grpc-aws-", dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None))
    served = Served(folder / "data", ["--aws-listen", "127.0.0.1:0"])
    try:
        served.start()
        yield ground_of(served)
    finally:
        served.close()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def kms(ground: BenchData) -> Any:
    """boto3's client, each answer judged."""
    return client(ground.url)


@pytest.fixture(scope="session")
def doors(ground: BenchData) -> dict[str, Door]:
    return {name: door(ground.served, ground.url) for name, door in DOORS.items()}


@pytest.fixture
def environment(ground: BenchData, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is told of the server by environment variables, as README says."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in ground.variables.items():
        monkeypatch.setenv(name, value)
