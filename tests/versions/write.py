"""Writes the data directory of this version, and what is in it, into tests/vectors/.

    .venv/bin/python -m tests.versions.write

To be run once, before a version is released, on its very code: it takes the version from pyproject.toml and refuses to
write over files that are there, for what a version has written does not change. A real server writes all of it, under
stepped clocks: it starts in July 2017, runs for 90 days, and is stopped. See data_directories.py for the files, and
test_versions.py, which opens every version's with today's code.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from kms_grpc.client.wrapping import wrap
from kms_grpc.errors import NotFoundException
from kms_grpc.v1 import envelope_pb2 as pb
from tests.crypto.make_vectors import drawn
from tests.faults.service import wait_until
from tests.served import REGIONS, clean
from tests.versions.data_directories import DEV, VECTORS, Callers, Region, Server, Told, bytes_of, pack, text_of, told
from tests.workers.stepped import BEGIN, DAY, SECOND, SteppedClocks

ROOT: Final = Path(__file__).resolve().parents[2]
HOME, AWAY = REGIONS
WRITTEN: Final = BEGIN + 90 * DAY
EXPIRES: Final = WRITTEN + 20 * DAY
CONTEXT: Final = {"dept": "it", "größe": "1 μm", "": ""}
TOKENS: Final = {"s3": "token-of-s3-in-vectors", "other": "token-of-other-in-vectors"}
READY_PAIRS: Final = 4
"""Wrapping pairs that lie ready in each region (processes/import_pairs.py)."""
CONFIGURATION: Final = f"""\
[[principals]]
name = "s3"
arn = "arn:aws:iam::123456789012:role/s3"
account = "123456789012"
service = "s3.amazonaws.com"
token = "{TOKENS["s3"]}"
policies = ["full-access"]

