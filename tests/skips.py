"""A test that is left out proves nothing: where CI is set, every skip must stand in ALLOWED with its reason.

tests/conftest.py takes the hooks from here.
"""

from __future__ import annotations

import fnmatch
import os

import pytest

ALLOWED: dict[str, str] = {
    "tests/aws/test_terraform.py::*": "Terraform's AWS provider comes from HashiCorp's registry alone, not everywhere",
}
"""Pattern of a test's id → why CI may leave it out."""


def _unexpected(session: pytest.Session) -> list[str]:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    ids = [report.nodeid for report in skipped]
    return [name for name in ids if not any(fnmatch.fnmatch(name, pattern) for pattern in ALLOWED)]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Only the process that sees all results judges: with xdist that is not a worker."""
    if not os.environ.get("CI") or hasattr(session.config, "workerinput"):
        return
    session.config.stash[UNEXPECTED] = _unexpected(session)
    if session.config.stash[UNEXPECTED]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name in terminalreporter.config.stash.get(UNEXPECTED, []):
        terminalreporter.write_line(f"skipped without being allowed to (tests/skips.py): {name}", red=True)


UNEXPECTED = pytest.StashKey[list[str]]()
