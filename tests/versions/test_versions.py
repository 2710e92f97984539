"""Every data directory that a version has written is opened by today's code, on stepped clocks.

`opened` is one server on each, an hour after it was written; its tests change nothing that others look at. The tests
of what changes have servers of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pytest
from botocore.exceptions import ClientError

from kms_grpc.client.wrapping import wrap
from kms_grpc.errors import KMSError
from tests.faults.service import wait_until
from tests.served import REGIONS, clean
from tests.versions.data_directories import (
    Callers,
    Region,
    Server,
    Told,
    bytes_of,
    told,
    told_of,
    unpack,
    versions,
)
from tests.workers.stepped import DAY, HOUR, SECOND, SteppedClocks

HOME = REGIONS[0]
pytestmark = pytest.mark.xdist_group("versions")


class Opened:
    """A server on a copy of a version's data directory, and what the JSON file says of it."""

    def __init__(self, version: str, folder: Path) -> None:
        self.told = told_of(version)
        unpack(version, folder)
        self.written = {path.name: path.read_bytes() for path in (folder / "data" / "audit").glob("*.jsonl")}
        clocks = SteppedClocks(folder)
        clocks.to(self.told["written_ns"] + HOUR)
        self.server = Server(folder, clocks)
        self.server.start()
        self.callers = Callers(self.server, self.told["tokens"])

    @property
    def home(self) -> Region:
        """The dev caller's clients of the default region."""
        return self.callers.of(HOME)

    def id(self, name: str) -> str:
        """The id of the key of that name."""
        key_id: str = self.told["keys"][name]["key_id"]
        return key_id

    def state(self, name: str) -> str:
        """Its state, as `ENABLED`; the error's name where there is no such key."""
        try:
            metadata = told(self.home.kms.describe_key(self.id(name)).key_metadata)
        except KMSError as error:
            return error.code
        return str(metadata["key_state"]).removeprefix("KEY_STATE_")

    def refusal(self, row: Told, ciphertext: bytes | None = None, context: Told | None = None) -> str | None:
        """The error's name with which something sealed is refused, changed or under another context if so said; None
        where it opens to its plaintext."""
        region = self.callers.of(row["region"], row["caller"])
        given = row["context"] if context is None else context
        sealed = bytes_of(row["ciphertext"]) if ciphertext is None else ciphertext
        refusal = region.refusal(row["form"], sealed, given)
        if refusal is None:
            assert region.open(row["form"], sealed, given) == bytes_of(row["plaintext"]), row["name"]
        return refusal

    def refusals(self, key: str) -> set[str | None]:
        """Returns the refusals of everything that was sealed under a key; None for what was opened."""
        return {self.refusal(row) for row in self.told["sealed"] if row["key"] == key}

    def use(self, name: str) -> None:
        """Make the import of that name, with the token and the wrapped material as they were written."""
        row = self.told["imports"][name]
        token, encrypted = bytes_of(row["import_token"]), bytes_of(row["encrypted_key_material"])
        self.home.kms.import_key_material(self.id(row["key"]), token, encrypted)

    def close(self) -> None:
        """Ends the server and its clients."""
        self.callers.close()
        self.server.close()


@pytest.fixture(scope="module", params=versions())
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """A server that is looked at only."""
    made = Opened(request.param, tmp_path_factory.mktemp("opened"))
    yield made
    made.close()


@pytest.fixture(params=versions())
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """A server of the test's own."""
    made = Opened(request.param, tmp_path)
    yield made
    made.close()


def changed(sealed: bytes, at: int) -> bytes:
    """Returns a copy in which one bit of the byte `at` is flipped."""
    made = bytearray(sealed)
    made[at] ^= 1
    return bytes(made)


def test_a_data_directory_of_a_version_is_there() -> None:
    assert "0.1.0" in versions()


# --- what is there -----------------------------------------------------------------------------------------------


def test_every_key_is_as_it_was_and_no_other_is_there(opened: Opened) -> None:
    """Every answer that describes a key is compared. Only members that the contract has got since may be left out."""
    there: dict[tuple[str, str], set[str]] = {}
    for name, row in opened.told["keys"].items():
        described = opened.callers.of(row["region"], row["caller"]).describe(row["key_id"])
        assert described == {part: row[part] for part in described}, name
        there.setdefault((row["region"], row["caller"]), set()).add(row["key_id"])
    for whose, key_ids in there.items():
        assert {key.key_id for key in opened.callers.of(*whose).kms.all_keys()} == key_ids


