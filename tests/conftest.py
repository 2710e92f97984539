"""Fixtures for all tests: real servers.

`server` runs for the whole session, with two regions and two workers. Tests create their own keys in it and never stop
it. `start_server` starts servers for one test, which may stop, kill and restart them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import ending, seed
from tests.order import pytest_collection_modifyitems
from tests.proxies import ForbiddenProxy, forbidden_proxy
from tests.seed import pytest_report_header
from tests.served import Served
from tests.skips import pytest_sessionfinish, pytest_terminal_summary

__all__ = ["pytest_collection_modifyitems", "pytest_report_header", "pytest_sessionfinish", "pytest_terminal_summary"]

StartServer = Callable[..., Served]


def pytest_configure(config: pytest.Config) -> None:
    seed.pytest_configure(config)
    ending.pytest_configure(config)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running server that all tests of this process share."""
    served = Served(tmp_path_factory.mktemp("server") / "data")
    served.start()
    yield served
    served.close()


@pytest.fixture
def proxy() -> Iterator[ForbiddenProxy]:
    """A proxy for the variables of a client. The test fails if anybody connects to it."""
    with forbidden_proxy() as made:
        yield made


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts a server: `start_server(*options, regions=…, workers=…, environment=…, dev=…, data_dir=…)`."""
    made: list[Served] = []

    def start(*options: str, data_dir: Path | None = None, **settings: Any) -> Served:
        served = Served(data_dir or tmp_path / f"data-{len(made)}", options, **settings)
        made.append(served)
        served.start()
        return served

    yield start
    for served in made:
        served.close()
