"""Starts the longest tests first, so that no process of xdist is left alone with one of them at the end.

tests/conftest.py takes the hook from here.
"""

from __future__ import annotations

import fnmatch

import pytest

LONGEST: tuple[str, ...] = (
    "*test_kill.py::test_acknowledged_changes_survive_every_kill*",
    "*test_sops.py::*",
    "*test_changes_reach_all_workers.py::*",
    "*test_quickstart.py::test_two_quickstarts_in_one_folder*",
    "*test_command.py::test_every_named_row_is_measured*",
    "*test_full_disk.py::test_service_on_a_full_disk*",
)
"""Patterns of test ids, the longest first."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves them to the front, before the tests that share a fixture (xdist_group), and these before all others."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    for place, pattern in enumerate(LONGEST):
        if fnmatch.fnmatch(item.nodeid, pattern):
            return place
    return len(LONGEST) + (item.get_closest_marker("xdist_group") is None)
