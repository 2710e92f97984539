"""What the tests of this folder share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> str:
    """Different for each test, the same again for the same KMS_GRPC_TEST_SEED."""
    return f"{os.environ.get('KMS_GRPC_TEST_SEED', '0')} {request.node.nodeid}"
