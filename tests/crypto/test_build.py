"""The choice of libcrypto for the core: KMS_GRPC_OPENSSL names a prefix."""

from __future__ import annotations

from pathlib import Path

import pytest

import build


def laid_out(prefix: Path, *files: str) -> Path:
    for file in files:
        (prefix / file).parent.mkdir(parents=True, exist_ok=True)
        (prefix / file).touch()
    return prefix


HEADER = "include/openssl/evp.h"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            (HEADER, "lib/libcrypto.a", "lib/libcrypto.so"),
            {"extra_objects": ["lib/libcrypto.a"]},
            id="static library first",
        ),
        pytest.param(
            (HEADER, "lib64/libcrypto.so", "lib/other"),
            {"libraries": ["crypto"], "library_dirs": ["lib64"], "runtime_library_dirs": ["lib64"]},
            id="shared library with an rpath",
        ),
    ],
)
def test_a_prefix_gives_the_arguments_of_its_libcrypto(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...], expected: dict[str, list[str]]
) -> None:
    monkeypatch.setenv("KMS_GRPC_OPENSSL", str(laid_out(tmp_path, *files)))
    absolute = {k: [str(tmp_path / v) if k != "libraries" else v for v in values] for k, values in expected.items()}
    assert build.openssl() == absolute | {"include_dirs": [str(tmp_path / "include")]}


@pytest.mark.parametrize("files", [(), (HEADER,), ("lib/libcrypto.a",), (HEADER, "lib/libssl.a")])
def test_a_prefix_without_libcrypto_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...]
) -> None:
    monkeypatch.setenv("KMS_GRPC_OPENSSL", str(laid_out(tmp_path, *files)))
    with pytest.raises(SystemExit, match="no include/openssl and libcrypto"):
        build.openssl()


def test_without_a_prefix_the_systems_libcrypto_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KMS_GRPC_OPENSSL", raising=False)
    assert build.openssl() == {"libraries": ["crypto"]}
