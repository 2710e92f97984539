"""Input and output of bytes: files, or standard input and output for `-`. Output files are written atomically."""

from __future__ import annotations

import base64
import binascii
import os
import shlex
import sys
from pathlib import Path
from typing import Final

import click

from kms_grpc.cli.atomic import whole_file
from kms_grpc.cli.formats import Format, format_in_base64, format_of

STANDARD: Final = "-"
INPUT_LIMIT: Final = 4 * 1024 * 1024
"""The longest input of a command, in bytes: the server refuses longer messages."""
_HEAD: Final = 64
"""Bytes at the start of an input that tell its format."""
_PRIVATE: Final = 0o600
_ORDINARY: Final = 0o666


def read_input(source: str) -> bytes:
    """Returns the content of a file or of standard input, up to 4 MiB. Raises UsageError if that cannot be read."""
    try:
        if source == STANDARD:
            content = sys.stdin.buffer.read(INPUT_LIMIT + 1)
        else:
            with Path(source).open("rb") as file:
                content = file.read(INPUT_LIMIT + 1)
    except OSError as error:
        raise click.UsageError(f"{error.filename or source}: {error.strerror}") from None
    if len(content) > INPUT_LIMIT:
        raise click.UsageError(f"{source}: over {INPUT_LIMIT} bytes. For files of any size: kms-grpc encrypt-file")
    return content


def read_token(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"--token-file {path}: {getattr(error, 'strerror', None) or 'not ASCII'}") from None


def read_blob(source: str, is_base64: bool) -> bytes:
    """Returns a ciphertext blob from a file or standard input: raw, or as base64 text with any white space.

    Base64 is also recognized by its first bytes. Raises UsageError for a file that another command decrypts.
    """
    content = read_input(source)
    within = None if format_of(content) else format_in_base64(content[:_HEAD])
    if format_of(content) is Format.MESSAGE or within is Format.MESSAGE:
        raise click.UsageError(another_command(source, Format.MESSAGE, within))
    if not is_base64 and not within:
        return content
    try:
        return base64.b64decode(b"".join(content.split()), validate=True)
    except binascii.Error:
        if not is_base64:
            return content
        raise click.UsageError(f"{source}: not base64. Leave --base64 out if it is the blob itself") from None


def another_command(source: str, found: Format, in_base64: object) -> str:
    """Returns what to say about an input of a format that another command decrypts."""
    what = {Format.MESSAGE: "was made by encrypt-file or the AWS Encryption SDK", Format.BLOB: "was made by encrypt"}
    file = "" if source == STANDARD else f" {shlex.quote(source)}"
    line = f"base64 --decode{file} | {found.command}" if in_base64 else f"{found.command}{file}"
    return f"{source}: {what[found]}{', and is in base64' if in_base64 else ''}. Decrypt it by: {line}"


def refuse_blob(source: str, head: bytes) -> None:
    """Raises UsageError if the input of decrypt-file begins like a file that another command decrypts."""
    found = format_of(head)
    within = None if found else format_in_base64(head[:_HEAD])
    if found is Format.BLOB or within:
        raise click.UsageError(another_command(source, found or within or Format.BLOB, within))


def write_output(target: str, content: bytes, *, secret: bool, force: bool = False) -> None:
    """Writes to a file, atomically and with mode 0600 for a secret, or to standard output.

    Raises UsageError for binary output to a terminal, unless `force` is set.
    """
    if target == STANDARD:
        _write_standard(content, force)
        return
    try:
        _write_file(Path(target), content, _PRIVATE if secret else ordinary_mode())
    except OSError as error:
        raise click.UsageError(f"{target}: {error.strerror}") from None


def _write_standard(content: bytes, force: bool) -> None:
    if sys.stdout.isatty() and not force and not _is_text(content):
        raise click.UsageError(
            "will not write binary output to a terminal. Give --to FILE, --base64 or --output json, or --force"
        )
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def ordinary_mode() -> int:
    """Returns the permissions of files that hold no secret: 0666 less the umask."""
    return _ORDINARY & ~_umask()


def _write_file(path: Path, content: bytes, mode: int) -> None:
    with whole_file(path, mode) as file:
        file.write(content)


def _is_text(content: bytes) -> bool:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(char.isprintable() or char in "\n\t" for char in text)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
