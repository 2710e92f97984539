"""Builds what is made from other files: the gRPC stubs and the C core.

    python build.py            stubs from protos/ into the package, the asyncio client, then the C core in place
    python build.py --stubs    the stubs alone (needs grpcio-tools and mypy-protobuf)
    python build.py --client   the asyncio client alone, from the other one (needs ruff)
    python build.py --core     the C core alone (needs cffi, a C compiler, libssl-dev)

setup.py hands `ffibuilder` to setuptools, so `pip install .` compiles the core as well.

Environment: KMS_GRPC_OPENSSL, the prefix of another OpenSSL (>= 3.0) than the system's, with include/ and lib/ or
lib64/. Its libcrypto.a is linked in, because Python's own ssl module brings the system's libcrypto.so.3 into the
process, and whoever asks for that name later gets it. Without a libcrypto.a there the shared one is used, by rpath.
CFLAGS and LDFLAGS are added as usual.

Beware of the name: in this folder `python -m build` runs this file and not PyPA's build. Use `pip wheel .`,
`uv build` or `pyproject-build`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent
MODULE = "kms_grpc.crypto._native"
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Wvla"]
HARDENING = ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2", "-fvisibility=hidden"]
# Ours alone: the C that cffi writes doesn't pass -Wconversion, and a user's newer compiler must not fail on a warning.
STRICT = ["-Werror", "-Wconversion", "-Wno-error=conversion", "-Wno-sign-conversion"]


def openssl() -> dict[str, list[str]]:
    """Where headers and library are: the system's, or those of the prefix in KMS_GRPC_OPENSSL."""
    prefix = os.environ.get("KMS_GRPC_OPENSSL")
    if not prefix:
        return {"libraries": ["crypto"]}
    include = Path(prefix, "include")
    folders = [folder for folder in (Path(prefix, "lib64"), Path(prefix, "lib")) if any(folder.glob("libcrypto.*"))]
    if not folders or not (include / "openssl").is_dir():
        raise SystemExit(f"KMS_GRPC_OPENSSL={prefix}: no include/openssl and libcrypto in lib64 or lib there")
    archive = folders[0] / "libcrypto.a"
    if archive.is_file():
        return {"include_dirs": [str(include)], "extra_objects": [str(archive)]}
    folder = [str(folders[0])]
    return {
        "include_dirs": [str(include)],
        "libraries": ["crypto"],
        "library_dirs": folder,
        "runtime_library_dirs": folder,
    }


def extension(module: str = MODULE, root: str = "", more: tuple[str, ...] = (), flags: tuple[str, ...] = ()) -> FFI:
    """The cffi builder of the core. `root` is empty or ends with a slash; `more` are C files beside native/*.c and what
    speaks with Python itself.

    A file of `more` with a .cdef.h beside it adds its declarations (the test build does so).
    """
    native = sorted(f"{root}native/{path.name}" for path in (ROOT / "native").glob("*.c"))
    more = (f"{root}native/python/objects.c", *more)
    declarations = [ROOT / "native" / "core.cdef.h", *(Path(ROOT, path).with_suffix(".cdef.h") for path in more)]
    libcrypto = openssl()
    folders = [f"{root}native", *(str(Path(path).parent) for path in more), *libcrypto.pop("include_dirs", [])]
    builder = FFI()
    for declaration in declarations:
        builder.cdef(declaration.read_text())
    builder.set_source(
        module,
        "".join(f'#include "{name}"\n' for name in ["core.h", *(path.name for path in declarations[1:])]),
        sources=[*native, *more],
        include_dirs=folders,
        extra_compile_args=["-std=c11", "-D_GNU_SOURCE", "-O2", "-pthread", *WARNINGS, *HARDENING, *flags],
        extra_link_args=["-pthread", "-Wl,-z,relro,-z,now", "-Wl,--exclude-libs,ALL", "-Wl,-Bsymbolic"],
        py_limited_api=True,
        **libcrypto,
    )
    return builder


