"""The keyring: its memory pages, forks, eviction and limits, observed in processes of keyring_process.py."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES256

from kms_grpc.crypto import envelope, keyring
from kms_grpc.crypto._native import lib
from kms_grpc.crypto.errors import StaleHandle
from tests.crypto import second_reader, second_record_reader, second_wrapper
from tests.crypto.conftest import Loaded
from tests.crypto.make_import_vectors import PAIRS
from tests.crypto.make_vectors import KEY_ID

ROOT = Path(__file__).resolve().parents[2]
SANITIZED = "KMS_GRPC_SANITIZED" in os.environ  # AddressSanitizer makes mlock do nothing
SECRETS = {name: os.urandom(32) for name in ("root key", "region key", "material")}
KEY = second_reader.Key(KEY_ID, "arn", SECRETS["material"])


@pytest.fixture(scope="module")
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a root key and keys wrapped under it. This process knows the secrets; the scripts do not."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "root.key").touch(0o600)
    (folder / "root.key").write_bytes(SECRETS["root key"])
    place, nonce = b"place", os.urandom(24)
    row = {
        "region_place": place,
        "region": second_reader.wrap(
            SECRETS["root key"], second_reader.REGION_KEY, SECRETS["region key"], place, nonce
        ),
        "kid": KEY.kid,
        "material_id": KEY.material_id,
        "place": place,
        "material": second_reader.wrap(SECRETS["region key"], second_reader.MATERIAL, KEY.material, place, nonce),
        "pair": second_wrapper.wrap(KEY.message_root, second_wrapper.PAIR, PAIRS[2048].pkcs8, b"pair", nonce),
        "encrypted": second_wrapper.wrap_for(PAIRS[2048], "RSAES_OAEP_SHA_1", KEY.material, os.urandom(32), b""),
    }
    (folder / "keys.json").write_text(json.dumps({name: value.hex() for name, value in row.items()}))
    return folder


def command(name: str, folder: Path) -> list[str]:
    return [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.crypto.keyring_process", name, str(folder)]


def run(name: str, folder: Path, before: tuple[str, ...] = ()) -> Any:
    done = subprocess.run([*before, *command(name, folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- pages and forks ---------------------------------------------------------------------------------------------


LOCKED = [] if SANITIZED else ["lo"]


def test_pages_are_locked_excluded_from_dumps_and_wiped_on_fork(key_folder: Path) -> None:
    report = run("mapping", key_folder)
    assert report["after"] == [[*LOCKED, "dd", "wf"]]
    assert report["facts"] == {
        "slots": 1000,
        "used": 0,
        "locked": True,
        "left_out_of_dumps": True,
        "wiped_on_fork": True,
    }
    assert report["in a child"] == [["dd", "wf"]], "mlock is not inherited, so a child has to open the keyring again"
    assert report["in a child that opened it anew"] == [[*LOCKED, "dd", "wf"]]


def test_a_forked_child_gets_keyring_lost_and_no_output(key_folder: Path) -> None:
    report = run("forked", key_folder)
    assert report["lost"].pop("facts") == "0"
    assert set(report["lost"].values()) == {"KeyringLost"}, report["lost"]
    assert report["raw"] == [[lib.KMS_KEYRING_LOST, False]] * 11
    assert report["the parent's handles"] == ["StaleHandle", "StaleHandle", "done"]
    assert report["anew"]
    assert report["handles differ"]
    assert report["the parent goes on"]


def test_a_fork_in_the_middle_of_a_batch_in_another_thread(key_folder: Path) -> None:
    report = run("forked_while_a_thread_seals", key_folder)
    assert len(report["children"]) == 25
    assert {tuple(set(child.values())) for child in report["children"]} == {("KeyringLost",)}
    assert report["batches"] > 0
    assert report["the parent goes on"]


# --- memory ------------------------------------------------------------------------------------------------------


def round_keys(key: bytes) -> list[bytes]:
    """Returns the 15 round keys of AES-256 (FIPS 197)."""
    words = [key[i : i + 4] for i in range(0, 32, 4)]
    constant = 1
    for i in range(8, 60):
        word = words[-1]
        if i % 8 == 0:
            word = bytes(
                a ^ b for a, b in zip(substitute(word[1:] + word[:1]), bytes([constant, 0, 0, 0]), strict=True)
            )
            constant <<= 1
        elif i % 8 == 4:
            word = substitute(word)
        words.append(bytes(a ^ b for a, b in zip(words[-8], word, strict=True)))
    return [b"".join(words[i : i + 4]) for i in range(0, 60, 4)]


def substitute(word: bytes) -> bytes:
    return bytes(SBOX[byte] for byte in word)


def _sbox() -> bytes:
    """Returns the S-box: the affine transform of the inverse in GF(2^8), x^8 + x^4 + x^3 + x + 1, by the generator
    3."""
    box, p, q = bytearray(256), 1, 1
    while True:
        p ^= (p << 1) & 0xFF ^ (0x1B if p & 0x80 else 0)
        for shift in (1, 2, 4):
            q ^= (q << shift) & 0xFF
        q ^= 0x09 if q & 0x80 else 0
        rotated = [(q << n | q >> (8 - n)) & 0xFF for n in range(5)]
        box[p] = rotated[0] ^ rotated[1] ^ rotated[2] ^ rotated[3] ^ rotated[4] ^ 0x63
        if p == 1:
            break
    box[0] = 0x63
    return bytes(box)


SBOX = _sbox()


def test_the_key_schedule_matches_fips_197() -> None:
    """Compares words 56 to 59 with the example of appendix A.3."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    assert round_keys(key)[14].hex() == "fe4890d1e6188d0b046df344706c631e"


