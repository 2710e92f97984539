"""Services for the tests of operations: prepared once, copied for each test that wants its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.operations.service import Host, Worker, prepare

IN_MEMORY = "/dev/shm"


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder for data, in memory where possible: thousands of small writes need not wait for a disk."""
    made = Path(tempfile.mkdtemp(prefix="kms-grpc-", dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def prepared(folder: Path) -> Path:
    """A prepared data directory, as after a first start."""
    data = folder / "prepared"
    data.mkdir()
    prepare(data)
    return data


@pytest.fixture
def make_host(prepared: Path, folder: Path) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def make(**changes: Any) -> Host:
        hosts.append(Host(copied(prepared, folder), **changes))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()
        shutil.rmtree(host.settings.data_dir)


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    """An empty service of the test's own."""
    return make_host()


@pytest.fixture
def worker(host: Host) -> Worker:
    return host.worker()


@pytest.fixture(scope="module")
def shared_host(prepared: Path, folder: Path) -> Iterator[Host]:
    """A service that the tests of one module share. They tell apart what they create by its id."""
    host = Host(copied(prepared, folder))
    yield host
    host.close()


@pytest.fixture(scope="module")
def shared(shared_host: Host) -> Worker:
    return shared_host.worker()


def copied(prepared: Path, folder: Path) -> Path:
    fresh = Path(tempfile.mkdtemp(prefix="data-", dir=folder))
    return Path(shutil.copytree(prepared, fresh, dirs_exist_ok=True))
