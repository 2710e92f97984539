"""Stubs for Java, C#, Ruby and PHP by Debian's protoc, compiled and run with the libraries that Debian has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kms_grpc.v1 import envelope_pb2, key_management_pb2
from tests.contract.build_script import ROOT
from tests.languages.generators import generate, run, tool

HERE = Path(__file__).parent
STATUS = ["google/rpc/status.proto"]
SERVICES = [
    *envelope_pb2.DESCRIPTOR.services_by_name.values(),
    *key_management_pb2.DESCRIPTOR.services_by_name.values(),
]
PRINTED = "".join(["hello equal\n", *(f"{service.full_name} {len(service.methods)}\n" for service in SERVICES)])
"""The output of each program: a message that it wrote and read, and the services."""
JARS = {
    "protobuf": "libprotobuf-java",
    "grpc-api": "libgrpc-java",
    "grpc-protobuf": "libgrpc-java",
    "grpc-protobuf-lite": "libgrpc-java",
    "grpc-stub": "libgrpc-java",
    "grpc-context": "libgrpc-java",
    "guava": "libguava-java",
    "proto-google-common-protos": "libgoogle-common-protos-java",
    "geronimo-annotation-1.3-spec": "libgeronimo-annotation-1.3-spec-java",
}
"""Maps names of jars in /usr/share/java to Debian's packages."""


def class_path() -> str:
    missing = {package for jar, package in JARS.items() if not Path(f"/usr/share/java/{jar}.jar").exists()}
    if missing:
        pytest.skip(f"apt-get install {' '.join(sorted(missing))}")
    return ":".join([".", *(f"/usr/share/java/{jar}.jar" for jar in JARS)])


def with_services(language: str, plugin: str, package: str) -> list[str]:
    """Returns the arguments of protoc for messages and services of a language."""
    return [f"--{language}_out=.", f"--plugin=protoc-gen-grpc={tool(plugin, package)}", "--grpc_out=."]


@pytest.mark.timeout(200)
def test_java(tmp_path: Path) -> None:
    """All classes compile, those of the services too."""
    compiler, runtime = (tool(name, "apt-get install default-jdk-headless") for name in ("javac", "java"))
    jars = class_path()
    made = generate(tmp_path, *with_services("java", "grpc_java_plugin", "protobuf-compiler-grpc-java-plugin"))
    shutil.copy(HERE / "java/RoundTrip.java", tmp_path)
    quick = ["-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC", "-proc:none", "-encoding", "UTF-8"]
    run([compiler, *quick, "-cp", jars, "RoundTrip.java", *made], tmp_path, 180)
    assert run([runtime, "-cp", jars, "RoundTrip"], tmp_path) == PRINTED


def test_c_sharp(tmp_path: Path) -> None:
    """The messages compile. Debian has neither Google.Api.CommonProtos nor gRPC's generator for C#."""
    compiler, runtime = (tool(name, "apt-get install mono-mcs") for name in ("mcs", "mono"))
    library = run([str(ROOT / ".ci/protobuf-csharp")], tmp_path, 50).strip()
    made = generate(tmp_path, "--csharp_out=.", more=STATUS)
    for file in (Path(library), HERE / "csharp/RoundTrip.cs"):
        shutil.copy(file, tmp_path)
    run(
        [compiler, "-langversion:latest", "-r:Google.Protobuf.dll", "-out:round_trip.exe", "RoundTrip.cs", *made],
        tmp_path,
    )
    assert run([runtime, "round_trip.exe"], tmp_path) == PRINTED


def test_ruby(tmp_path: Path) -> None:
    """All files load without a warning, those of the services too."""
    ruby = tool("ruby", "apt-get install ruby-google-protobuf ruby-grpc")
    generate(tmp_path, *with_services("ruby", "grpc_ruby_plugin", "protobuf-compiler-grpc"))
    assert run([ruby, str(HERE / "ruby/round_trip.rb")], tmp_path) == PRINTED


def test_php(tmp_path: Path) -> None:
    """All classes load without a warning, and messages can be made. Debian has no google/common-protos for PHP."""
    php = tool("php", "apt-get install php-cli php-google-protobuf")
    generate(tmp_path, *with_services("php", "grpc_php_plugin", "protobuf-compiler-grpc"), more=STATUS)
    assert run([php, str(HERE / "php/round_trip.php")], tmp_path) == PRINTED