[[principals]]
name = "other"
arn = "arn:aws:iam::210987654321:role/other"
account = "210987654321"
token = "{TOKENS["other"]}"
policies = ["full-access"]
"""


class Writer:
    """A server, and the list of what was written with it."""

    def __init__(self, folder: Path) -> None:
        (folder / "kms.toml").write_text(CONFIGURATION)
        (folder / "kms.toml").chmod(0o600)
        self.folder = folder
        self.server = Server(folder, SteppedClocks(folder))
        self.server.start()
        self.callers = Callers(self.server, TOKENS)
        self.keys: dict[str, Told] = {}
        self.sealed: list[Told] = []
        self.imports: dict[str, Told] = {}
        self.given_pairs = 0

    @property
    def home(self) -> Region:
        """The dev caller's clients of the default region."""
        return self.callers.of(HOME)

    def id(self, name: str) -> str:
        """The id of the key of that name."""
        key_id: str = self.keys[name]["key_id"]
        return key_id

    def create(self, name: str, region: str = HOME, caller: str = DEV, **fields: Any) -> str:
        """A new key, which the JSON file calls by that name."""
        made = self.callers.of(region, caller).kms.create_key(f"The key {name}.", **fields).key_metadata
        self.keys[name] = {"region": region, "caller": caller, "key_id": made.key_id}
        return made.key_id

    # --- ciphertexts ------------------------------------------------------------------------------------------------

    def note(self, name: str, key: str, form: str, ciphertext: bytes, plaintext: bytes, context: Told) -> None:
        """Write down what was sealed under the key of that name."""
        where = {"key": key, "region": self.keys[key]["region"], "caller": self.keys[key]["caller"]}
        texts = {"plaintext": text_of(plaintext), "ciphertext": text_of(ciphertext)}
        self.sealed.append({"name": name, **where, "form": form, "context": context, **texts})

    def seal(self, key: str, name: str = "a blob", context: Told = CONTEXT, caller: str | None = None) -> None:
        """A ciphertext blob of Encrypt."""
        row = self.keys[key]
        plaintext = f"{name} of {key}".encode()
        region = self.callers.of(row["region"], caller or row["caller"])
        blob = region.kms.encrypt(row["key_id"], plaintext, context).ciphertext_blob
        self.note(name, key, "blob", blob, plaintext, context)
        self.sealed[-1]["caller"] = caller or row["caller"]

    def seal_in_all_forms(self, key: str, *contexts: Told) -> None:
        """Blobs, wrapped data keys, records and messages, in each of these encryption contexts."""
        for context in contexts:
            self.seal(key, "a blob with a context" if context else "a blob", context)
            self._data_keys(key, context)
            self._batches(key, context)
            self._records(key, context)
            self._messages(key, context)
        self._file(key)

    def _data_keys(self, key: str, context: Told) -> None:
        kms, key_id = self._kms(key)
        for size in (16, 32, 1024):
            made = kms.generate_data_key(key_id, context, number_of_bytes=size)
            self.note(f"a data key of {size} bytes", key, "blob", made.ciphertext_blob, made.plaintext, context)
        unseen = kms.generate_data_key_without_plaintext(key_id, context).ciphertext_blob
        plaintext = kms.decrypt(unseen, context).plaintext
        self.note("a data key without plaintext", key, "blob", unseen, plaintext, context)

    def _batches(self, key: str, context: Told) -> None:
        kms, key_id = self._kms(key)
        plaintexts = [b"one", drawn("a large item", 5_000)]
        items = [pb.EncryptBatchItem(plaintext=each) for each in plaintexts]
        answer = kms.encrypt_batch(items, key_id=key_id, encryption_context=context)
        for result, plaintext in zip(answer.results, plaintexts, strict=True):
            self.note("an item of a batch", key, "blob", result.ciphertext_blob, plaintext, context)
        again = kms.re_encrypt(
            answer.results[0].ciphertext_blob, key_id, source_encryption_context=context,
            destination_encryption_context=context,
        )  # fmt: skip
        self.note("re-encrypted", key, "blob", again.ciphertext_blob, plaintexts[0], context)

    def _records(self, key: str, context: Told) -> None:
        region = self.callers.of(self.keys[key]["region"])
        plaintexts = [b"", b"a record", drawn("a record", 1_000)]
        records = region.envelopes.encrypt_many(self.id(key), plaintexts, context)
        for record, plaintext in zip(records, plaintexts, strict=True):
            self.note(f"a record of {len(plaintext)} bytes", key, "record", record, plaintext, context)

    def _messages(self, key: str, context: Told) -> None:
        region = self.callers.of(self.keys[key]["region"])
        for size in (0, 1, 1024, 2_500):
            content = drawn("a message", size)
            parts = region.streams.encrypt(self.id(key), [content], context, frame_length=1024)
            self.note(f"a message of {size} bytes", key, "message", b"".join(parts), content, context)

    def _file(self, key: str) -> None:
        """The command line's encrypt-file, with its own frame length."""
        source = self.folder / "film"
        source.write_bytes(drawn("a film", 3_000))
        options = ["--key", self.id(key), "--context", "dept=it", "--replace"]
        self.command("encrypt-file", str(source), *options, **self.server.variables(self.keys[key]["region"]))
        content, plaintext = Path(f"{source}.kms").read_bytes(), source.read_bytes()
        self.note("a file", key, "message", content, plaintext, {"dept": "it"})

    def _kms(self, key: str) -> tuple[Any, str]:
        return self.callers.of(self.keys[key]["region"]).kms, self.id(key)

    def command(self, *arguments: str, **environment: str) -> str:
        """Runs a command of `kms-grpc` and returns its output."""
        command = [sys.executable, "-m", "kms_grpc", *arguments]
        done = subprocess.run(command, env=clean() | environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # --- imported material ------------------------------------------------------------------------------------------

    def fetch(self, key: str, material: str, algorithm: str = "RSAES_OAEP_SHA_256", spec: str = "RSA_2048") -> Told:
        """Parameters for an import into that key, and the material of that name wrapped under them."""
        got = self.home.kms.get_parameters_for_import(
            self.id(key), wrapping_algorithm=algorithm, wrapping_key_spec=spec
        )
        self.given_pairs += 1
        encrypted = wrap(got.public_key, algorithm, drawn(material, 32))
        return {
            "key": key,
            "material": text_of(drawn(material, 32)),
            "algorithm": algorithm,
            "public_key": text_of(got.public_key),
            "import_token": text_of(got.import_token),
            "encrypted_key_material": text_of(encrypted),
            "valid_to_ns": got.parameters_valid_to.ToNanoseconds(),
        }

    def imported(self, key: str, material: str, **terms: Any) -> None:
        """Import the material of that name into the key, which is made where there is none."""
        if key not in self.keys:
            self.create(key, origin="EXTERNAL")
        got = self.fetch(key, material)
        token, encrypted = bytes_of(got["import_token"]), bytes_of(got["encrypted_key_material"])
        self.home.kms.import_key_material(self.id(key), token, encrypted, **terms)

    # --- the end ----------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Told]:
        """All keys with the answers that describe them."""
        return {
            name: row | self.callers.of(row["region"], row["caller"]).describe(row["key_id"])
            for name, row in self.keys.items()
        }

    def close(self) -> None:
        """Stop the server as an administrator does before an upgrade."""
        self.callers.close()
        assert self.server.stop() == 0


# --- what is written ---------------------------------------------------------------------------------------------


def what_time_changes(writer: Writer) -> Told:
    """A key that rotates by itself and one that is deleted at its date. Returns what is known of the latter."""
    kms = writer.home.kms
    writer.create("rotates by itself")
    kms.enable_key_rotation(writer.id("rotates by itself"), 90)
    writer.seal("rotates by itself", "a blob of the first material")
    writer.create("deleted")
    writer.seal("deleted")
    kms.schedule_key_deletion(writer.id("deleted"), 7)
    writer.server.clocks.to(WRITTEN)
    wait_until(lambda: len(kms.list_key_rotations(writer.id("rotates by itself")).rotations) == 1, "the rotation")
    wait_until(lambda: _is_gone(writer, "deleted"), "the deletion")
    writer.seal("rotates by itself", "a blob of the second material")
    return {**writer.keys.pop("deleted"), "blob": writer.sealed.pop(1)}


def _is_gone(writer: Writer, key: str) -> bool:
    try:
        writer.home.kms.describe_key(writer.id(key))
    except NotFoundException:
        return True
    return False


def usable_keys(writer: Writer) -> None:
    """Keys in both regions, with everything that is sealed under a key; one that was rotated, one of another account,
    one that AWS manages."""
    kms = writer.home.kms
    writer.create("enabled", tags={"team": "it", "größe": "1 μm", "empty": ""})
    for alias in ("alias/enabled", "alias/enabled/again"):
        kms.create_alias(alias, writer.id("enabled"))
    writer.seal_in_all_forms("enabled", {}, CONTEXT)
    writer.create("away", AWAY, tags={"team": "away"})
    writer.callers.of(AWAY).kms.create_alias("alias/enabled", writer.id("away"))
    writer.seal_in_all_forms("away", CONTEXT)
    writer.create("rotated")
    for number in range(4):
        writer.seal("rotated", f"a blob of material {number}")
        if number < 3:
            kms.rotate_key_on_demand(writer.id("rotated"))
    writer.create("of another account", caller="other")
    writer.seal("of another account")
    managed = kms.describe_key("alias/aws/s3").key_metadata.key_id
    writer.keys["managed"] = {"region": HOME, "caller": DEV, "key_id": managed}
    writer.seal("managed", caller="s3")


def unusable_keys(writer: Writer) -> None:
    """Keys that refuse to decrypt, each with a blob of its better days."""
    kms = writer.home.kms
    for name in ("disabled", "pending deletion", "pending deletion, called off later"):
        writer.create(name)
        writer.seal(name)
    kms.disable_key(writer.id("disabled"))
    kms.schedule_key_deletion(writer.id("pending deletion"), 30)
    kms.schedule_key_deletion(writer.id("pending deletion, called off later"), 7)
    for each in writer.sealed[-3:]:
        each["refusal"] = "DisabledException" if each["key"] == "disabled" else "KMSInvalidStateException"


def imported_keys(writer: Writer) -> None:
    """External keys in all their states, and imports that are still to be made."""
    kms = writer.home.kms
    writer.imported("imported", "material 1", key_material_description="made outside")
    writer.seal("imported")
    writer.imported("imported, expires", "material 2", valid_to=datetime.fromtimestamp(EXPIRES / SECOND, UTC))
    writer.seal("imported, expires")
    for key in ("imported, rotated", "imported, to be rotated"):
        writer.imported(key, f"first material of {key}")
        writer.seal(key, "a blob of the first material")
        writer.imported(key, f"second material of {key}", import_type="NEW_KEY_MATERIAL")
    kms.rotate_key_on_demand(writer.id("imported, rotated"))
    writer.seal("imported, rotated", "a blob of the second material")
    writer.imported("imported, lost", "lost material")
    writer.seal("imported, lost")
    writer.sealed[-1]["refusal"] = "KMSInvalidStateException"
    kms.delete_imported_key_material(writer.id("imported, lost"))
    writer.imports["lost"] = writer.fetch("imported, lost", "lost material")
    for name, *how in (("used in time", "RSA_AES_KEY_WRAP_SHA_256", "RSA_3072"), ("used too late",)):
        writer.create(f"pending import, {name}", origin="EXTERNAL")
        writer.imports[name] = writer.fetch(f"pending import, {name}", f"material {name}", *how)


def repeated_calls(writer: Writer) -> list[Told]:
    """Calls with a request id of their own, and what they were answered."""
    kms = writer.home.kms
    created = kms.create_key("made once", tags={"a": "b"}, request_id="request-of-vectors-1")
    writer.keys["made once"] = {"region": HOME, "caller": DEV, "key_id": created.key_metadata.key_id}
    arguments = {"alias_name": "alias/made-once", "target_key_id": writer.id("made once")}
    aliased = kms.create_alias(**arguments, request_id="request-of-vectors-2")
    return [
        {
            "method": "create_key",
            "arguments": {"description": "made once", "tags": {"a": "b"}, "request_id": "request-of-vectors-1"},
            "answer": told(created),
        },
        {
            "method": "create_alias",
            "arguments": arguments | {"request_id": "request-of-vectors-2"},
            "answer": told(aliased),
        },
    ]


def markers(writer: Writer) -> list[Told]:
    """First pages of all listings, each with its marker and the page that it leads to."""
    rotated, tagged = {"key_id": writer.id("rotated")}, {"key_id": writer.id("enabled")}
    listings: list[tuple[str, Told]] = [
        ("list_keys", {}), ("list_aliases", {}), ("list_aliases", tagged), ("list_resource_tags", tagged),
        ("list_key_rotations", rotated),
    ]  # fmt: skip
    rows = []
    for method, arguments in listings:
        listing: Callable[..., Any] = getattr(writer.home.kms, method)
        marker = listing(limit=1, **arguments).next_marker
        following = told(listing(limit=1, marker=marker, **arguments))
        rows.append({"method": method, "arguments": arguments, "marker": marker, "following": following})
    return rows


def access_keys(writer: Writer) -> dict[str, Told]:
    """Two access keys of the dev caller, one of which was deleted again."""
    where = ("--dev", "--data-dir", str(writer.server.data_dir))
    options = (*where, "--output", "json", "--config", str(writer.folder / "kms.toml"))
    command, clocks = ("principals", "access-key"), writer.server.clocks.environment
    made = {}
    for name in ("kept", "deleted"):
        made[name] = json.loads(writer.command(*command, "create", DEV, *options, **clocks))["AccessKey"]
    writer.command(*command, "delete", made["deleted"]["AccessKeyId"], *options, **clocks)
    return made


def write(writer: Writer) -> Told:
    """Makes all that the data directory holds, and returns the content of the JSON file."""
    gone = what_time_changes(writer)
    usable_keys(writer)
    unusable_keys(writer)
    imported_keys(writer)
    wait_until(lambda: _ready_pairs(writer) >= READY_PAIRS * len(REGIONS), "wrapping pairs that lie ready", 120)
    return {
        "written_ns": WRITTEN,
        "dev_token": writer.server.token,
        "tokens": TOKENS,
        "repeated": repeated_calls(writer),
        "markers": markers(writer),
        "access_keys": access_keys(writer),
        "keys": writer.describe(),
        "gone": gone,
        "imports": writer.imports,
        "sealed": writer.sealed,
    }


def _ready_pairs(writer: Writer) -> int:
    """How many were made and not given to a key."""
    log = (writer.server.data_dir / "audit" / "keeper.jsonl").read_text()
    return log.count('"GenerateDataKeyPairWithoutPlaintext"') - writer.given_pairs


def main() -> None:
    """Write the files of the version that pyproject.toml names."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    if (VECTORS / f"data_directory_{version}.zip").exists():
        sys.exit(f"the data directory of {version} is there: give the new version its number in pyproject.toml first")
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(Path(folder))
        try:
            written = write(writer)
            writer.close()
        finally:
            writer.server.close()
        pack(writer.folder, version, {"version": version} | written)


if __name__ == "__main__":
    main()
