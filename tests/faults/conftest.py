"""Fixtures of this folder."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> str:
    """A seed that differs for each test, and is the same for the same KMS_GRPC_TEST_SEED."""
    return f"{os.environ.get('KMS_GRPC_TEST_SEED', '0')} {request.node.nodeid}"
