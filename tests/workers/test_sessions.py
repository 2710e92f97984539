"""Sessions: temporary access keys at the AWS door, whose parts belong together and which end with their principal."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from kms_grpc import app, config
from kms_grpc.principal_settings import digest_of
from kms_grpc.registry.sessions import create_session
from tests.endpoints.aws_calls import address_of, call
from tests.processes.stand_in_server import eventually
from tests.served import Served
from tests.workers.connections import Caller, outcome
from tests.workers.mounted import IN_FORCE, Mounted, principal, said

ADMIN, P = (f"a-token-of-{name}-0123456789" for name in ("admin", "p"))
FIRST = principal("admin", ADMIN, '["full-access"]')
WITH_P = FIRST + principal("p", P, '["full-access"]')
UNKNOWN = "UnrecognizedClientException"
SECOND_NS = 10**9

Key = tuple[str, str, str]
"""Access key id, secret and session token."""


class Scene(NamedTuple):
    served: Served
    mounted: Mounted

    @property
    def address(self) -> str:
        return address_of(self.served.data_dir)

    def session(self, name: str = "p", *options: str, code: int = 0) -> Any:
        where = ["--data-dir", str(self.served.data_dir), "--config", str(self.mounted.path)]
        command = [sys.executable, "-m", "kms_grpc", "principals", "session", name, *where, "-o", "json", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)["Credentials"] if code == 0 else done.stderr

    def key(self) -> Key:
        made = self.session()
        return made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"]

    def key_issued(self, seconds_ago: int) -> Key:
        """Returns the session, of two hours, of a command that ran some time ago."""
        settings = config.load(
            self.mounted.path, {"data_dir": str(self.served.data_dir), "regions": self.served.regions}
        )
        (entry,) = (each for each in settings.principals if each.name == "p")
        with app.default_shard(settings) as shard:
            now_ns = time.time_ns() - seconds_ago * SECOND_NS
            made = create_session(shard, app.principals(settings)["p"], digest_of(entry), 7200, now_ns)
        return made.access_key_id, made.secret, made.token

    def take(self, text: str, policy: str | None = None) -> None:
        before = len(said(self.served, IN_FORCE))
        self.mounted.swap(text, policy) if policy else self.mounted.swap(text)
        eventually(lambda: len(said(self.served, IN_FORCE)) > before, "the changed configuration")

    def code(self, key: tuple[str, ...], **more: Any) -> str:
        answer = call(self.address, "ListKeys", key=key, **more)  # type: ignore[arg-type]
        return "OK" if answer.status == 200 else answer.code


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("sessions")
    mounted = Mounted(folder / "mounted")
    mounted.swap(WITH_P)
    options = ("--config", str(mounted.path), "--aws-listen", "127.0.0.1:0")
    served = Served(folder / "data", options, workers=2, dev=False)
    served.start()
    yield Scene(served, mounted)
    served.close()


def test_the_parts_of_a_session_belong_together(scene: Scene) -> None:
    one, other = scene.key(), scene.key()
    assert [scene.code(key) for key in (one, other, one)] == ["OK"] * 3
    assert one[0].startswith("ASIA")
    refused = {
        "another session's token": scene.code((*one[:2], other[2])),
        "another session's secret": scene.code((one[0], other[1], one[2])),
        "no token": scene.code(one[:2]),
        "its id as secret": scene.code((one[0], one[0], one[2])),
        "an unsigned token": scene.code(one[:2], unsigned={"X-Amz-Security-Token": one[2]}),
        "a token that is none": scene.code((*one[:2], "AAAA")),
        "a token that is not base64": scene.code((*one[:2], "%%%")),
        "a token that is too long": scene.code((*one[:2], one[2] * 12)),
        "a changed token": scene.code((*one[:2], one[2][:-8] + "AAAAAAA=")),
    }
    assert refused == {
        **dict.fromkeys(refused, UNKNOWN),
        "another session's secret": "InvalidSignatureException",
        "its id as secret": "InvalidSignatureException",
        "an unsigned token": "InvalidSignatureException",
    }
    with ExitStack() as held:
        assert outcome(Caller.unknown(scene.served, held, one[2]).begin("ListKeys")) == UNKNOWN, "as a bearer token"
    assert one[1] not in scene.served.log_text()
    assert one[2] not in scene.served.log_text()


def test_an_expired_session_is_told_so_by_its_owner_alone(scene: Scene) -> None:
    key = scene.key_issued(2 * 3600 + 1)
    answer = call(scene.address, "ListKeys", key=key)  # type: ignore[arg-type]
    assert (answer.status, answer.code) == (400, "ExpiredTokenException")
    assert answer.json["message"] == "The security token included in the request is expired"
    assert scene.code((key[0], "guess", key[2])) == "InvalidSignatureException"


def test_a_session_is_dead_once_its_principal_is_gone_and_is_no_namesakes(scene: Scene) -> None:
    key = scene.key()
    connection = http.client.HTTPConnection(scene.address, timeout=60)

    def on_open_connection() -> str:
        answer = call(connection, "ListKeys", key=key)  # type: ignore[arg-type]
        return "OK" if answer.status == 200 else answer.code

    assert [on_open_connection() for _ in range(3)] == ["OK"] * 3
    scene.take(FIRST)
    assert {on_open_connection(), scene.code(key)} == {UNKNOWN}
    scene.take(FIRST + principal("p", P, '["reader"]'))
    assert {on_open_connection(), scene.code(key)} == {UNKNOWN}, "the same ARN with other policies"
    scene.take(WITH_P)
    assert scene.code(scene.key()) == "OK"


OLDER = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"},{"Effect":"Deny","Action":'
    '"*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":"%s"}}}]}'
)


def test_older_sessions_are_revoked_by_their_time_of_issue(scene: Scene) -> None:
    """AWS's policy "revoke older sessions". Permanent credentials have no such time, and the Deny does not match."""
    border = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1800))
    scene.take(FIRST + principal("p", P, f'["{scene.mounted.path.parent}/policy.json"]'), OLDER % border)
    assert scene.code(scene.key_issued(3600)) == "AccessDeniedException"
    assert scene.code(scene.key_issued(600)) == "OK"
    with ExitStack() as held:
        assert not isinstance(outcome(Caller.unknown(scene.served, held, P).begin("ListKeys")), str | grpc.RpcError)
    scene.take(WITH_P)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nobody",), "nobody is no caller of this server. Configured callers: admin, p"),
        (("p", "--seconds", "899"), "899 is not in the range 900<=x<=43200"),
        (("p", "--seconds", "43201"), "43201 is not in the range 900<=x<=43200"),
    ],
)
def test_a_session_that_cannot_be_is_refused(scene: Scene, arguments: tuple[str, ...], says: str) -> None:
    assert says in scene.session(*arguments, code=2)


def test_the_end_of_a_session_is_shown(scene: Scene) -> None:
    before = int(time.time())
    made = scene.session("p", "--seconds", "900")
    ends = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(before + 900 + later)) for later in range(60)]
    assert made["Expiration"] in ends
    assert Path(scene.served.data_dir, "audit").is_dir()
