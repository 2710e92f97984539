"""Prints the client's methods that only fill a request:  python .ci/methods.py  (`python build.py --client` runs it)

    kms_grpc/client/methods/plain.py    from the rpcs, fields and comments of protos/

A method that does more (defaults, pages, conversions) is written by hand, in the file of its topic. Needs grpcio-tools.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / ".ci")]

from google.protobuf.descriptor_pb2 import FieldDescriptorProto  # noqa: E402 - after the path
from pages import Contract, descriptors  # noqa: E402 - from this tree, wherever the script is called

from kms_grpc.client.connection import CREATES, is_retryable  # noqa: E402
from kms_grpc.client.methods import WITHOUT_METHOD  # noqa: E402
from kms_grpc.v1 import envelope_pb2, key_management_pb2, options_pb2  # noqa: E402

METHODS = ROOT / "kms_grpc" / "client" / "methods"
PLAIN = METHODS / "plain.py"
MODULES = {key_management_pb2: "key_management_pb2", envelope_pb2: "envelope_pb2"}
STUBS = {"KeyManagementService": "_keys", "EnvelopeService": "_envelopes"}
WIDTH = 120
HEAD = '''\
# Made by `python build.py --client` from protos/: do not edit.
"""Methods that only fill the request of their operation. The comments are those of the protos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from kms_grpc.client.arguments import by_aws_name, by_aws_names, tags_of, timestamp
from kms_grpc.client.service_client import ServiceClient
from kms_grpc.v1 import envelope_pb2, key_management_pb2, keys_pb2


class PlainMethods(ServiceClient):
    """Operations whose arguments are the fields of their requests. A required argument is positional."""
'''
SCALARS = {"string": "str", "bytes": "bytes", "bool": "bool", "int32": "int", "int64": "int", "double": "float"}


def snake(name: str) -> str:
    """Returns `get_key_policy` for GetKeyPolicy."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def written_by_hand() -> set[str]:
    """Returns the names of the methods in the files of kms_grpc/client/methods that are not generated."""
    trees = [ast.parse(path.read_text("utf-8")) for path in METHODS.glob("*.py") if path != PLAIN]
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def scalar(field: Any) -> str:
    """Returns `string`, `bytes`, `enum`, `message` … for the type of a field."""
    return FieldDescriptorProto.Type.Name(field.type)[5:].lower()


def argument(field: Any) -> tuple[str, str]:
    """Returns the type of a field's argument, and the expression that makes the field of it; {} stands for its name."""
    name = field.message_type.full_name if field.message_type else ""
    if field.message_type and field.message_type.GetOptions().map_entry:
        return "Mapping[str, str]", "{}"
    if name == "kms_grpc.v1.Tag":
        return "Mapping[str, str]", "tags_of({})"
    if name == "kms_grpc.v1.GrantConstraints":
        return "keys_pb2.GrantConstraints", "{}"
    if name == "google.protobuf.Timestamp":
        return "datetime", "timestamp({})"
    if field.enum_type:
        enum = f"{Path(field.enum_type.file.name).stem}_pb2.{field.enum_type.name}"
        if field.is_repeated:
            return "Sequence[str]", f"by_aws_names({enum}, {{}})"
        return "str", f"by_aws_name({enum}, {{}})"
    if scalar(field) not in SCALARS:
        raise SystemExit(f"{field.full_name}: no argument is known for {name}; write the method by hand")
    kind = SCALARS[scalar(field)]
    return (f"Sequence[{kind}]" if field.is_repeated else kind), "{}"


def fields_of(rpc: Any) -> list[Any]:
    """Returns the fields of the request that are built, the required ones first."""
    fields = [field for field in rpc.input_type.fields if not limits(field).unsupported]
    return sorted(fields, key=lambda field: not limits(field).required)


def limits(field: Any) -> Any:
    return field.GetOptions().Extensions[options_pb2.limits]


def parameters(rpc: Any) -> Iterator[str]:
    yield "self"
    fields, keyword = fields_of(rpc), False
    for field in fields:
        kind = argument(field)[0]
        if not limits(field).required and not keyword:
            keyword = True
            yield "*"
        yield f"{field.name}: {kind}{default(field, kind)}"
    if rpc.name in CREATES:
        yield from ([] if keyword else ["*"])
        yield "request_id: str | None = None"


def default(field: Any, kind: str) -> str:
    """Returns the default of a parameter, with its type's part. It is empty where a value must be given."""
    if limits(field).required:
        return ""
    return " = False" if kind == "bool" and not field.has_presence else " | None = None"


def assignment(field: Any) -> str:
    """Returns `field=expression`. None leaves a field out."""
    made = argument(field)[1].format(field.name)
    if made == field.name or limits(field).required or made.startswith("by_aws_name("):
        return f"{field.name}={made}"
    return f"{field.name}=None if {field.name} is None else {made}"


def said_of(comment: str) -> str:
    text = " ".join(comment.split())
    return re.sub(r"^(Required|Optional)[^.]*\. |\s*Not built: .*$", "", text)


def docstring(contract: Contract, rpc: Any) -> Iterator[str]:
    """Yields the lines: the first paragraph of the rpc's comment, then a line for each argument."""
    comment = contract.comments[f".{rpc.containing_service.full_name}.{rpc.name}"]
    about = " ".join(re.split(r"\n\s*\n", comment.strip())[0].split())
    if not is_retryable(rpc):
        about += " The call is not retried."
    fields = fields_of(rpc)
    if not fields:
        about += '"""'
    yield from textwrap.wrap('"""' + about, WIDTH - 8)
    if fields:
        yield ""
    for field in fields:
        said = said_of(contract.comments[f".{rpc.input_type.full_name}.{field.name}"])
        yield from textwrap.wrap(f"{field.name}: {said}", WIDTH - 8, subsequent_indent="    ")
    if fields:
        yield '"""'


def method(contract: Contract, module: str, rpc: Any) -> str:
    """Returns the text of a method."""
    answer, request = f"{module}.{rpc.output_type.name}", f"{module}.{rpc.input_type.name}"
    filled = ", ".join(assignment(field) for field in fields_of(rpc))
    call, more = ("_create", ", request_id") if rpc.name in CREATES else ("_call", "")
    stub = f"self.{STUBS[rpc.containing_service.name]}.{rpc.name}"
    lines = [f"def {snake(rpc.name)}({', '.join(parameters(rpc))}) -> {answer}:"]
    lines += [f"    {line}" if line else "" for line in docstring(contract, rpc)]
    lines += [f"    request = {request}({filled})", f"    return self.{call}({stub}, request{more})"]
    return "\n".join(f"    {line}" if line else "" for line in lines) + "\n"


def rpcs() -> Iterator[tuple[str, Any]]:
    """Yields module and rpc of each operation whose method is made here."""
    by_hand = written_by_hand()
    for file, module in MODULES.items():
        for service in file.DESCRIPTOR.services_by_name.values():
            for rpc in service.methods:
                if rpc.name not in WITHOUT_METHOD and snake(rpc.name) not in by_hand:
                    yield module, rpc


def plain() -> str:
    """Returns the text of plain.py, before it is formatted."""
    contract = Contract(descriptors())
    return HEAD + "".join("\n" + method(contract, module, rpc) for module, rpc in rpcs())


if __name__ == "__main__":
    sys.stdout.write(plain())
