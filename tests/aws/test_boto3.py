"""boto3 in ordinary use: paginators, regions, operations that are not supported yet, and retries."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.aws.conftest import AwsEndpoint, endpoint_of
from tests.aws.doors import OPERATIONS, client
from tests.aws.readme import EXAMPLE_URL, clients
from tests.aws.test_cases import MODEL
from tests.aws.world import OTHER_REGION, UNKNOWN
from tests.conftest import StartServer
from tests.proxies import ForbiddenProxy

KEYS = 7


# --- paginators --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def busy(kms: Any) -> str:
    """A key with several aliases, tags and rotations."""
    key_id: str = kms.create_key(Tags=[{"TagKey": f"t{n}", "TagValue": "v"} for n in range(KEYS)])["KeyMetadata"][
        "KeyId"
    ]
    for number in range(KEYS):
        kms.create_alias(AliasName=f"alias/page-{key_id}-{number}", TargetKeyId=key_id)
        kms.rotate_key_on_demand(KeyId=key_id)
    return key_id


LISTS: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("list_aliases", "Aliases", lambda entry: entry["AliasName"]),
    ("list_resource_tags", "Tags", lambda entry: entry["TagKey"]),
    ("list_key_rotations", "Rotations", lambda entry: entry["KeyMaterialId"]),
]


@pytest.mark.parametrize("size", [1, 3, KEYS, 50])
@pytest.mark.parametrize(("operation", "entries", "name"), LISTS)
def test_paginators(operation: str, entries: str, name: Callable[[Any], Any], size: int, kms: Any, busy: str) -> None:
    pages = list(kms.get_paginator(operation).paginate(KeyId=busy, PaginationConfig={"PageSize": size}))
    names = [name(entry) for page in pages for entry in page[entries]]
    assert len(names) == len(set(names)) == KEYS
    assert [page["Truncated"] for page in pages] == [True] * (len(pages) - 1) + [False]
    assert len(pages) == -(-KEYS // size), "no page is empty or larger than requested"
    assert all(("NextMarker" in page) is page["Truncated"] for page in pages)


@pytest.mark.parametrize("size", [1, 1000])
def test_all_keys_page_by_page(kms: Any, size: int) -> None:
    made = {kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(3)}
    paginator = kms.get_paginator("list_keys")
    listed = [key["KeyId"] for page in paginator.paginate(PaginationConfig={"PageSize": size}) for key in page["Keys"]]
    assert made <= set(listed)
    assert len(listed) == len(set(listed))


def test_a_listing_resumes_from_its_token(kms: Any, busy: str) -> None:
    """MaxItems yields a starting token, which contains NextMarker."""
    first = kms.get_paginator("list_aliases").paginate(KeyId=busy, PaginationConfig={"MaxItems": 4, "PageSize": 3})
    seen = first.build_full_result()
    rest = kms.get_paginator("list_aliases").paginate(
        KeyId=busy, PaginationConfig={"StartingToken": seen["NextToken"]}
    ).build_full_result()  # fmt: skip
    assert len({entry["AliasName"] for entry in [*seen["Aliases"], *rest["Aliases"]]}) == KEYS


# --- one URL, all regions ----------------------------------------------------------------------------------------


def test_the_signature_scope_determines_the_region(endpoint: AwsEndpoint) -> None:
    here, there = client(endpoint.url), client(endpoint.url, OTHER_REGION)
    key_id = there.create_key()["KeyMetadata"]["KeyId"]
    assert f":{OTHER_REGION}:" in there.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
    with pytest.raises(here.exceptions.NotFoundException):
        here.describe_key(KeyId=key_id)


def test_a_region_that_is_not_served(endpoint: AwsEndpoint) -> None:
    with pytest.raises(ClientError, match="Region us-east-1 is not served here; served are: eu-central-1, eu-west-1"):
        client(endpoint.url, "us-east-1").list_keys()


def test_environment_variables_are_enough(environment: None) -> None:
    """The call needs no arguments specific to this service."""
    assert isinstance(boto3.Session().client("kms").list_keys()["Keys"], list)


def test_readmes_line(
    endpoint: AwsEndpoint, environment: None, monkeypatch: pytest.MonkeyPatch, proxy: ForbiddenProxy
) -> None:
    """The client bypasses the proxy."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_KMS")
    for name, value in proxy.variables.items():
        monkeypatch.setenv(name, value)
    names = {"boto3": boto3, "Config": Config}
    made = eval(clients()["tests/aws/test_boto3.py"].replace(EXAMPLE_URL, endpoint.url), names)
    assert isinstance(made.list_keys()["Keys"], list)


def test_errors_are_boto3s_own_classes(kms: Any) -> None:
    with pytest.raises(kms.exceptions.NotFoundException) as refused:
        kms.describe_key(KeyId=UNKNOWN)
    response = refused.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert response["ResponseMetadata"]["RequestId"]


