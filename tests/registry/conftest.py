"""Fixtures with shards. One data directory is made per session; each test gets a copy of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kms_grpc.registry.shards import Shard
from tests.registry.made import opened, start


@pytest.fixture(scope="session")
def _prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "data"
    start(folder)
    return folder


@pytest.fixture
def folder(_prepared: Path, tmp_path: Path) -> Path:
    """A data directory with one prepared, empty shard."""
    return Path(shutil.copytree(_prepared, tmp_path / "data"))


@pytest.fixture
def shard(folder: Path) -> Iterator[Shard]:
    shards = opened(folder)
    yield shards.default
    shards.close()


@pytest.fixture(params=["sqlite"])
def store(request: pytest.FixtureRequest, folder: Path) -> Iterator[Shard]:
    """A shard over each engine, with which the contract tests run."""
    shards = {"sqlite": opened}[request.param](folder)
    yield shards.default
    shards.close()
