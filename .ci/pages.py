"""Makes the pages that repeat what other files say:  python .ci/pages.py [FOLDER]   (`python build.py --stubs` runs it)

    protos/operations/*.md                 a page per operation, from the comments of protos/
    protos/errors.md                       every error, from kms_grpc/errors.py
    kms_grpc/processes/configuration.md    every setting, from kms_grpc/config.py and the modules of settings beside it
    kms_grpc/processes/metrics.md          every metric, from kms_grpc/processes/metrics.py and gauges.py
    kms_grpc/cli/commands.md               every command and exit code, from kms_grpc/cli/main.py

FOLDER stands for the top of the tree; a test makes the pages elsewhere and compares. Needs grpcio-tools.
"""

from __future__ import annotations

import ast
import math
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet, MethodOptions

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from build import protoc  # noqa: E402 - from this tree, wherever the script is called
from kms_grpc import errors  # noqa: E402 - from this tree, wherever the script is called
from kms_grpc.cli.failures import MEANINGS  # noqa: E402
from kms_grpc.cli.main import BENCH, cli  # noqa: E402
from kms_grpc.processes import gauges  # noqa: E402
from kms_grpc.v1 import options_pb2  # noqa: E402 - its extensions must be known before the descriptors are read

AWS = "https://docs.aws.amazon.com/kms/latest/APIReference/API_{}.html"
MADE = "<!-- Made by `python build.py --stubs` from {}. Do not edit. -->\n\n"
REPEATING = {
    MethodOptions.NO_SIDE_EFFECTS: "changes nothing; a client may repeat it",
    MethodOptions.IDEMPOTENT: "done twice, it has the effect of once; a client may repeat it",
    MethodOptions.IDEMPOTENCY_UNKNOWN: "each call has an effect of its own",
}
# Field numbers in descriptor.proto, by which source_code_info names a place.
MESSAGES, ENUMS, SERVICES, INNER = 4, 5, 6, 2


