"""`kms-grpc data-key`, `random`: data keys for encryption outside the service, and random bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kms_grpc.cli.delivery import INSIDE, AnswerPart, deliver, target_of
from kms_grpc.cli.encryption import base64_option, dry_run_option, force_option, to_option, try_only
from kms_grpc.cli.options import context_option, key_option, with_client
from kms_grpc.cli.output import JSON

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient


@click.command("data-key", short_help="Make a data key to encrypt your data with.")
@key_option
@click.option("--bytes", "size", type=click.IntRange(1, 1024), default=32, show_default=True, help="Length of the key.")
@context_option()
@click.option("--ciphertext-to", metavar="FILE", help="File for the encrypted data key; - is standard output.")
@click.option("--plaintext-to", metavar="FILE", help="File for the plaintext data key; - is standard output.")
@click.option("--without-plaintext", is_flag=True, help="Return the encrypted data key only.")
@base64_option
@force_option
@dry_run_option
@with_client
def data_key(
    client: KeyManagementClient, output: str, *, key_id: str, size: int, context: dict[str, str],
    ciphertext_to: str | None, plaintext_to: str | None, without_plaintext: bool,
    as_base64: bool, force: bool, dry_run: bool,
) -> None:  # fmt: skip
    """Make a data key: random bytes to encrypt your data with, and the same bytes encrypted under KEY.

    Encrypt your data with the plaintext data key and discard it. Store the encrypted data key beside the data:
    `kms-grpc decrypt` returns the plaintext. A pipe keeps the plaintext data key off the disk.

    \b
    kms-grpc data-key --key alias/orders --ciphertext-to big.key --plaintext-to - | my-encryption big.tar
    kms-grpc data-key --key alias/orders --ciphertext-to big.key --without-plaintext
    kms-grpc data-key --key alias/orders --output json
    """
    _check_targets(output, plaintext_to, without_plaintext, dry_run)
    call = client.generate_data_key_without_plaintext if without_plaintext else client.generate_data_key
    if dry_run:
        try_only(output, lambda: call(key_id, context, number_of_bytes=size, dry_run=True))
        return
    answer = call(key_id, context, number_of_bytes=size)
    parts = [AnswerPart("CiphertextBlob", answer.ciphertext_blob, ciphertext_to or INSIDE, as_base64=as_base64)]
    if plaintext_to is not None:
        parts.append(AnswerPart("Plaintext", getattr(answer, "plaintext", b""), plaintext_to, secret=True))
    deliver(output, answer, *parts, force=force)


def _check_targets(output: str, plaintext_to: str | None, without_plaintext: bool, dry_run: bool) -> None:
    if without_plaintext and plaintext_to is not None:
        raise click.UsageError("--without-plaintext and --plaintext-to exclude each other")
    if plaintext_to is None and not (without_plaintext or dry_run or output == JSON):
        raise click.UsageError(
            "choose where the data key goes: --plaintext-to FILE, --plaintext-to - (a pipe), --output json, "
            "or --without-plaintext"
        )


@click.command("random", short_help="Make random bytes.")
@click.argument("size", metavar="BYTES", type=click.IntRange(1, 1024))
@to_option
@base64_option
@force_option
@with_client
def random(client: KeyManagementClient, output: str, size: int, to: str | None, as_base64: bool, force: bool) -> None:
    """Make 1 to 1,024 random bytes.

    \b
    kms-grpc random 32 --base64
    kms-grpc random 64 --to seed.bin
    """
    answer = client.generate_random(size)
    part = AnswerPart("Plaintext", answer.plaintext, target_of(to, output), secret=True, as_base64=as_base64)
    deliver(output, answer, part, force=force)