def test_every_row_is_as_it_was_written(opened: Opened) -> None:
    """`kms-grpc check` reads them all: also those of keys that the service owns, and of pairs for imports."""
    command = [sys.executable, "-m", "kms_grpc", "check", "--output", "json", "--data-dir", opened.server.data_dir]
    done = subprocess.run(command, env=clean(), capture_output=True, check=False)
    verdicts = {(each["Subject"], each["Verdict"]) for each in json.loads(done.stdout)["Findings"]}
    regions = {f"region {region}" for region in REGIONS}
    assert {(subject, verdict) for subject, verdict in verdicts if subject in regions | {"root key"}} == {
        (subject, "ok") for subject in regions | {"root key"}
    }


def test_what_was_sealed_opens_to_its_plaintext(opened: Opened) -> None:
    """Blobs, wrapped data keys, records and messages; those of keys that are not usable are refused as before."""
    rows = opened.told["sealed"]
    assert {row["form"] for row in rows} == {"blob", "record", "message"}
    for row in rows:
        assert opened.refusal(row) == row.get("refusal"), f"{row['name']} of {row['key']}"


def test_what_was_sealed_opens_under_no_other_context(opened: Opened) -> None:
    for row in opened.told["sealed"]:
        refusal = opened.refusal(row, context=row["context"] | {"dept": "sales"})
        assert refusal == row.get("refusal", "InvalidCiphertextException"), f"{row['name']} of {row['key']}"