def descriptors() -> FileDescriptorSet:
    """Returns the protos of kms_grpc with their comments."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "set.binpb")
        protoc(f"--descriptor_set_out={target}", "--include_source_info")
        return FileDescriptorSet.FromString(target.read_bytes())


class Contract:
    """The messages, enums and comments of all protos, by full name with a leading dot."""

    def __init__(self, files: FileDescriptorSet) -> None:
        self.files = files.file
        self.types: dict[str, Any] = {}
        self.comments: dict[str, str] = {}
        for file in files.file:
            outer = {MESSAGES: file.message_type, ENUMS: file.enum_type, SERVICES: file.service}
            for kind in (MESSAGES, ENUMS):
                self.types |= {f".{file.package}.{item.name}": item for item in outer[kind]}
            for location in file.source_code_info.location:
                if name := _named(list(location.path), outer):
                    self.comments[f".{file.package}.{name}"] = location.leading_comments


def _named(path: list[int], outer: dict[int, Any]) -> str | None:
    if len(path) not in (2, 4) or path[0] not in outer:
        return None
    item = outer[path[0]][path[1]]
    if len(path) == 2:
        return str(item.name)
    inner = {MESSAGES: "field", ENUMS: "value", SERVICES: "method"}[path[0]]
    return f"{item.name}.{getattr(item, inner)[path[3]].name}" if path[2] == INNER else None


def one_line(comment: str) -> str:
    """Joins the lines of a comment and sets the names of errors as code."""
    return re.sub(r"\b([A-Z]\w+Exception)\b", r"`\1`", " ".join(comment.split())).replace("|", r"\|")


def paragraphs(comment: str) -> list[str]:
    return [one_line(part) for part in re.split(r"\n\s*\n", comment.strip())]


def operation_page(contract: Contract, file: str, service: str, method: Any) -> str:
    said = contract.comments[f".kms_grpc.v1.{service}.{method.name}"]
    prose, _, needs = said.partition("Permission: ")
    permission, _, errors = needs.partition("Errors: ")
    streams = {True: "stream of messages", False: "one message"}
    facts = [
        ("path", f"`/kms_grpc.v1.{service}/{method.name}`"),
        ("request, answer", f"{streams[method.client_streaming]}, {streams[method.server_streaming]}"),
        ("permission", re.sub(r"(kms:\w+)", r"`\1`", one_line(permission)).rstrip(".")),
        ("repeated", REPEATING[method.options.idempotency_level]),
        ("errors", one_line(errors).rstrip(".")),
    ]
    if service == "KeyManagementService":
        facts.append(("AWS's page", f"[{method.name}]({AWS.format(method.name)})"))
    lines = [MADE.format(file) + f"# {method.name}", *paragraphs(prose)]
    lines.append("\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in facts)]))
    lines += sections(contract, method.input_type, method.output_type)
    return "\n\n".join(lines) + "\n\n[All operations](README.md)\n"


def sections(contract: Contract, *first: str) -> Iterator[str]:
    """Yields a section per message and enum, each type once, those that a field needs after it."""
    waiting, seen = list(first), set()
    while waiting:
        name = waiting.pop(0)
        kind = contract.types.get(name)
        if name in seen or kind is None:
            continue
        seen.add(name)
        text = one_line(contract.comments[name])
        if hasattr(kind, "value"):
            yield f"## {kind.name}\n\n{text}\n\n{enum_table(contract, name, kind)}"
            continue
        yield f"## {kind.name}\n\n{text}\n\n{field_table(contract, name, kind)}"
        waiting += [field.type_name for field in kind.field if field.type_name]


def field_table(contract: Contract, name: str, message: Any) -> str:
    if not message.field:
        return "No fields."
    rows = ["| field | number | AWS's member | type | |", "|---|---|---|---|---|"]
    for field in message.field:
        comment = one_line(contract.comments[f"{name}.{field.name}"])
        kind = type_of(message, field)
        rows.append(f"| `{field.name}` | {field.number} | `{field.json_name}` | {kind} | {comment} |")
    return "\n".join(rows)


def type_of(message: Any, field: Any) -> str:
    short = field.type_name.rsplit(".", 1)[-1]
    entry = next((nested for nested in message.nested_type if nested.name == short), None)
    if entry is not None:
        key, value = (FieldDescriptorProto.Type.Name(inner.type)[5:].lower() for inner in entry.field)
        return f"map of {key} to {value}"
    kind = FieldDescriptorProto.Type.Name(field.type)[5:].lower()
    if field.type_name:
        own = field.type_name.startswith(".kms_grpc.")
        kind = f"[{short}](#{short.lower()})" if own else field.type_name[1:]
    return f"list of {kind}" if field.label == FieldDescriptorProto.LABEL_REPEATED else kind


def enum_table(contract: Contract, name: str, enum: Any) -> str:
    rows = ["| value | number | AWS's | |", "|---|---|---|---|"]
    for value in enum.value:
        aws = value.options.Extensions[options_pb2.aws_name]
        comment = one_line(contract.comments.get(f"{name}.{value.name}", ""))
        rows.append(f"| `{value.name}` | {value.number} | {f'`{aws}`' if aws else ''} | {comment} |")
    return "\n".join(rows)


def operation_pages() -> Iterator[tuple[str, str]]:
    """Yields path and text of each operation's page, then of the list of them."""
    contract = Contract(descriptors())
    lists = [MADE.format("the protos") + "# Operations"]
    for file in sorted(contract.files, key=lambda file: not file.name.endswith("/key_management.proto")):
        for service in file.service:
            full = f".{file.package}.{service.name}"
            rows = ["| operation | |", "|---|---|"]
            for method in service.method:
                page = f"{method.name}.md"
                first = paragraphs(contract.comments[f"{full}.{method.name}"])[0]
                rows.append(f"| [{method.name}]({page}) | {first.split('. ')[0].rstrip('.')} |")
                yield f"protos/operations/{page}", operation_page(contract, Path(file.name).name, service.name, method)
            lists += [f"## {service.name}", one_line(contract.comments[full]), "\n".join(rows)]
    yield "protos/operations/README.md", "\n\n".join(lists) + "\n"


