"""Shell commands that prepare another terminal to call a server of this machine."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from kms_grpc.config import DEV_ACCESS_KEY, DEV_SECRET, Settings


def path_export() -> str:
    """Returns the line that puts `kms-grpc` on the PATH."""
    return f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"


def caller_exports(address: str, region: str, token_file: Path) -> list[str]:
    """Returns the lines that `kms-grpc` and the client library need. `address` is a word of the shell."""
    return [
        f"export KMS_GRPC_ENDPOINT={address} KMS_GRPC_REGION={region}",
        f'export KMS_GRPC_TOKEN="$(cat {shlex.quote(str(token_file))})"',
    ]


def aws_exports(url: str, region: str) -> list[str]:
    """Returns the lines that AWS's own clients need. `url` is a word of the shell.

    no_proxy keeps plaintexts away from the proxy of `http_proxy`, which those clients obey on the loopback as well.
    """
    return [
        f"export AWS_ENDPOINT_URL_KMS={url} AWS_DEFAULT_REGION={region}",
        f"export AWS_ACCESS_KEY_ID={DEV_ACCESS_KEY} AWS_SECRET_ACCESS_KEY={DEV_SECRET} no_proxy=127.0.0.1,localhost",
    ]


def announcement(settings: Settings) -> str:
    """Returns what a server says on a terminal when it starts: what it does and, with `dev`, how to call it."""
    aws = f"{_url(settings, settings.aws_listen)} for AWS's clients" if settings.aws_listen else ""
    doors = [door for door in (settings.listen, aws) if door]
    lines = [
        f"kms-grpc serves {', '.join(settings.regions)} at {' and '.join(doors)}.",
        f"Keys are in {settings.data_dir.absolute()}. The log follows; Ctrl-C stops the server.",
    ]
    if settings.dev:
        lines += ["", "To call it, paste this into another terminal:", "", *_indented(_dev_exports(settings)), ""]
    return "\n".join(lines)


def _dev_exports(settings: Settings) -> list[str]:
    folder, region = settings.data_dir.absolute(), settings.default_region
    address = _word(settings.listen, folder / "run" / "address", settings.workers)
    lines = [path_export(), *caller_exports(address, region, folder / "dev.token")]
    if settings.tls is not None:
        certificate = shlex.quote(str(settings.tls.certificate_file.absolute()))
        lines.append(f"export KMS_GRPC_TLS_CA={certificate} AWS_CA_BUNDLE={certificate}")
    if settings.aws_listen is not None and not settings.aws_listen.startswith("unix:"):
        word = _word(settings.aws_listen, folder / "run" / "aws-address", settings.workers)
        lines += aws_exports(_url(settings, word), region)
    return [*lines, "kms-grpc wait", "kms-grpc keys list"]


def _url(settings: Settings, address: str) -> str:
    if address.startswith("unix:"):
        return address
    return f"{'http' if settings.tls is None else 'https'}://{address}"


def _word(address: str, published: Path, workers: int) -> str:
    """Returns the address as a word of the shell. Where the server chooses it, the word reads it from the server's
    file."""
    chosen = address.endswith(":0") or (address.startswith("unix:") and workers > 1)
    return f'"$(head -n1 {shlex.quote(str(published))})"' if chosen else shlex.quote(address)


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]
