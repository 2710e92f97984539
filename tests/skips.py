"""Fails a run under CI if a test was skipped that ALLOWED does not list.

tests/conftest.py imports these hooks.
"""

from __future__ import annotations

import fnmatch
import os

import pytest

ALLOWED: dict[str, str] = {
    "tests/crypto/test_cloned_machine.py::*kernel cloned*": "a processor without RDRAND or RNDR is not covered there",
    "tests/aws/test_terraform.py::*": "Terraform's AWS provider is in HashiCorp's registry only",
}
"""Maps patterns of test ids to the reasons why CI may skip them."""


def _unexpected(session: pytest.Session) -> list[str]:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    ids = [report.nodeid for report in skipped]
    return [name for name in ids if not any(fnmatch.fnmatch(name, pattern) for pattern in ALLOWED)]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Checks the skips in the process that has all results, which is no worker of xdist."""
    if not os.environ.get("CI") or hasattr(session.config, "workerinput"):
        return
    session.config.stash[UNEXPECTED] = _unexpected(session)
    if session.config.stash[UNEXPECTED]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name in terminalreporter.config.stash.get(UNEXPECTED, []):
        terminalreporter.write_line(f"skipped, but not listed in tests/skips.py: {name}", red=True)


UNEXPECTED = pytest.StashKey[list[str]]()