def errors_page() -> tuple[str, str]:
    """Returns path and text of the list of all errors, in the order and sections of errors.py."""
    parts = [MADE.format("kms_grpc/errors.py") + "# Errors"]
    parts.append(
        "`retry` marks errors after which the same call may succeed later. The pages of the operations say when "
        "an error is answered."
    )
    source = (ROOT / "kms_grpc" / "errors.py").read_text("utf-8")
    for section, text in re.findall(r"^# --- (.+?) -+\n(.*?)(?=^# ---|\Z)", source, re.MULTILINE | re.DOTALL):
        rows = [error_row(getattr(errors, name)) for name in re.findall(r"^class (\w+)", text, re.MULTILINE)]
        table = ["| error | gRPC | HTTP | retry | |", "|---|---|---|---|---|", *rows]
        parts.append("\n".join([f"## {section.capitalize()}\n", *table]))
    return "protos/errors.md", "\n\n".join(parts) + "\n"


def error_row(error: type[errors.KMSError]) -> str:
    said = one_line(vars(error).get("__doc__") or "")
    retry = "retry" if error.retryable else ""
    return f"| `{error.__name__}` | {error.status} | {error.http_status} | {retry} | {said} |"


SETTINGS = ("config.py", "principal_settings.py", "issuer_settings.py")
TABLES = {
    "Settings": "",
    "Tls": "[tls]",
    "Quotas": "[quotas]",
    "Limits": "[limits]",
    "PrincipalSettings": "[[principals]]",
    "CredentialSettings": "[[principals.credentials]]",
    "IssuerSettings": "[[issuers]]",
    "MappingSettings": "[[mappings]]",
    "BundleSettings": "[[client_bundles]]",
}
"""The classes of config.py and of the modules beside it, and the table of the file that each describes."""


