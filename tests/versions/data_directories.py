"""Data directories that a version of kms-grpc has written: how they are packed, unpacked, served and read.

tests/vectors/ has two files of each version:

| file | content |
|---|---|
| data_directory_VERSION.zip | `kms.toml`, the server's configuration; `data/`, the data directory, the server stopped |
| data_directory_VERSION.json | what is in it: answers that describe each key, ciphertexts with plaintexts, … |

write.py makes them. The clocks of servers on them are stepped, from the moment of writing on: so nothing in them grows
old. Bytes are in base64 in the JSON file; answers are in protobuf's JSON form.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from kms_grpc.client import EnvelopeClient, KeyManagementClient, StreamClient
from kms_grpc.errors import KMSError
from tests.served import Served
from tests.workers.stepped import SteppedClocks

VECTORS: Final = Path(__file__).resolve().parent.parent / "vectors"
DEV: Final = "dev"
"""The caller that --dev lets in. Others are known by the token of that name in the JSON file."""

Told = dict[str, Any]


def versions() -> list[str]:
    """The versions whose data directories are kept."""
    return sorted(path.stem.removeprefix("data_directory_") for path in VECTORS.glob("data_directory_*.zip"))


@functools.cache
def told_of(version: str) -> Told:
    """Returns the contents of the JSON file that describes a version's data directory."""
    told: Told = json.loads((VECTORS / f"data_directory_{version}.json").read_text())
    return told


def pack(folder: Path, version: str, told: Told) -> None:
    """Write both files. `folder` has kms.toml and data/."""
    with zipfile.ZipFile(VECTORS / f"data_directory_{version}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as to:
        for path in [folder / "kms.toml", *sorted((folder / "data").rglob("*"))]:
            if path.is_file():
                to.write(path, path.relative_to(folder))
    (VECTORS / f"data_directory_{version}.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def unpack(version: str, folder: Path) -> None:
    """Make kms.toml and data/ in `folder`, readable by their owner alone as the server wants them. Version 0.1.0 knew
    no policies: its callers are given those that let them do what they could, as its configuration's error says."""
    with zipfile.ZipFile(VECTORS / f"data_directory_{version}.zip") as archive:
        archive.extractall(folder)
    configuration = folder / "kms.toml"
    if version == "0.1.0":
        text = re.sub(r"^token = .*$", r'\g<0>\npolicies = ["full-access"]', configuration.read_text(), flags=re.M)
        configuration.write_text(text)
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)


class Server(Served):
    """A server on FOLDER/data that goes by stepped clocks, with both doors."""

    def __init__(self, folder: Path, clocks: SteppedClocks) -> None:
        options = ["--config", str(folder / "kms.toml"), "--aws-listen", "127.0.0.1:0"]
        super().__init__(folder / "data", options, environment=clocks.environment)
        self.clocks = clocks

    @property
    def url(self) -> str:
        """The address of the AWS door."""
        return "http://" + (self.data_dir / "run" / "aws-address").read_text().split()[0]


class Region:
    """One caller's clients of one region."""

    def __init__(self, server: Served, name: str, token: str) -> None:
        self.kms: KeyManagementClient = server.client(name, token)
        self.streams = StreamClient(server.address, token=token, region=name)
        self.envelopes = EnvelopeClient(self.kms)

    def open(self, form: str, ciphertext: bytes, context: dict[str, str]) -> bytes:
        """The plaintext of a ciphertext blob, a record of EnvelopeClient or a message of EncryptStream."""
        if form == "record":
            return self.envelopes.decrypt(ciphertext, context)
        if form == "message":
            return b"".join(self.streams.decrypt([ciphertext], context))
        plaintext: bytes = self.kms.decrypt(ciphertext, context).plaintext
        return plaintext

    def refusal(self, form: str, ciphertext: bytes, context: dict[str, str]) -> str | None:
        """The name of the error that `open` ends in; None where it opens."""
        try:
            self.open(form, ciphertext, context)
        except KMSError as error:
            return error.code
        return None

    def describe(self, key_id: str) -> Told:
        """All that the service says of a key; where it refuses an answer, the error's name."""
        kms = self.kms
        calls: dict[str, Callable[[], Any]] = {
            "metadata": lambda: kms.describe_key(key_id),
            "aliases": lambda: kms.list_aliases(key_id=key_id),
            "tags": lambda: kms.list_resource_tags(key_id),
            "rotation": lambda: kms.get_key_rotation_status(key_id),
            "materials": lambda: kms.list_key_rotations(key_id, include_key_material="ALL_KEY_MATERIAL"),
        }
        return {name: _answer_of(call) for name, call in calls.items()}

    def close(self) -> None:
        """Close the connections."""
        self.envelopes.close()
        self.streams.close()
        self.kms.close()


def _answer_of(call: Callable[[], Any]) -> Told:
    try:
        return told(call())
    except KMSError as error:
        return {"refusal": error.code}


class Callers:
    """Clients of a server, by caller and region."""

    def __init__(self, server: Served, tokens: dict[str, str]) -> None:
        self._server, self._tokens = server, tokens
        self._regions: dict[tuple[str, str], Region] = {}

    def of(self, region: str, caller: str = DEV) -> Region:
        """One caller's clients of one region, made when they are first asked for."""
        if (region, caller) not in self._regions:
            token = self._server.token if caller == DEV else self._tokens[caller]
            self._regions[region, caller] = Region(self._server, region, token)
        return self._regions[region, caller]

    def close(self) -> None:
        """Close all connections."""
        for region in self._regions.values():
            region.close()


def told(message: Message) -> Told:
    """An answer in protobuf's JSON form."""
    made: Told = MessageToDict(message, preserving_proto_field_name=True)
    return made


def text_of(content: bytes) -> str:
    """Returns bytes as text for the JSON file."""
    return base64.b64encode(content).decode()


def bytes_of(text: str) -> bytes:
    """Returns the bytes that such a text stands for."""
    return base64.b64decode(text)
