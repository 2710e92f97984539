"""Import of key material that the second implementation, `cryptography` and openssl wrap."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cryptography_vectors
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from kms_grpc.crypto import envelope, import_wrapping, key_wrapping, keyring
from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.errors import CryptoFailure, StaleHandle, WrappedKeyDamaged
from kms_grpc.errors import InvalidCiphertextException
from tests.crypto import make_import_vectors, second_reader, second_wrapper, test_keyring
from tests.crypto.conftest import VECTORS, Loaded
from tests.crypto.make_import_vectors import AES_KEY, ALGORITHMS, KEY, MATERIAL, PAIRS, SEED
from tests.crypto.make_vectors import REGION_SECRET, flipped
from tests.crypto.second_wrapper import PAIR, wrap_for

key_folder = test_keyring.key_folder  # the fixture
ROWS = json.loads((VECTORS / make_import_vectors.NAME).read_text())
STORED = {row["bits"]: (bytes.fromhex(row["place"]), bytes.fromhex(row["wrapped"])) for row in ROWS["pairs"]}
PLACE, SIZES = b"a place", (2048, 3072, 4096)


def unwrap(region: int, bits: int, algorithm: str, encrypted: bytes) -> tuple[bytes, bytes]:
    return import_wrapping.unwrap_material(region, KEY.kid, PLACE, region, *STORED[bits], algorithm, encrypted)


def stored_material(wrapped: bytes) -> bytes:
    return second_reader.unwrap(REGION_SECRET, second_reader.MATERIAL, wrapped, PLACE)


# --- valid imports -----------------------------------------------------------------------------------------------


def test_the_committed_vectors_come_from_the_second_implementation() -> None:
    assert (VECTORS / make_import_vectors.NAME).read_text() == make_import_vectors.text()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("row", ROWS["pairs"], ids=lambda row: row["bits"])
def test_imported_material_works(region: int, row: dict[str, Any], algorithm: str) -> None:
    material_id, wrapped = unwrap(region, row["bits"], algorithm, bytes.fromhex(row["imports"][algorithm]))
    assert material_id.hex() == ROWS["key"]["material_id"]
    assert material_id == second_reader.derive(MATERIAL, "kms-grpc v1 material id", KEY.kid)
    assert stored_material(wrapped) == MATERIAL
    handle = key_wrapping.load_material(region, KEY.kid, material_id, PLACE, wrapped)
    assert KEY.open(envelope.seal(handle, KEY.prefix, KEY.associated({}), b"x"), {}) == b"x"
    keyring.evict(handle)


@pytest.mark.parametrize("bits", SIZES)
def test_a_generated_pair_works(region: int, key: Loaded, bits: int) -> None:
    """`cryptography` checks and uses the pair. It is wrapped under a message root, the 2,048-bit pair also a region
    key."""
    for wrapping in [key.handle] + [region] * (bits == 2048):
        public_key, wrapped = import_wrapping.generate_wrapping_pair(wrapping, bits, b"pair")
        public = serialization.load_der_public_key(public_key)
        assert isinstance(public, rsa.RSAPublicKey)
        assert (public.key_size, public.public_numbers().e) == (bits, 65537)
        place = (region, KEY.kid, PLACE, wrapping, b"pair", wrapped)
        for algorithm in ALGORITHMS:
            material_id, stored = import_wrapping.unwrap_material(*place, algorithm, by_cryptography(public, algorithm))
            assert (material_id, stored_material(stored)) == (KEY.material_id, MATERIAL)
    if bits == 2048:  # the last pair is under the region key, which the second implementation knows
        pkcs8 = second_wrapper.unwrap(REGION_SECRET, PAIR, wrapped, b"pair")
        private = serialization.load_der_private_key(pkcs8, None)
        assert isinstance(private, rsa.RSAPrivateKey)
        assert private.public_key().public_numbers() == public.public_numbers()
        again = (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        assert private.private_bytes(*again) == pkcs8, "the encoding is DER"


def by_cryptography(public: rsa.RSAPublicKey, algorithm: str) -> bytes:
    chosen = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()
    oaep = padding.OAEP(padding.MGF1(chosen), chosen, None)
    if algorithm.startswith("RSAES_OAEP"):
        return public.encrypt(MATERIAL, oaep)
    return public.encrypt(AES_KEY, oaep) + aes_key_wrap_with_padding(AES_KEY, MATERIAL)


def test_a_pair_under_an_ordinary_key_works(region: int, key: Loaded) -> None:
    """A pair can be wrapped under the message root of an ordinary key, as AWS owned keys of the registry are."""
    public_key, pair = import_wrapping.generate_wrapping_pair(key.handle, 2048, b"pair")
    pkcs8 = second_wrapper.unwrap(KEY.message_root, PAIR, pair, b"pair")
    private, public = serialization.load_der_private_key(pkcs8, None), serialization.load_der_public_key(public_key)
    assert private.public_key() == public
    assert isinstance(public, rsa.RSAPublicKey)
    encrypted = by_cryptography(public, "RSAES_OAEP_SHA_256")
    place = (region, KEY.kid, PLACE, key.handle, b"pair", pair)
    assert import_wrapping.unwrap_material(*place, "RSAES_OAEP_SHA_256", encrypted)[0] == KEY.material_id


def test_pairs_differ(region: int) -> None:
    made = [import_wrapping.generate_wrapping_pair(region, 2048, b"") for _ in range(2)]
    assert len({part for pair in made for part in pair}) == 4


# --- openssl -----------------------------------------------------------------------------------------------------

PKEYUTL = "openssl pkeyutl -encrypt -pubin -keyform DER -inkey PublicKey.bin -pkeyopt rsa_padding_mode:oaep"
OPENSSL = {
    "rsautl": "openssl rsautl -encrypt -in {} -oaep -inkey PublicKey.bin -keyform DER -pubin -out {}",
    "SHA_1": PKEYUTL + " -in {} -out {}",
    "SHA_256": PKEYUTL + " -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256 -in {} -out {}",
}
KEY_WRAP = "openssl enc -id-aes256-wrap-pad -iv A65959A6 -K {} -in PlaintextKeyMaterial.bin -out wrapped.bin"


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here")
@pytest.mark.parametrize("bits", SIZES)
@pytest.mark.parametrize("algorithm", ["rsautl", *ALGORITHMS])
def test_material_that_openssl_wraps_imports(region: int, tmp_path: Path, bits: int, algorithm: str) -> None:
    """The commands that users type work; `rsautl -oaep` is RSAES_OAEP_SHA_1."""
    (tmp_path / "PublicKey.bin").write_bytes(PAIRS[bits].public_key)
    (tmp_path / "PlaintextKeyMaterial.bin").write_bytes(MATERIAL)
    (tmp_path / "aes.bin").write_bytes(AES_KEY)
    command = OPENSSL[algorithm.removeprefix("RSAES_OAEP_").removeprefix("RSA_AES_KEY_WRAP_")]

    def run(line: str) -> None:
        subprocess.run(line.split(), cwd=tmp_path, check=True, capture_output=True, timeout=60)

    if algorithm.startswith("RSA_AES"):
        run(command.format("aes.bin", "key.bin"))
        run(KEY_WRAP.format(AES_KEY.hex()))
        encrypted = b"".join((tmp_path / name).read_bytes() for name in ("key.bin", "wrapped.bin"))
    else:
        run(command.format("PlaintextKeyMaterial.bin", "EncryptedKeyMaterial.bin"))
        encrypted = (tmp_path / "EncryptedKeyMaterial.bin").read_bytes()
    name = "RSAES_OAEP_SHA_1" if algorithm == "rsautl" else algorithm
    material_id, wrapped = unwrap(region, bits, name, encrypted)
    assert (material_id, stored_material(wrapped)) == (KEY.material_id, MATERIAL)


# --- invalid imports -----------------------------------------------------------------------------------------------


def refuse(region: int, algorithm: str, encrypted: bytes, why: str) -> None:
    """Requires InvalidCiphertextException without a message, and zeroed outputs."""
    with pytest.raises(InvalidCiphertextException) as refused:
        unwrap(region, 2048, algorithm, encrypted)
    assert str(refused.value) == "", why
    material_id, wrapped = ffi.new("uint8_t[]", b"\1" * 32), ffi.new("uint8_t[]", b"\1" * 105)
    place, pair = STORED[2048]
    head = (region, KEY.kid, PLACE, len(PLACE), region, place, len(place), pair, len(pair))
    what = (import_wrapping.ALGORITHMS[algorithm], encrypted, len(encrypted))
    assert lib.kms_material_import(material_id, wrapped, *head, *what) == lib.KMS_INVALID_CIPHERTEXT, why
    assert bytes(ffi.buffer(material_id))[:32] + bytes(ffi.buffer(wrapped))[:105] == bytes(137), why


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_invalid_material_is_rejected(region: int, algorithm: str) -> None:
    rows = [row for row in ROWS["malformed"] if row["algorithm"] == algorithm]
    assert len(rows) > 30
    for row in rows:
        refuse(region, algorithm, bytes.fromhex(row["encrypted"]), row["reason"])


@pytest.mark.parametrize("algorithm", ALGORITHMS[1:3])
def test_changed_bytes_and_other_lengths_are_rejected(region: int, algorithm: str) -> None:
    right = wrap_for(PAIRS[2048], algorithm, MATERIAL, SEED, AES_KEY)
    for at in range(len(right)):
        refuse(region, algorithm, flipped(right, at), f"byte {at}")
    for size in range(len(right)):
        refuse(region, algorithm, right[:size], f"{size} bytes")
    unwrap(region, 2048, algorithm, right)


def test_a_damaged_pair_is_told_from_invalid_material(region: int, key: Loaded) -> None:
    """A damaged pair raises WrappedKeyDamaged, whatever was sent."""
    place, wrapped = STORED[2048]
    head, tail = (region, KEY.kid, PLACE), ("RSAES_OAEP_SHA_1", bytes(256))
    damaged = [flipped(wrapped, at) for at in range(0, len(wrapped), 7)]
    for bad in [*damaged, wrapped[:-1], wrapped + b"\0", wrapped[:73], wrapped[:74], b"", bytes(5000)]:
        with pytest.raises(WrappedKeyDamaged):
            import_wrapping.unwrap_material(*head, region, place, bad, *tail)
    for wrapping, moved in [(region, place + b" "), (region, STORED[3072][0]), (key.handle, place)]:
        with pytest.raises(WrappedKeyDamaged):
            import_wrapping.unwrap_material(*head, wrapping, moved, wrapped, *tail)


def pkcs8_variants() -> Iterator[tuple[str, bytes]]:
    right = PAIRS[2048].pkcs8
    for at in range(64):
        yield f"byte {at} of the frame", flipped(right, at)
    for size in (1, 2, 3, 4, 5, 26, 30, 300, 700, 1000, len(right) - 1):
        yield f"{size} bytes", right[:size]
    yield "a byte appended", right + b"\0"
    yield "a length that points beyond", right[:2] + b"\xff\xff" + right[4:]
    yield "an indefinite length", b"\x30\x80" + right[4:]
    yield "no RSA", b"\x30\x03\x02\x01\x00"


def test_a_pair_that_is_not_pkcs8_is_rejected(region: int) -> None:
    """Only the service can wrap such a pair. It is rejected nevertheless, and no read exceeds its bounds."""
    for why, pkcs8 in pkcs8_variants():
        wrapped = second_wrapper.wrap(REGION_SECRET, PAIR, pkcs8, b"pair", bytes(24))
        with pytest.raises((WrappedKeyDamaged, InvalidCiphertextException, CryptoFailure)):
            import_wrapping.unwrap_material(
                region, KEY.kid, PLACE, region, b"pair", wrapped, "RSAES_OAEP_SHA_1", bytes(255) + b"\2"
            )
            pytest.fail(why)


def test_invalid_arguments_raise(region: int, root: int) -> None:
    place, wrapped = STORED[2048]
    right = wrap_for(PAIRS[2048], "RSAES_OAEP_SHA_1", MATERIAL, SEED, AES_KEY)
    unwrap_material = import_wrapping.unwrap_material
    calls: list[Callable[[], Any]] = [
        lambda: import_wrapping.generate_wrapping_pair(region, 1024, b""),
        lambda: import_wrapping.generate_wrapping_pair(root, 4096, b""),
        lambda: unwrap_material(region, KEY.kid[1:], PLACE, region, place, wrapped, "RSAES_OAEP_SHA_1", right),
        lambda: unwrap_material(root, KEY.kid, PLACE, region, place, wrapped, "RSAES_OAEP_SHA_1", right),
        lambda: unwrap_material(region, KEY.kid, PLACE, root, place, wrapped, "RSAES_OAEP_SHA_1", right),
        lambda: unwrap_material(region, KEY.kid, PLACE, region, place, wrapped, "RSAES_PKCS1_V1_5", right),
        lambda: unwrap_material(region, KEY.kid, PLACE, region, place, wrapped, "SM2PKE", right),
        lambda: unwrap_material(region, KEY.kid, bytes(65537), region, place, wrapped, "RSAES_OAEP_SHA_1", right),
    ]
    for call in calls:
        with pytest.raises(CryptoFailure):
            call()
    with pytest.raises(StaleHandle):
        import_wrapping.generate_wrapping_pair(7 << 32, 4096, b"")
    with pytest.raises(StaleHandle):
        unwrap_material(region, KEY.kid, PLACE, 7 << 32, place, wrapped, "RSAES_OAEP_SHA_1", right)


# --- AES-KWP -----------------------------------------------------------------------------------------------------

CAVP = Path(cryptography_vectors.__file__).parent / "keywrap" / "kwtestvectors"


def kwp_cases(name: str) -> Iterator[dict[str, str]]:
    for block in (CAVP / name).read_text().split("\n\n"):
        fields = dict(line.split(" = ") for line in block.splitlines() if " = " in line and not line.startswith("["))
        if "COUNT" in fields:
            yield fields | {"fails": "yes" if "FAIL" in block else ""}


def kwp_open(core: ModuleType, key: bytes, wrapped: bytes) -> tuple[int, bytes]:
    out, size = core.ffi.new("uint8_t[]", len(wrapped)), core.ffi.new("size_t *")
    status = core.lib.kms_test_kwp_open(out, size, key, wrapped, len(wrapped))
    assert status == lib.KMS_OK or not any(core.ffi.buffer(out)[:]), "a plaintext remains"
    return status, bytes(core.ffi.buffer(out, size[0]))


def test_aes_kwp_matches_nists_vectors(core: ModuleType) -> None:
    """CAVP's KWP-AD with AES-256: 1 to 512 bytes, a fifth of them invalid. (The examples of RFC 5649 use AES-192.)"""
    cases = list(kwp_cases("KWP_AD_256.txt"))
    refused = [case for case in cases if case["fails"]]
    assert (len(cases), len(refused)) == (500, 100)
    for case in cases:
        expected = (lib.KMS_INVALID_CIPHERTEXT, b"") if case["fails"] else (lib.KMS_OK, bytes.fromhex(case["P"]))
        assert kwp_open(core, bytes.fromhex(case["K"]), bytes.fromhex(case["C"])) == expected, case


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 15, 17, 39])
def test_aes_kwp_rejects_impossible_lengths(core: ModuleType, size: int) -> None:
    """A wrapped key has at least two blocks and a multiple of eight bytes."""
    assert kwp_open(core, AES_KEY, bytes(size)) == (lib.KMS_INVALID_CIPHERTEXT, b"")


