"""Generates the files that come from protos/, and compiles the C core.

    python build.py            everything below, in this order
    python build.py --stubs    from protos/: the gRPC stubs, the field numbers for C in native/contract_fields.h, the
                               pages of reference that .ci/pages.py names (needs grpcio-tools and mypy-protobuf)
    python build.py --client   the client's methods that only fill a request, from protos/, and the asyncio client, from
                               the blocking one (needs grpcio-tools and ruff)
    python build.py --core     the C core, into kms_grpc/crypto (needs cffi, a C compiler, libssl-dev)

All generated files are committed; tests generate them again and compare. setup.py gives `ffibuilder` and `yardsticks`
to setuptools, so `pip install .` compiles both extensions too.

Environment: KMS_GRPC_OPENSSL is the prefix of an OpenSSL (>= 3.0) other than the system's, with include/ and lib/ or
lib64/. Its libcrypto.a is linked statically, because Python's ssl module loads the system's libcrypto.so.3 into the
process, and the dynamic linker would resolve that name to the copy that is loaded first. If the prefix has no
libcrypto.a, its shared library is linked with an rpath. CFLAGS and LDFLAGS are honoured.

The name of this file hides PyPA's build: in this folder `python -m build` runs this file. Use `pip wheel .`, `uv build`
or `pyproject-build` instead.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cffi import FFI

ROOT = Path(__file__).resolve().parent
MODULE = "kms_grpc.crypto._native"
YARDSTICKS = "kms_grpc.bench._yardsticks"
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Wvla"]
HARDENING = ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2", "-fvisibility=hidden"]
# For `build.py --core` only: the C that cffi generates fails -Wconversion, and a user's newer compiler must not fail
# on a warning.
STRICT = ["-Werror", "-Wconversion", "-Wno-error=conversion", "-Wno-sign-conversion"]


def openssl() -> dict[str, list[str]]:
    """Returns cffi's arguments for libcrypto: the system's, or that of the prefix in KMS_GRPC_OPENSSL."""
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
    """Returns the cffi builder of the core.

    `root` is the prefix of all paths: empty, or ends with a slash. `more` are additional C files; each has its
    declarations in a .cdef.h beside it. The test build uses them.
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


def yardsticks_extension(root: str = "", flags: tuple[str, ...] = ()) -> FFI:
    """Returns the cffi builder of the yardsticks of `kms-grpc bench`, which are not in the core. `root` as above."""
    libcrypto = openssl()
    builder = FFI()
    builder.cdef((ROOT / "native" / "bench" / "yardsticks.cdef.h").read_text())
    builder.set_source(
        YARDSTICKS,
        '#include <stddef.h>\n#include <stdint.h>\n#include "yardsticks.cdef.h"\n',
        sources=[f"{root}native/bench/yardsticks.c"],
        include_dirs=[f"{root}native", f"{root}native/bench", *libcrypto.pop("include_dirs", [])],
        extra_compile_args=["-std=c11", "-D_GNU_SOURCE", "-O2", *WARNINGS, *HARDENING, *flags],
        extra_link_args=["-Wl,-z,relro,-z,now", "-Wl,--exclude-libs,ALL", "-Wl,-Bsymbolic"],
        py_limited_api=True,
        **libcrypto,
    )
    return builder


def build_extension(builder: FFI, module: str, target: Path) -> Path:
    """Compiles in build/, then renames the module into `target`, so that running processes keep the old file."""
    workshop = ROOT / "build" / module
    workshop.mkdir(parents=True, exist_ok=True)
    made = Path(builder.compile(tmpdir=str(workshop)))
    target.mkdir(parents=True, exist_ok=True)
    fresh = target / (made.name + ".new")
    shutil.copy(made, fresh)
    return fresh.replace(target / made.name)


def build_core() -> None:
    """Compiles the C core and the bench's yardsticks in place. Refuses field numbers other than the stubs'."""
    require_current_fields_header()
    builder = extension(root=f"{ROOT}/", flags=tuple(STRICT))
    print(build_extension(builder, MODULE, ROOT / "kms_grpc" / "crypto"))
    builder = yardsticks_extension(root=f"{ROOT}/", flags=tuple(STRICT))
    print(build_extension(builder, YARDSTICKS, ROOT / "kms_grpc" / "bench"))