def needles(blob: bytes, record: bytes) -> dict[str, bytes]:
    """Returns all secrets of the process: keys, subkeys, key schedules, padded HMAC keys."""
    wrapped = second_record_reader.wrapped_of(record)
    data_key = second_reader.xaes_open(KEY.message_root, wrapped[55:79], wrapped[79:], wrapped[:79] + bytes(4))
    record_root = second_reader.derive(data_key, second_record_reader.LABEL)
    derived = {
        "wrapping key of region keys": second_reader.derive(SECRETS["root key"], second_reader.REGION_KEY),
        "wrapping key of material": second_reader.derive(SECRETS["region key"], second_reader.MATERIAL),
        "key of row MACs": second_reader.derive(SECRETS["region key"], "kms-grpc v1 row mac"),
        "wrapping key of pairs": second_reader.derive(KEY.message_root, second_wrapper.PAIR),
        "message root K": KEY.message_root,
        "message key": second_reader.message_key(KEY.message_root, blob[55:79]),
        "data key": data_key,
        "record root": record_root,
        "record's message key": second_reader.message_key(record_root, record[163:187]),
    }
    found = dict(SECRETS | derived)
    for name, key in (SECRETS | derived).items():
        found |= {f"{name}, {pad:#x}": bytes(byte ^ pad for byte in key) for pad in (0x36, 0x5C)}
    for name, key in derived.items():
        found |= {f"{name}, round key {i}": round_key for i, round_key in enumerate(round_keys(key))}
    found |= {"K1": subkey(KEY.message_root), "record root's K1": subkey(record_root)}
    return found | {
        "hash key H": encrypted(derived["message key"], bytes(16)),
        "record's hash key H": encrypted(derived["record's message key"], bytes(16)),
    }


def encrypted(key: bytes, block: bytes) -> bytes:
    return Cipher(AES256(key), modes.ECB()).encryptor().update(block)


def subkey(key: bytes) -> bytes:
    doubled = int.from_bytes(encrypted(key, bytes(16)), "big") << 1
    return (doubled ^ (0x87 if doubled >> 128 else 0)).to_bytes(17, "big")[1:]


def memory(pid: int) -> Iterator[tuple[str, bytes]]:
    """Yields every readable mapping of a process with its flags."""
    smaps = Path(f"/proc/{pid}/smaps").read_text()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as mem:
        for start, end, rest in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) (r.*?VmFlags: [^\n]*)", smaps, re.M | re.S):
            size, flags = int(end, 16) - int(start, 16), rest.rsplit("VmFlags:", 1)[1]
            shadow = size > 2**30 and " dd" in flags  # of AddressSanitizer, which has no copies of the process's bytes
            if shadow or "[vvar" in rest or "[vsyscall]" in rest or re.search(r"\nRss: +0 kB", rest):
                continue
            mem.seek(int(start, 16))
            yield flags, mem.read(size)


def places(pid: int, wanted: dict[str, bytes]) -> dict[str, list[str]]:
    """Returns for each secret that was found, "keyring" or "elsewhere" for each of its places."""
    found: dict[str, list[str]] = {}
    for flags, content in memory(pid):
        where = "keyring" if " wf" in flags else "elsewhere"
        for name, needle in wanted.items():
            found.setdefault(name, []).extend([where] * content.count(needle))
    return {name: where for name, where in found.items() if where}


