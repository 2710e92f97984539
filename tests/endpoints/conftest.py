"""A server with callers of two accounts, for the tests of the gRPC door."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from tests.endpoints.calls import OWN_CONNECTION
from tests.served import ACCOUNT, Served

STRANGER_ACCOUNT = "999999999999"
STRANGER_TOKEN = "token-of-a-stranger-01"
MESSAGE_BYTES = 512 * 1024
CONFIG = f"""
[[principals]]
name = "stranger"
arn = "arn:aws:iam::{STRANGER_ACCOUNT}:role/stranger"
account = "{STRANGER_ACCOUNT}"
token = "{STRANGER_TOKEN}"
policies = ["full-access"]

[limits]
message_bytes = {MESSAGE_BYTES}
"""


@pytest.fixture(scope="session")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("door")
    config = folder / "kms.toml"
    config.write_text(CONFIG)
    config.chmod(0o600)
    served = Served(folder / "data", ["--config", str(config), "--log-level", "debug"])
    served.start()
    yield served
    served.close()


@pytest.fixture(scope="session")
def channel(door: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(door.address, OWN_CONNECTION) as opened:
        yield opened


@pytest.fixture(scope="session")
def account() -> str:
    return ACCOUNT
