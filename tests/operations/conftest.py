"""Services for the tests of operations: made once, copied for each test that wants one of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.operations.service import Host, Worker, prepare


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory after its first start."""
    folder = tmp_path_factory.mktemp("prepared") / "data"
    folder.mkdir()
    prepare(folder)
    return folder


@pytest.fixture
def make_host(prepared: Path, tmp_path: Path) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def make(**changes: Any) -> Host:
        folder = tmp_path / f"data-{len(hosts)}"
        shutil.copytree(prepared, folder)
        hosts.append(Host(folder, **changes))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    """An empty service of the test's own."""
    return make_host()


@pytest.fixture
def worker(host: Host) -> Worker:
    return host.worker()


@pytest.fixture(scope="module")
def shared(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker that the tests of one module share: what they create is told apart by its id."""
    folder = tmp_path_factory.mktemp("shared") / "data"
    shutil.copytree(prepared, folder)
    host = Host(folder)
    yield host.worker()
    host.close()
