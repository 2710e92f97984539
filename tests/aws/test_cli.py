"""The aws CLI: the option for the endpoint. Its session in README is run by tests/documents/test_top_to_bottom.py."""

from __future__ import annotations

import json
import subprocess

from tests.aws.conftest import AwsEndpoint
from tests.aws.readme import EXAMPLE_URL, ROOT, clients
from tests.proxies import ForbiddenProxy


def test_the_endpoint_as_an_option(endpoint: AwsEndpoint, proxy: ForbiddenProxy) -> None:
    """README's line works without an endpoint in the environment, and bypasses the proxy."""
    environment = endpoint.variables | proxy.variables
    del environment["AWS_ENDPOINT_URL_KMS"]
    command = clients()["tests/aws/test_cli.py"].replace(EXAMPLE_URL, endpoint.url)
    listed = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert listed.returncode == 0, listed.stderr
    assert isinstance(json.loads(listed.stdout)["Keys"], list)


def test_every_client_of_readme_has_its_test() -> None:
    assert {f"tests/aws/test_{name}.py" for name in (
        "boto3", "cli", "encryption_sdk", "s3_encryption", "javascript", "javascript_v2", "sops"
    )} == set(clients())  # fmt: skip
    assert all((ROOT / path).exists() for path in clients())