def googleapis() -> Path:
    """Returns the include path of google/rpc/status.proto, which PyPI's googleapis-common-protos installs."""
    with contextlib.suppress(ModuleNotFoundError):
        found = importlib.util.find_spec("google.rpc")
        for folder in (found.submodule_search_locations or ()) if found else ():
            if Path(folder, "status.proto").is_file():
                return Path(folder).parents[1]
    raise SystemExit("google/rpc/status.proto is missing; run: pip install googleapis-common-protos")


def protoc(*arguments: str) -> None:
    """Runs the protoc of grpcio-tools on all protos of kms_grpc. The working directory is the top of the tree."""
    protos = sorted(str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos" / "kms_grpc").rglob("*.proto"))
    if not protos:
        raise SystemExit("no protos under protos/kms_grpc")
    includes = [f"-I{ROOT / 'protos'}", f"-I{googleapis()}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", *includes, *arguments, *protos]
    # protoc looks for its mypy plug-ins on PATH. Without an activated environment they are only beside the interpreter.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PATH": path})


def build_stubs(target: Path = ROOT) -> None:
    """Generates kms_grpc/v1/*_pb2*.py and .pyi under `target`. The folders under protos/ mirror the package."""
    protoc(*(f"--{kind}_out={target}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")))


# --- the field numbers that the C core needs ---------------------------------------------------------------------

FIELDS_HEADER = ROOT / "native" / "contract_fields.h"
FIELDS_MESSAGES = (
    *("EncryptRequest", "EncryptResponse", "DecryptRequest", "DecryptResponse"),
    *(f"{name}Batch{part}" for name in ("Encrypt", "Decrypt", "ReEncrypt") for part in ("Request", "Item", "Result")),
    *(f"GenerateDataKeyBatch{part}" for part in ("Request", "Item", "Result")),
    *("EncryptBatchResponse", "DecryptBatchResponse", "ReEncryptBatchResponse", "GenerateDataKeyBatchResponse"),
    "BatchDataKey",
)
FIELDS_TEXT = """\
/* Generated from protos/ by `python build.py --stubs`: do not edit.
 *
 * For each message that the core reads or writes: the numbers of its fields, and two sets of bits (bit n for field n).
 * LENGTH_DELIMITED has the fields that protobuf writes as a length and bytes, VARINTS those that it writes as a varint.
 * Both sets end at field 15: higher numbers have tags of two bytes, which the core does not read.
 */
#ifndef KMS_CONTRACT_FIELDS_H
#define KMS_CONTRACT_FIELDS_H

"""


def c_name(name: str) -> str:
    """Returns the C constant's name: KMS_ENCRYPT_REQUEST for EncryptRequest."""
    return "KMS_" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


def field_lines(message: Any) -> Iterator[str]:
    """Yields the header's lines about one message, a protobuf Descriptor."""
    prefix, masks = c_name(message.name), {"LENGTH_DELIMITED": 0, "VARINTS": 0}
    yield f"/* {message.full_name} */"
    for field in message.fields:
        yield f"#define {prefix}_{field.name.upper()} {field.number}"
        if field.number > 15:
            continue
        if field.is_packed or field.type in (field.TYPE_BYTES, field.TYPE_STRING, field.TYPE_MESSAGE):
            masks["LENGTH_DELIMITED"] |= 1 << field.number
        elif field.type in (field.TYPE_BOOL, field.TYPE_ENUM, field.TYPE_INT32):
            masks["VARINTS"] |= 1 << field.number
    yield from (f"#define {prefix}_{mask} 0x{bits:04X}u" for mask, bits in masks.items())
    yield ""


def fields_header() -> str:
    """Returns the text of native/contract_fields.h, from the descriptors of the stubs."""
    from kms_grpc.v1 import envelope_pb2, key_management_pb2

    messages = {**key_management_pb2.DESCRIPTOR.message_types_by_name, **envelope_pb2.DESCRIPTOR.message_types_by_name}
    algorithm = messages["EncryptRequest"].fields_by_name["encryption_algorithm"].enum_type
    symmetric = algorithm.values_by_name["ENCRYPTION_ALGORITHM_SPEC_SYMMETRIC_DEFAULT"]
    lines = [line for name in FIELDS_MESSAGES for line in field_lines(messages[name])]
    lines += [f"/* {algorithm.full_name} */", f"#define {c_name(symmetric.name)} {symmetric.number}", ""]
    return FIELDS_TEXT + "\n".join(lines) + "\n#endif\n"


