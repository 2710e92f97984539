"""`kms-grpc import KEY --plan`: the shell commands of an import with openssl, in order.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys-encrypt-key-material.html
"""

from __future__ import annotations

import shlex
from typing import Final

PUBLIC_KEY: Final = "PublicKey.bin"
TOKEN: Final = "ImportToken.bin"  # noqa: S105 - a file's name
MATERIAL: Final = "PlaintextKeyMaterial.bin"
ENCRYPTED: Final = "EncryptedKeyMaterial.bin"
AES_KEY: Final = "AesKey.bin"
OLDER_NOTES: Final = (
    "Older notes use `openssl rsautl -encrypt -oaep`, which openssl no longer recommends. It is RSAES_OAEP_SHA_1: "
    "for it give --algorithm RSAES_OAEP_SHA_1, and rsautl becomes pkeyutl with -pkeyopt rsa_padding_mode:oaep."
)


def plan(
    key_id: str, region: str, algorithm: str, wrapping_key: str, material: str | None, terms: list[str]
) -> list[str]:
    """Returns the commands. All files are in a folder named after the key.

    `material` is the file to import; None adds a command that makes one. `terms` are options of `kms-grpc import`.
    """
    folder = f"import-{key_id}"
    source = material or f"{folder}/{MATERIAL}"
    key = f"kms-grpc import {key_id} --region {region}"
    made = [] if material else [f"test -e {source} || openssl rand -out {source} 32"]
    return [
        f"{key} --parameters-to {folder} --algorithm {algorithm} --wrapping-key {wrapping_key}",
        *made,
        *_wrapping(algorithm, folder, shlex.quote(source)),
        " ".join([key, f"--parameters {folder} --wrapped {folder}/{ENCRYPTED}", *map(shlex.quote, terms)]),
    ]


def _wrapping(algorithm: str, folder: str, source: str) -> list[str]:
    encrypted = f"{folder}/{ENCRYPTED}"
    if algorithm.startswith("RSAES_OAEP"):
        return [_oaep(algorithm, source, folder, encrypted)]
    aes_key = f"{folder}/{AES_KEY}"
    in_hex = f"\"$(od -An -vtx1 {aes_key} | tr -d ' \\n')\""
    return [
        f"openssl rand -out {aes_key} 32",
        _oaep(algorithm, aes_key, folder, f"{aes_key}.wrapped"),
        f"openssl enc -id-aes256-wrap-pad -iv A65959A6 -K {in_hex} -in {source} -out {encrypted}.second",
        f"cat {aes_key}.wrapped {encrypted}.second > {encrypted} && rm {aes_key} {aes_key}.wrapped {encrypted}.second",
    ]


def _oaep(algorithm: str, source: str, folder: str, target: str) -> str:
    """Returns the openssl command for RSAES-OAEP."""
    key = f"-inkey {folder}/{PUBLIC_KEY} -keyform DER -pubin"
    digest = "sha1" if algorithm.endswith("SHA_1") else "sha256"
    options = f"-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{digest} -pkeyopt rsa_mgf1_md:{digest}"
    return f"openssl pkeyutl -encrypt -in {source} {key} {options} -out {target}"
