"""Calls to the AWS door over plain HTTP, signed by botocore, and their complete responses."""

from __future__ import annotations

import dataclasses
import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

TEST = ("test", "test")
"""The access key that --dev accepts."""
JSON_11 = "application/x-amz-json-1.1"


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["__type"])

    @property
    def worker(self) -> str:
        return self.headers["kms-worker"]


def address_of(data_dir: Path) -> str:
    return (data_dir / "run" / "aws-address").read_text().split()[0]


def signed_headers(
    address: str, target: str, body: bytes, region: str, key: tuple[str, str], headers: Mapping[str, str]
) -> dict[str, str]:
    usual = {"Content-Type": JSON_11, "X-Amz-Target": target, "Host": address}
    request = AWSRequest("POST", f"http://{address}/", headers={**usual, **headers}, data=body)
    SigV4Auth(Credentials(*key), "kms", region).add_auth(request)
    return dict(request.headers.items())


def call(
    where: str | http.client.HTTPConnection,
    operation: str,
    request: Any = None,
    *,
    region: str = "eu-central-1",
    key: tuple[str, str] = TEST,
    headers: Mapping[str, str] | None = None,
    unsigned: Mapping[str, str] | None = None,
) -> Answer:
    """Call an operation. `unsigned` are headers added after signing. A given connection stays open afterwards."""
    body = request if isinstance(request, bytes) else json.dumps(request or {}).encode()
    connection = http.client.HTTPConnection(where, timeout=60) if isinstance(where, str) else where
    address = where if isinstance(where, str) else f"{where.host}:{where.port}"
    sent = signed_headers(address, f"TrentService.{operation}", body, region, key, headers or {})
    try:
        return send(connection, "POST", "/", body, {**sent, **(unsigned or {})})
    finally:
        if isinstance(where, str):
            connection.close()


def send(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes, headers: Mapping[str, str]
) -> Answer:
    connection.request(method, path, body, dict(headers))
    response = connection.getresponse()
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
