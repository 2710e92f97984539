"""`kms-grpc encrypt`, `decrypt`, `re-encrypt`: up to 4,096 bytes, such as passwords and encrypted data keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

from kms_grpc.cli import suggestions
from kms_grpc.cli.delivery import AnswerPart, deliver, target_of
from kms_grpc.cli.files import STANDARD, read_blob, read_input
from kms_grpc.cli.options import Command, context_option, key_option, with_client
from kms_grpc.cli.output import print_done
from kms_grpc.errors import DryRunOperationException

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient

input_argument = click.argument("source", metavar="[INPUT]", default=STANDARD, type=click.Path(allow_dash=True))
to_option = click.option("--to", metavar="FILE", help="File for the result; - is standard output.")
force_option = click.option("--force", is_flag=True, help="Write binary output even to a terminal.")
base64_option = click.option("--base64", "as_base64", is_flag=True, help="The ciphertext is base64 text.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Check key and permissions only.")


def blob_options(command: Command) -> Command:
    """Adds INPUT, --to, --base64, --force and --dry-run to a command."""
    for option in (dry_run_option, force_option, base64_option, to_option, input_argument):
        command = option(command)
    return command


@click.command(short_help="Encrypt up to 4,096 bytes under a key.")
@blob_options
@key_option
@context_option()
@with_client
def encrypt(
    client: KeyManagementClient, output: str, *, key_id: str, context: dict[str, str],
    source: str, to: str | None, as_base64: bool, force: bool, dry_run: bool,
) -> None:  # fmt: skip
    """Encrypt 1 to 4,096 bytes under a key.

    INPUT is a file; without INPUT, or with -, standard input is read. For larger data use `kms-grpc encrypt-file`.

    \b
    kms-grpc encrypt --key alias/orders password.txt --to password.kms
    printf %s "$SECRET" | kms-grpc encrypt --key alias/orders --context app=shop --base64
    kms-grpc encrypt --key alias/orders password.txt --output json
    """
    plaintext = read_input(source)
    if dry_run:
        try_only(output, lambda: client.encrypt(key_id, plaintext, context, dry_run=True))
        return
    answer = client.encrypt(key_id, plaintext, context)
    blob = AnswerPart("CiphertextBlob", answer.ciphertext_blob, target_of(to, output), as_base64=as_base64)
    deliver(output, answer, blob, force=force)


@click.command(short_help="Decrypt a ciphertext.")
@blob_options
@click.option(
    "--key",
    "--key-id",
    "key_id",
    metavar="KEY",
    shell_complete=suggestions.keys_and_aliases,
    help="Refuse ciphertexts of any other key.",
)
@context_option()
@with_client
def decrypt(
    client: KeyManagementClient, output: str, *, key_id: str | None, context: dict[str, str],
    source: str, to: str | None, as_base64: bool, force: bool, dry_run: bool,
) -> None:  # fmt: skip
    """Decrypt a ciphertext. The ciphertext names its key; with --key, any other key is refused.

    INPUT is a file; without INPUT, or with -, standard input is read. Only you can read the file of --to (mode 0600).

    \b
    kms-grpc decrypt password.kms --to password.txt
    kms-grpc decrypt --base64 --context app=shop < password.b64
    """
    blob = read_blob(source, as_base64)
    if dry_run:
        try_only(output, lambda: client.decrypt(blob, context, key_id=key_id, dry_run=True))
        return
    answer = client.decrypt(blob, context, key_id=key_id)
    plaintext = AnswerPart("Plaintext", answer.plaintext, target_of(to, output), secret=True)
    deliver(output, answer, plaintext, force=force)


@click.command("re-encrypt", short_help="Encrypt a ciphertext under another key, inside the service.")
@blob_options
@key_option
@click.option(
    "--source-key",
    "source_key_id",
    metavar="KEY",
    shell_complete=suggestions.keys_and_aliases,
    help="Refuse ciphertexts of any other key.",
)
@context_option("--source-context", "Encryption context of the input")
@context_option("--context", "Encryption context of the result")
@with_client
def re_encrypt(
    client: KeyManagementClient, output: str, *, key_id: str, source_key_id: str | None,
    source_context: dict[str, str], context: dict[str, str],
    source: str, to: str | None, as_base64: bool, force: bool, dry_run: bool,
) -> None:  # fmt: skip
    """Encrypt a ciphertext under another key or encryption context. The plaintext stays inside the service.

    INPUT is a file; without INPUT, or with -, standard input is read.

    \b
    kms-grpc re-encrypt old.kms --key alias/orders-2027 --to new.kms
    kms-grpc re-encrypt old.kms --key alias/orders --source-context app=shop --context app=store --to new.kms
    """
    blob = read_blob(source, as_base64)
    call = partial(
        client.re_encrypt, blob, key_id, source_key_id=source_key_id, source_encryption_context=source_context,
        destination_encryption_context=context,
    )  # fmt: skip
    if dry_run:
        try_only(output, lambda: call(dry_run=True))
        return
    answer = call()
    part = AnswerPart("CiphertextBlob", answer.ciphertext_blob, target_of(to, output), as_base64=as_base64)
    deliver(output, answer, part, force=force)


def try_only(output: str, call: Callable[[], object]) -> None:
    """Makes a dry run, which the service answers with DryRunOperationException if the call would have succeeded."""
    try:
        call()
    except DryRunOperationException:
        print_done(output, "dry run: the call would have succeeded")
