"""The seed of tests with random input. Each run prints it at its start; `KMS_GRPC_TEST_SEED` sets it to repeat a run.

tests/conftest.py imports these hooks.
"""

from __future__ import annotations

import os
import secrets

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Sets the seed before xdist starts its workers, so that all workers have the same."""
    os.environ.setdefault("KMS_GRPC_TEST_SEED", str(secrets.randbelow(10**9)))


def pytest_report_header(config: pytest.Config) -> str:
    return f"KMS_GRPC_TEST_SEED={os.environ['KMS_GRPC_TEST_SEED']}"