# --- memory ------------------------------------------------------------------------------------------------------


def pieces(name: str, secret: bytes, size: int, every: int) -> dict[str, bytes]:
    return {f"{name}, {at}": secret[at : at + size] for at in range(0, len(secret) - size + 1, every)}


def number_pieces(name: str, number: int, size: int) -> dict[str, bytes]:
    """Returns four pieces of a number in both byte orders, and in the 52 and 29 bit limbs of libcrypto's vector
    code."""
    forms = {"big-endian": number.to_bytes(size, "big"), "little-endian": number.to_bytes(size, "little")}
    for bits in (52, 29):
        digits = [(number >> at & (1 << bits) - 1).to_bytes(8, "little") for at in range(0, size * 8, bits)]
        forms[f"{bits} bits"] = b"".join(digits)
    found: dict[str, bytes] = {}
    for form, whole in forms.items():
        found |= pieces(f"{name}, {form}", whole, 16, len(whole) // 4)
    return found


def secrets_of(pair: bytes, sent: list[tuple[str, bytes]]) -> dict[str, bytes]:
    """Returns all secrets of a pair and of the material wrapped under it."""
    region = test_keyring.SECRETS["region key"]
    private = serialization.load_der_private_key(second_wrapper.unwrap(region, PAIR, pair, b"pair"), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    numbers = private.private_numbers()
    found = number_pieces("d", numbers.d, 256)
    for name in ("p", "q", "dmp1", "dmq1", "iqmp"):
        found |= number_pieces(name, getattr(numbers, name), 128)
    for algorithm, encrypted in sent:
        opened = pow(int.from_bytes(encrypted[:256], "big"), numbers.d, numbers.public_numbers.n).to_bytes(256, "big")
        found |= pieces(f"encoded message, {algorithm}", opened, 16, 64)
    wrapping = second_reader.derive(region, PAIR)
    found |= pieces("material", MATERIAL, 8, 8) | pieces("AES key", AES_KEY, 8, 8)
    for name, key in {"AES key": AES_KEY, "wrapping key": wrapping}.items():
        found |= {f"{name}, round key {i}": round_key for i, round_key in enumerate(test_keyring.round_keys(key))}
    return found | {"wrapping key": wrapping, "message key": second_reader.message_key(wrapping, pair[1:25])}


def test_an_import_leaves_no_secret_in_memory(key_folder: Path) -> None:
    """Searches as in test_keyring.py. Finding the public key, which Python holds, shows that the search works."""
    command = [
        name.replace(".keyring_process", ".import_process")
        for name in test_keyring.command("import_material", key_folder)
    ]
    with subprocess.Popen(
        command, cwd=test_keyring.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        made = {name: bytes.fromhex(value) for name, value in json.loads(process.stdout.readline()).items()}
        public = serialization.load_der_public_key(made["public_key"])
        assert isinstance(public, rsa.RSAPublicKey)
        sent = [(algorithm, by_cryptography(public, algorithm)) for algorithm in ALGORITHMS]
        sent += [(algorithm, flipped(encrypted, len(encrypted) - 1)) for algorithm, encrypted in sent]
        process.stdin.write(json.dumps([(algorithm, encrypted.hex()) for algorithm, encrypted in sent]) + "\n")
        process.stdin.flush()
        answers = json.loads(process.stdout.readline())
        modulus = public.public_numbers().n.to_bytes(256, "big")
        left = test_keyring.places(process.pid, secrets_of(made["pair"], sent) | {"the modulus": modulus})
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait() == 0
    assert answers == [KEY.material_id.hex()] * 4 + ["InvalidCiphertextException"] * 4
    assert set(left) == {"the modulus"}, left
