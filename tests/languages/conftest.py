"""Fixtures for clients in other languages: a real server, and the npm packages of the Node client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.service import Service
from tests.languages.packages import installed

NODE = Path(__file__).with_name("node")
REGIONS = ("eu-central-1", "eu-west-1")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`kms-grpc serve` with two regions and two workers: `.address`, `.token`, `.regions`."""
    service = Service(tmp_path_factory.mktemp("languages") / "data", REGIONS)
    try:
        service.start()
        yield service
    finally:
        service.close()


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder of the npm packages that package-lock.json names."""
    return installed(NODE, "node-client")