# --- operations that are not supported yet -----------------------------------------------------------------------

NOT_YET = sorted(set(MODEL.operation_names) - set(OPERATIONS))


@pytest.mark.parametrize("operation", NOT_YET)
def test_unsupported_operations_are_named_in_the_error(operation: str, endpoint: AwsEndpoint) -> None:
    asked = client(endpoint.url, parameter_validation=False)
    with pytest.raises(ClientError) as refused:
        asked._make_api_call(operation, {})
    error = refused.value.response["Error"]
    assert error == {"Code": "UnsupportedOperationException", "Message": f"{operation} is not supported yet."}


# --- retries -----------------------------------------------------------------------------------------------------


@contextmanager
def losing_answers(url: str, count: int) -> Iterator[tuple[str, list[bytes]]]:
    """Runs a relay that closes the first `count` connections instead of sending the response; yields its URL and the
    requests that it received."""
    host, _, port = url.removeprefix("http://").partition(":")
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        with connection, socket.create_connection((host, int(port))) as behind:
            while request := _message(connection):
                seen.append(request)
                behind.sendall(request)
                answer = _message(behind)
                if len(seen) <= count:
                    return
                connection.sendall(answer)

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", seen
        listening.shutdown(socket.SHUT_RDWR)


def _message(connection: socket.socket) -> bytes:
    """Reads one HTTP message with its body; empty if the connection is closed."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65536)
        if not more:
            return b""
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    size = int(lengths[0]) if lengths else 0
    while len(body) < size:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def _header(request: bytes, name: bytes) -> bytes:
    [value] = [line.split(b":", 1)[1] for line in request.split(b"\r\n") if line.lower().startswith(name + b":")]
    return value.strip()


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
def test_a_call_whose_response_is_lost_is_done_once(mode: str, endpoint: AwsEndpoint) -> None:
    with losing_answers(endpoint.url, 2) as (url, seen):
        asked = client(url, retries={"mode": mode, "total_max_attempts": 5})
        made = asked.create_key(Description=f"lost twice, {mode}")["KeyMetadata"]
        asked.create_alias(AliasName=f"alias/lost-{mode}-{made['KeyId']}", TargetKeyId=made["KeyId"])
    creations = [request for request in seen if b"TrentService.CreateKey" in request]
    assert len(creations) == 3
    assert len({_header(request, b"amz-sdk-invocation-id") for request in creations}) == 1
    asked = client(endpoint.url)
    keys = [key["KeyId"] for page in asked.get_paginator("list_keys").paginate() for key in page["Keys"]]
    described = [asked.describe_key(KeyId=key_id)["KeyMetadata"]["Description"] for key_id in keys]
    assert described.count(f"lost twice, {mode}") == 1


def test_create_alias_whose_response_is_lost_succeeds(endpoint: AwsEndpoint, kms: Any) -> None:
    """The repeated call does not fail because the alias exists."""
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    with losing_answers(endpoint.url, 1) as (url, seen):
        client(url).create_alias(AliasName=f"alias/{key_id}", TargetKeyId=key_id)
    assert len(seen) == 2


def test_errors_of_the_caller_are_not_retried(endpoint: AwsEndpoint) -> None:
    with losing_answers(endpoint.url, 0) as (url, seen):
        asked = client(url)
        for call in (
            lambda: asked.describe_key(KeyId=UNKNOWN),
            lambda: asked.decrypt(CiphertextBlob=b"no ciphertext"),
            lambda: asked.generate_data_key(KeyId=UNKNOWN),
        ):
            with pytest.raises(ClientError):
                call()
    assert len(seen) == 3


def test_throttled_calls_succeed_after_retries(start_server: StartServer, tmp_path: Any) -> None:
    """There are more concurrent calls than the worker accepts. boto3 retries ThrottlingException; each is done once."""
    config = tmp_path / "kms.toml"
    config.write_text("[limits]\nwaiting_calls = 1\nthreads = 1\n")
    served = start_server("--config", str(config), "--aws-listen", "127.0.0.1:0")
    url = endpoint_of(served).url
    asked = client(url, retries={"mode": "standard", "total_max_attempts": 12}, max_pool_connections=8)
    throttled: list[str] = []

    def note(parsed_response: Any, **_: Any) -> None:
        throttled.append(parsed_response.get("Error", {}).get("Code", ""))

    asked.meta.events.register("response-received.kms", lambda **event: note(event["parsed_response"] or {}))
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda number: asked.create_key(Description=str(number)), range(24)))
    assert len({answer["KeyMetadata"]["KeyId"] for answer in made}) == 24
    assert len(asked.list_keys(Limit=1000)["Keys"]) == 24
    assert set(throttled) == {"", "ThrottlingException"}, "no call was throttled, so the test shows nothing"


def test_no_server(endpoint: AwsEndpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(EndpointConnectionError):
        client(f"http://127.0.0.1:{port}", retries={"total_max_attempts": 1}).list_keys()