def build_extension(builder: FFI, module: str, target: Path) -> Path:
    """Compiles in build/, then moves the module into `target` in one step: a process that runs keeps its old one."""
    workshop = ROOT / "build" / module
    workshop.mkdir(parents=True, exist_ok=True)
    made = Path(builder.compile(tmpdir=str(workshop)))
    target.mkdir(parents=True, exist_ok=True)
    fresh = target / (made.name + ".new")
    shutil.copy(made, fresh)
    return fresh.replace(target / made.name)


def build_core() -> None:
    builder = extension(root=f"{ROOT}/", flags=tuple(STRICT))
    print(build_extension(builder, MODULE, ROOT / "kms_grpc" / "crypto"))


def build_stubs(target: Path = ROOT) -> None:
    """Generates kms_grpc/v1/*_pb2*.py and .pyi under `target`. The protos' folders mirror the package."""
    import grpc_tools  # type: ignore[import-untyped]

    protos = sorted(str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos" / "kms_grpc").rglob("*.proto"))
    if not protos:
        raise SystemExit("no protos under protos/kms_grpc")
    include = Path(grpc_tools.__file__).parent / "_proto"
    outputs = [f"--{kind}_out={target}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", f"-I{include}", *outputs, *protos]
    # protoc finds its mypy plug-ins on PATH; without an activated environment they stand beside the interpreter.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PATH": path})


# What makes a method of the client one of its asyncio twin: calls are awaited, listings walk asynchronously.
TWIN_NAMES = ("key_life", "batches", "key_management")
TWIN = (
    (r'\A"""', '"""Made by `python build.py --client` from ../{name}.py: do not edit.\n\n'),
    (r"^    def (\w+\(\s*self)", r"    async def \1"),
    (r"return self\._(call|create)\(", r"return await self._\1("),
    (r"= self\.list_", "= await self.list_"),
    (r"\bIterator\b", "AsyncIterator"),
    (r"^( +)yield from (.+)$", r"\1for entry in \2:\n\1    yield entry"),
    (r"\b(KeyLifeCalls|BatchCalls|KeyManagementClient)\b", r"Async\1"),
    (r"from kms_grpc\.client\.(calls|key_life) import Caller\b", r"from kms_grpc.client.aio.\1 import AsyncCaller"),
    (r"\(Caller\)", "(AsyncCaller)"),
    (r"from kms_grpc\.client\.(key_life|batches) import", r"from kms_grpc.client.aio.\1 import"),
)


def twin(name: str) -> str:
    """The asyncio twin of kms_grpc/client/NAME.py, imports and layout as ruff has them."""
    text = (ROOT / "kms_grpc" / "client" / f"{name}.py").read_text("utf-8")
    for pattern, replacement in TWIN:
        text = re.sub(pattern, replacement.replace("{name}", name), text, flags=re.MULTILINE)
    for arguments in (["check", "--quiet", "--select", "I", "--fix", "-"], ["format", "--quiet", "-"]):
        command = [sys.executable, "-m", "ruff", *arguments]
        text = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout
    return text


def build_client(target: Path = ROOT / "kms_grpc" / "client" / "aio") -> None:
    for name in TWIN_NAMES:
        (target / f"{name}.py").write_text(twin(name), "utf-8")


def build_pages(target: Path = ROOT) -> None:
    """Makes the pages of reference under `target` from protos/, config.py and the rest that .ci/pages.py names."""
    subprocess.run([sys.executable, str(ROOT / ".ci" / "pages.py"), str(target)], check=True, cwd=ROOT)


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds the gRPC stubs and the C core in place.")
    parser.add_argument("--stubs", action="store_true", help="the stubs alone")
    parser.add_argument("--core", action="store_true", help="the C core alone")
    parser.add_argument("--client", action="store_true", help="the asyncio client alone")
    chosen = parser.parse_args()
    every = not (chosen.stubs or chosen.core or chosen.client)
    if chosen.stubs or every:
        build_stubs()
    if chosen.client or every:
        build_client()
    if chosen.core or every:
        build_core()
    if chosen.stubs or every:
        build_pages()


ffibuilder = extension()

if __name__ == "__main__":
    main()
