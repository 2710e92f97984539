"""Randomised tests: their seed, and what they may not depend on. Each run prints the seed in its header; setting
`KMS_GRPC_TEST_SEED` repeats a run.

tests/conftest.py takes the hooks from here.
"""

from __future__ import annotations

import os
import secrets

import pytest
from hypothesis import HealthCheck, settings


def pytest_configure(config: pytest.Config) -> None:
    """Chooses the seed before xdist starts its workers, so that all of them use the same."""
    os.environ.setdefault("KMS_GRPC_TEST_SEED", str(secrets.randbelow(10**9)))
    # A slow example says that the machine is busy, not that the product is wrong.
    settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy machine")


def pytest_report_header(config: pytest.Config) -> str:
    return f"KMS_GRPC_TEST_SEED={os.environ['KMS_GRPC_TEST_SEED']}"