def configuration_page() -> tuple[str, str]:
    """Returns path and text of the reference of all settings."""
    trees = [ast.parse((ROOT / "kms_grpc" / name).read_text("utf-8")) for name in SETTINGS]
    classes = {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
    parts = [MADE.format("kms_grpc/config.py") + "# Configuration"]
    parts.append(
        "The settings of the TOML file that `kms-grpc serve --config FILE` reads. An unknown name stops the start. An "
        "option of the command line overrides the file."
    )
    for name, table in TABLES.items():
        parts.append(f"## {f'`{table}`' if table else 'Top level'}")
        if said := ast.get_docstring(classes[name]):
            parts.append(" ".join(said.split()))
        parts.append("\n".join(["| setting | type | default | |", "|---|---|---|---|", *setting_rows(classes[name])]))
    return "kms_grpc/processes/configuration.md", "\n\n".join(parts) + "\n"


DEFAULTS = {
    "list(MANAGED_SERVICES)": "the twelve of `MANAGED_SERVICES`",
    "max(2, os.cpu_count() or 1)": "one per core, at least 2",
    "DATA_DIR": "`kms-data`",
    "None": "none",
    "Quotas()": "as below",
    "Limits()": "as below",
}


KINDS = {
    "str": "text",
    "Path": "path",
    "int": "number",
    "float": "number",
    "bool": "true or false",
    "list[str]": "list of texts",
    "dict[str, str]": "table of texts",
    "list[PrincipalSettings]": "tables",
    "list[CredentialSettings]": "tables",
    "list[IssuerSettings]": "tables",
    "list[MappingSettings]": "tables",
    "list[BundleSettings]": "tables",
    "Literal['off', 'optional', 'required']": "text",
    "datetime": "date and time",
}


def setting_rows(settings: ast.ClassDef) -> Iterator[str]:
    for field, after in zip(settings.body, [*settings.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign):
            continue
        said = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            said = " ".join(str(after.value.value).split())
        kind = ast.unparse(field.annotation).replace(" | None", "")
        yield f"| `{ast.unparse(field.target)}` | {KINDS.get(kind, 'table')} | {default_of(field.value)} | {said} |"


def default_of(value: ast.expr | None) -> str:
    """Returns a default as the file would say it; the factory of a field is a lambda of config.py."""
    if value is None:
        return "required"
    if isinstance(value, ast.Call) and value.keywords and isinstance(value.keywords[0].value, ast.Lambda):
        value = value.keywords[0].value.body
    text = ast.unparse(value)
    if isinstance(value, ast.BinOp):  # 64 * 1024 * 1024
        text = f"{math.prod(node.value for node in ast.walk(value) if isinstance(node, ast.Constant)):_}"
    return DEFAULTS.get(text, f"`{text.lower() if text in ('True', 'False') else text}`").replace("'", '"')


def metrics_page() -> tuple[str, str]:
    """Returns path and text of the list of all metrics."""
    text = (ROOT / "kms_grpc" / "processes" / "metrics.py").read_text("utf-8")
    named = r'(Counter|Gauge|Histogram)MetricFamily\(\s*f"{PREFIX}(\w+)",\s*"([^"]+)"'
    found = [(kind, name + "_total" * (kind == "Counter"), said) for kind, name, said in re.findall(named, text)]
    for process, names in (("worker", gauges.WORKER), ("keeper", gauges.KEEPER)):
        for name, said in names.items():
            counts = name in gauges.COUNTS
            found.append(("Counter" if counts else "Gauge", f"{process}_{name}{'_total' * counts}", said))
    rows = [f"| `kms_grpc_{name}` | {kind.lower()} | {said} |" for kind, name, said in found]
    head = MADE.format("kms_grpc/processes") + "# Metrics\n\nThe page http://`metrics_listen`/metrics has:\n\n"
    return "kms_grpc/processes/metrics.md", head + "\n".join(["| metric | kind | |", "|---|---|---|", *rows]) + "\n"


def commands_page() -> tuple[str, str]:
    """Returns path and text of the list of all commands, in the order of `kms-grpc --help`."""
    parts = [MADE.format("kms_grpc/cli") + "# Commands"]
    parts.append("`kms-grpc COMMAND --help` explains each command, with its options and examples.")
    for section, commands in sections_of_help():
        rows = [row for name, text in commands for row in command_rows(command_named(name), f"kms-grpc {name}", text)]
        parts.append("\n".join([f"## {section}\n", "| command | |", "|---|---|", *rows]))
    codes = [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()]
    parts.append("\n".join(["## Exit codes\n", "| exit code | meaning |", "|---|---|", *codes]))
    return "kms_grpc/cli/commands.md", "\n\n".join(parts) + "\n"


def sections_of_help() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yields each section of `kms-grpc --help`, with its commands and their lines."""
    text = cli.get_help(click.Context(cli, info_name="kms-grpc", terminal_width=200))
    _, _, lists = text.partition("Show this message and exit.")
    for section, rows in re.findall(r"^(\S[^\n]*):\n((?:  \S+  +[^\n]+\n)+)", lists, re.MULTILINE):
        yield section, [tuple(row.split(None, 1)) for row in rows.splitlines()]


def command_named(name: str) -> click.Command | None:
    """Returns a command of the root; None for `bench`, whose commands are in its own help."""
    return None if name == BENCH else cli.get_command(click.Context(cli), name)


def command_rows(command: click.Command | None, path: str, text: str) -> Iterator[str]:
    """Yields the rows of a command, or of the commands of a group."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from command_rows(inner, f"{path} {inner.name}", inner.get_short_help_str(limit=120))
    else:
        yield f"| `{path}` | {text} |"


def main(target: Path) -> None:
    folder = target / "protos" / "operations"
    folder.mkdir(parents=True, exist_ok=True)
    pages = dict([*operation_pages(), errors_page(), configuration_page(), metrics_page(), commands_page()])
    for stale in folder.glob("*.md"):
        if f"protos/operations/{stale.name}" not in pages:
            stale.unlink()
    for name, text in pages.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