def build_fields_header() -> None:
    FIELDS_HEADER.write_text(fields_header(), "utf-8")


def require_current_fields_header() -> None:
    """Raises SystemExit where native/contract_fields.h does not belong to the stubs.

    Compares nothing where protobuf is not installed, as in the isolated environment of `pip install`.
    """
    try:
        current = fields_header()
    except ModuleNotFoundError:
        return
    if FIELDS_HEADER.read_text("utf-8") != current:
        raise SystemExit(f"{FIELDS_HEADER.relative_to(ROOT)} differs from the stubs; run: python build.py --stubs")


# Rewrites the synchronous client as the asyncio client: calls are awaited, and iterators become asynchronous.
CLIENT = ROOT / "kms_grpc" / "client"
TWIN = (
    (r"\A", "# Made by `python build.py --client` from kms_grpc/client/{name}.py: do not edit.\n"),
    (r"^    def (\w+\(\s*self)", r"    async def \1"),
    (r"return self\._(call|create)\(", r"return await self._\1("),
    (r"= self\.list_", "= await self.list_"),
    (r"\bIterator\b", "AsyncIterator"),
    (r"^( +)yield from (.+)$", r"\1for entry in \2:\n\1    yield entry"),
    (r"\b(\w+Methods|KeyManagementClient|ServiceClient)\b", r"Async\1"),
    (r"Threads may share one client\.", "Tasks of one event loop may share one client."),
    (r"\bkms_grpc\.client\.(methods\.\w+|service_client)\b", r"kms_grpc.client.aio.\1"),
)


def twin_names() -> list[str]:
    """Returns the files under kms_grpc/client that have a generated asyncio twin, without .py."""
    methods = sorted(f"methods/{path.stem}" for path in (CLIENT / "methods").glob("*.py") if path.stem != "__init__")
    return ["key_management", *methods]


def twin(name: str) -> str:
    """Returns the asyncio twin of kms_grpc/client/NAME.py."""
    text = (CLIENT / f"{name}.py").read_text("utf-8")
    for pattern, replacement in TWIN:
        text = re.sub(pattern, replacement.replace("{name}", name), text, flags=re.MULTILINE)
    return formatted(text)


def formatted(text: str) -> str:
    """Returns Python text as ruff writes it: without unused imports, with the others sorted."""
    first_party = "lint.isort.known-first-party = ['kms_grpc']"
    clean = ["check", "--quiet", "--select", "I,F401", "--config", first_party, "--fix", "-"]
    for arguments in (clean, ["format", "--quiet", "-"]):
        command = [sys.executable, "-m", "ruff", *arguments]
        text = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout
    return text


def plain_methods() -> str:
    """Returns the text of kms_grpc/client/methods/plain.py, from protos/."""
    command = [sys.executable, str(ROOT / ".ci" / "methods.py")]
    return formatted(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout)


def build_client(target: Path = CLIENT / "aio") -> None:
    """Writes the generated methods, and the asyncio twins under `target`."""
    (CLIENT / "methods" / "plain.py").write_text(plain_methods(), "utf-8")
    for name in twin_names():
        (target / f"{name}.py").write_text(twin(name), "utf-8")


def build_pages(target: Path = ROOT) -> None:
    """Generates the reference pages under `target` from protos/, config.py and the other sources of .ci/pages.py."""
    subprocess.run([sys.executable, str(ROOT / ".ci" / "pages.py"), str(target)], check=True, cwd=ROOT)


def main() -> None:
    parser = argparse.ArgumentParser(description="Generates files from protos/ and compiles the C core. Default: all.")
    parser.add_argument(
        "--stubs", action="store_true", help="only the stubs, native/contract_fields.h and the pages of reference"
    )
    parser.add_argument("--core", action="store_true", help="only the C core")
    parser.add_argument("--client", action="store_true", help="only the generated methods of the clients")
    chosen = parser.parse_args()
    every = not (chosen.stubs or chosen.core or chosen.client)
    if chosen.stubs or every:
        build_stubs()
        build_fields_header()
    if chosen.client or every:
        build_client()
    if chosen.core or every:
        build_core()
    if chosen.stubs or every:
        build_pages()


ffibuilder = extension()
yardsticks = yardsticks_extension()

if __name__ == "__main__":
    main()