def test_what_was_sealed_and_is_changed_does_not_open(opened: Opened) -> None:
    """A bit in the middle, and one of the last byte."""
    for row in opened.told["sealed"]:
        sealed = bytes_of(row["ciphertext"])
        for at in (len(sealed) // 2, -1):
            assert opened.refusal(row, changed(sealed, at)) is not None, f"{row['name']} of {row['key']}"


def test_a_deleted_key_is_gone_with_all_that_it_sealed(opened: Opened) -> None:
    gone = opened.told["gone"]
    with pytest.raises(KMSError) as refused:
        opened.home.kms.describe_key(gone["key_id"])
    assert refused.value.code == "NotFoundException"
    assert opened.refusal(gone["blob"]) == "AccessDeniedException"


# --- tokens ------------------------------------------------------------------------------------------------------


def test_the_token_of_dev_is_kept(opened: Opened) -> None:
    assert opened.server.token == opened.told["dev_token"]


def test_markers_lead_on_to_the_page_that_they_led_to(opened: Opened) -> None:
    for row in opened.told["markers"]:
        listing = getattr(opened.home.kms, row["method"])
        page = told(listing(limit=1, marker=row["marker"], **row["arguments"]))
        assert page == row["following"], row["method"]
        with pytest.raises(KMSError) as refused:
            listing(limit=1, marker=changed(row["marker"].encode(), 5).decode(), **row["arguments"])
        assert refused.value.code == "InvalidMarkerException"


def test_a_call_that_is_repeated_gets_the_answer_of_then(opened: Opened) -> None:
    for row in opened.told["repeated"]:
        answer = getattr(opened.home.kms, row["method"])(**row["arguments"])
        assert told(answer) == row["answer"], row["method"]


def test_access_keys_sign(opened: Opened) -> None:
    """The kept access key signs; the deleted one does not, nor does the kept one with another secret. Requests are
    signed with the server's time, since the server accepts a difference of five minutes, not of years."""
    kept, deleted = opened.told["access_keys"]["kept"], opened.told["access_keys"]["deleted"]
    known = {key.key_id for key in opened.home.kms.all_keys()}
    assert {key["KeyId"] for key in listed(opened, kept)["Keys"]} == known
    for access_key in (deleted, kept | {"SecretAccessKey": deleted["SecretAccessKey"]}):
        with pytest.raises(ClientError, match=r"UnrecognizedClientException|InvalidSignatureException"):
            listed(opened, access_key)


def listed(opened: Opened, access_key: Told) -> Any:
    """ListKeys by AWS's own client."""
    kms = boto3.client(
        "kms", endpoint_url=opened.server.url, region_name=HOME, aws_access_key_id=access_key["AccessKeyId"],
        aws_secret_access_key=access_key["SecretAccessKey"],
    )  # fmt: skip
    now = datetime.fromtimestamp(opened.server.clocks.wall_ns / SECOND, UTC).replace(tzinfo=None)
    with mock.patch("botocore.auth.get_current_datetime", lambda **_: now):
        return kms.list_keys()


# --- it goes on --------------------------------------------------------------------------------------------------


def test_keys_change_states_in_todays_code(own: Opened) -> None:
    """Keys that were not usable become usable and decrypt their earlier ciphertexts, as do all other keys.

    The audit logs are continued, with each event once.
    """
    kms = own.home.kms
    kms.enable_key(own.id("disabled"))
    kms.cancel_key_deletion(own.id("pending deletion, called off later"))
    kms.enable_key(own.id("pending deletion, called off later"))
    own.use("lost")
    for key in ("disabled", "pending deletion, called off later", "imported, lost"):
        assert (own.state(key), own.refusals(key)) == ("ENABLED", {None}), key
    for key in ("enabled", "rotated", "imported, to be rotated"):
        kms.rotate_key_on_demand(own.id(key)) if key != "enabled" else kms.enable_key_rotation(own.id(key))
        blob = kms.encrypt(own.id(key), b"later").ciphertext_blob
        assert kms.decrypt(blob).plaintext == b"later"
        assert own.refusals(key) == {None}, key
    own.callers.close()
    assert own.server.stop() == 0
    the_audit_logs_went_on(own, ("EnableKey", "CancelKeyDeletion", "ImportKeyMaterial", "RotateKeyOnDemand"))


def the_audit_logs_went_on(own: Opened, names: tuple[str, ...]) -> None:
    """The earlier records are still there, followed by the records of the new calls."""
    new: list[Told] = []
    old: list[Told] = []
    for name, written in own.written.items():
        content = (own.server.data_dir / "audit" / name).read_bytes()
        assert content.startswith(written), name
        old += map(json.loads, written.splitlines())
        new += map(json.loads, content[len(written) :].splitlines())
    assert set(names) <= {record["eventName"] for record in new}
    ids = [record["eventID"] for record in old + new]
    assert len(old) > 100
    assert len(ids) == len(set(ids))


def test_an_import_is_made_with_the_token_of_then_until_the_token_expires(own: Opened) -> None:
    """The token is valid to the nanosecond. Its key pair is used up; prepared pairs of the old version serve new
    imports."""
    kms, imports = own.home.kms, own.told["imports"]
    ends = imports["used in time"]["valid_to_ns"]
    assert ends == imports["used too late"]["valid_to_ns"] == own.told["written_ns"] + DAY
    own.server.clocks.to(ends - 1)
    own.use("used in time")
    assert own.state("pending import, used in time") == "ENABLED"
    assert import_refusal(own, "used in time") == "InvalidImportTokenException"
    own.server.clocks.to(ends)
    assert import_refusal(own, "used too late") == "ExpiredImportTokenException"
    key_id, row = own.id("pending import, used too late"), imports["used too late"]
    fresh = kms.get_parameters_for_import(key_id, wrapping_algorithm=row["algorithm"], wrapping_key_spec="RSA_4096")
    encrypted = wrap(fresh.public_key, row["algorithm"], bytes_of(row["material"]))
    kms.import_key_material(key_id, fresh.import_token, encrypted)
    assert own.state("pending import, used too late") == "ENABLED"


def import_refusal(own: Opened, name: str) -> str:
    """The error's name with which that import is refused."""
    with pytest.raises(KMSError) as refused:
        own.use(name)
    return refused.value.code


def test_dates_of_then_are_kept(own: Opened) -> None:
    """Deletion, expiry and rotation come when they were due, and a repeated call is a new one after a day. All else
    opens years later."""
    clocks, kms, written_ns = own.server.clocks, own.home.kms, own.told["written_ns"]
    repeated = own.told["repeated"][0]
    clocks.to(written_ns + DAY)
    assert kms.create_key(**repeated["arguments"]).key_metadata.key_id != own.id("made once")
    clocks.to(written_ns + 20 * DAY - 1)
    assert own.refusals("imported, expires") == {None}
    clocks.to(written_ns + 20 * DAY)
    assert own.refusals("imported, expires") == {"KMSInvalidStateException"}
    wait_until(lambda: own.state("pending deletion, called off later") == "NotFoundException", "its deletion")
    clocks.to(written_ns + 30 * DAY - SECOND)
    assert own.state("pending deletion") == "PENDING_DELETION"
    clocks.to(written_ns + 30 * DAY)
    wait_until(lambda: own.state("pending deletion") == "NotFoundException", "the deletion")
    rotations = len(kms.list_key_rotations(own.id("rotates by itself")).rotations)
    clocks.to(written_ns + 3_000 * DAY)
    wait_until(lambda: len(kms.list_key_rotations(own.id("rotates by itself")).rotations) > rotations, "the rotation")
    lasting = own.told["keys"].keys() - {"imported, expires"}
    for row in own.told["sealed"]:
        assert row["key"] not in lasting or "refusal" in row or own.refusal(row) is None, row["name"]