IN_THE_KEYRING = {"root key", "region key", "message root K", "K1", "record root", "record root's K1"}


def test_eviction_leaves_no_byte_of_a_key_in_memory(key_folder: Path) -> None:
    """This process knows the secrets and reads the memory of another, which never had them as Python objects."""
    with subprocess.Popen(
        command("work_then_evict", key_folder), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        before = json.loads(process.stdout.readline())
        wanted = needles(bytes.fromhex(before["blob"]), bytes.fromhex(before["record"]))
        held = places(process.pid, wanted)
        process.stdin.write("\n")
        process.stdin.flush()
        after = json.loads(process.stdout.readline())
        left = places(process.pid, wanted)
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait() == 0
    assert {name: where for name, where in held.items() if "elsewhere" in where} == {}
    assert {name for name in held if "round" not in name} == IN_THE_KEYRING
    assert before["used"] > after["used"] == 0
    assert left == {}


# --- limits ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(SANITIZED, reason="AddressSanitizer replaces mlock by nothing")
def test_a_process_that_may_not_lock_memory_works_and_reports_it(key_folder: Path) -> None:
    drop = ("setpriv", "--bounding-set=-ipc_lock") if os.geteuid() == 0 else ()
    report = run("unlocked", key_folder, ("sh", "-c", 'ulimit -l 0; exec "$@"', "sh", *drop))
    assert report["facts"] | {"used": 0, "slots": 0} == {
        "slots": 0,
        "used": 0,
        "locked": False,
        "left_out_of_dumps": True,
        "wiped_on_fork": True,
    }
    assert report["works"]


def test_a_full_keyring_is_an_error(key_folder: Path) -> None:
    assert run("full", key_folder) == {"used": 40, "distinct": True, "another handle": True}


def test_a_keyring_that_was_never_opened_is_lost(key_folder: Path) -> None:
    assert run("never_opened", key_folder) == ["KeyringLost"] * 3 + [0]


def test_core_dumps_can_be_forbidden(key_folder: Path) -> None:
    assert run("no_core_dumps", key_folder) == [0, [0, 0]]
    assert resource.getrlimit(resource.RLIMIT_CORE) is not None


def test_evicting_a_key_while_other_threads_use_it(key_folder: Path) -> None:
    """Each call has the whole key or none. A mixture of keys would give a blob that the steady handle cannot open."""
    report = run("readers_and_an_evictor", key_folder)
    assert report["sealed"] >= 3000
    assert report["stale"] >= 20


def test_no_concurrent_read_mixes_two_keys(core: ModuleType) -> None:
    """Repeats the test above in C at full speed, because a reader meets a writer only within nanoseconds."""
    assert core.lib.kms_keyring_open(64) == lib.KMS_OK
    read, torn = core.ffi.new("size_t *"), core.ffi.new("size_t *")
    total = 0
    for _ in range(40):
        assert core.lib.kms_test_torn_reads(read, torn, 200_000) == lib.KMS_OK
        assert torn[0] == 0
        total += read[0]
    assert total > 0


@pytest.mark.parametrize("handle", [0, 1, 5 << 32, 2**32 - 1, 2**64 - 1])
def test_invalid_handles_are_stale(key: Loaded, handle: int) -> None:
    with pytest.raises(StaleHandle):
        envelope.seal(handle, key.prefix, b"", b"x")
    keyring.evict(handle)


# --- libcrypto ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "helped"),
    [
        ("fpu aes avx512f avx512bw avx512dq avx512vl vaes vpclmulqdq", lib.kms_libcrypto_number() < 0x30100000),
        ("fpu aes vaes vpclmulqdq", False),
        ("fpu aes", False),
    ],
)
def test_libcrypto_advice_depends_on_processor_and_version(tmp_path: Path, flags: str, helped: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    advice = keyring.libcrypto_advice(cpuinfo)
    assert (advice is not None) == helped
    assert advice is None or advice.startswith(keyring.libcrypto_version())


def test_no_libcrypto_advice_without_cpuinfo(tmp_path: Path) -> None:
    assert keyring.libcrypto_advice(tmp_path / "missing") is None
    assert re.match(r"OpenSSL 3\.\d+\.\d+", keyring.libcrypto_version())
