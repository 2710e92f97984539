"""No two calls, threads or forked processes get the same nonce."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FORKING = r"""
import os, sys
from kms_grpc.crypto import envelope, key_wrapping, keyring
from kms_grpc.crypto.ciphertext_blob import PREFIX_SIZE, header_prefix

NONCE = slice(PREFIX_SIZE, PREFIX_SIZE + 24)
KID, LABEL = bytes(17), b"place"
folder, forks = sys.argv[1], int(sys.argv[2])
root_file = folder + "/root.key"
key_wrapping.create_root_key_file(root_file)

def load():
    keyring.open_keyring(1024)
    root = key_wrapping.load_root_key_file(root_file)
    return key_wrapping.load_region_key(root, LABEL, wrapped_region)

keyring.open_keyring(1024)
wrapped_region = key_wrapping.generate_region_key(key_wrapping.load_root_key_file(root_file), LABEL)
material_id, wrapped = key_wrapping.generate_material(load(), KID, LABEL)
prefix = header_prefix(KID, material_id)

def seal(count):
    handle = key_wrapping.load_material(load(), KID, material_id, LABEL, wrapped)
    seen = []
    while len(seen) < count:
        seen.append(envelope.seal(handle, prefix, b"", b"x")[NONCE])
    return seen

seen = seal(3)                        # the process has drawn before the forks
for number in range(forks):
    child = os.fork()
    if child == 0:
        with open(f"{folder}/{number}", "wb") as file:
            file.write(b"".join(seal(400)))       # far past the state at the fork
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    seen += seal(1)
seen += seal(400)
for number in range(forks):
    data = open(f"{folder}/{number}", "rb").read()
    seen += [data[at : at + 24] for at in range(0, len(data), 24)]
assert len(seen) >= forks * 401 + 403, len(seen)
print(len(seen) - len(set(seen)))
"""


@pytest.mark.parametrize("forks", [3, 20])
def test_no_nonce_is_drawn_twice(tmp_path: Path, forks: int) -> None:
    """A child that continued its parent's random generator would repeat the parent's next nonces."""
    command = [sys.executable, "-c", FORKING, str(tmp_path), str(forks)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
