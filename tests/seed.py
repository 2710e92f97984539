"""The seed of randomised tests. Each run prints it in its header; setting `KMS_GRPC_TEST_SEED` repeats a run.

tests/conftest.py takes the hooks from here.
"""

from __future__ import annotations

import os
import secrets

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Chooses the seed before xdist starts its workers, so that all of them use the same."""
    os.environ.setdefault("KMS_GRPC_TEST_SEED", str(secrets.randbelow(10**9)))


def pytest_report_header(config: pytest.Config) -> str:
    return f"KMS_GRPC_TEST_SEED={os.environ['KMS_GRPC_TEST_SEED']}"
