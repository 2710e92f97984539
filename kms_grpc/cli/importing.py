"""`kms-grpc import`: imports key material, wrapped by this command or by openssl, into a key of origin EXTERNAL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from kms_grpc.cli import suggestions
from kms_grpc.cli.delivery import AnswerPart, deliver
from kms_grpc.cli.files import read_input
from kms_grpc.cli.options import with_client
from kms_grpc.cli.output import JSON, print_facts, print_json, shaped

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient

ALGORITHMS: Final = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256")
WRAPPING_KEYS: Final = ("RSA_2048", "RSA_3072", "RSA_4096")
USUAL_ALGORITHM: Final = "RSAES_OAEP_SHA_256"
MATERIAL_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Terms:
    """The options of an import beside the key material itself."""

    expires: datetime | None
    is_new: bool
    description: str | None
    material_id: str | None

    def options(self) -> list[str]:
        """Returns the same options as arguments of `kms-grpc import`."""
        given = ["--expires", self.expires.isoformat()] if self.expires else ["--no-expiry"]
        given += ["--new"] if self.is_new else []
        given += ["--description", self.description] if self.description is not None else []
        return given + (["--id", self.material_id] if self.material_id else [])


def _parse_date(context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    """Parses a date such as 2027-01-31 or 2027-01-31T12:00:00+01:00; without a zone it is UTC."""
    if text is None:
        return None
    try:
        date = datetime.fromisoformat(text)
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is not a date such as 2027-01-31 or 2027-01-31T12:00:00Z") from None


@click.command("import", short_help="Import your own key material.")
@click.argument("key_id", metavar="KEY", shell_complete=suggestions.keys)
@click.option("--file", "source", metavar="FILE", help="The key material: 32 bytes. - is standard input.")
@click.option("--plan", is_flag=True, help="Print the commands for an import with openssl, and do nothing.")
@click.option("--parameters-to", metavar="DIR", help="Only fetch PublicKey.bin and ImportToken.bin into DIR.")
@click.option("--wrapped", metavar="FILE", help="Import key material that openssl has wrapped; with --parameters.")
@click.option("--parameters", metavar="DIR", help="The DIR of --parameters-to, which holds the import token.")
@click.option(
    "--algorithm",
    type=click.Choice(ALGORITHMS, case_sensitive=False),
    help="Wrapping algorithm.  [RSAES_OAEP_SHA_256]",
)
@click.option(
    "--wrapping-key",
    type=click.Choice(WRAPPING_KEYS, case_sensitive=False),
    default="RSA_3072",
    show_default=True,
    help="Spec of the wrapping key.",
)
@click.option(
    "--expires",
    metavar="DATE",
    callback=_parse_date,
    help="Date when the key material is deleted, at most 365 days ahead: 2027-01-31, or with time and zone.",
)
@click.option("--no-expiry", is_flag=True, help="The key material does not expire. This is the default.")
@click.option(
    "--new", "is_new", is_flag=True, help="Add key material to a key that has some; `rotation now` makes it current."
)
@click.option("--description", help="Description of the key material, up to 256 characters.")
@click.option("--id", "material_id", metavar="ID", help="Refuse key material that has another KeyMaterialId.")
@with_client
def import_(
    client: KeyManagementClient, output: str, *, key_id: str, source: str | None, plan: bool, parameters_to: str | None,
    wrapped: str | None, parameters: str | None, algorithm: str | None, wrapping_key: str, expires: datetime | None,
    no_expiry: bool, is_new: bool, description: str | None, material_id: str | None,
) -> None:  # fmt: skip
    """Import key material into a key of origin EXTERNAL. It is wrapped on this machine and unwrapped in the service.

    Keep the file: the service never returns key material. After the key material has expired or was deleted, only the
    same bytes make the key usable again. KEY is an id or an ARN.

    \b
    kms-grpc keys create --origin external
    openssl rand -out PlaintextKeyMaterial.bin 32
    kms-grpc import 1234abcd-12ab-34cd-56ef-1234567890ab --file PlaintextKeyMaterial.bin
    kms-grpc import 1234abcd-12ab-34cd-56ef-1234567890ab --plan
    """
    _check_way(source, plan, parameters_to, wrapped, parameters)
    if expires and no_expiry:
        raise click.UsageError("--expires and --no-expiry exclude each other")
    terms = Terms(expires, is_new, description, material_id)
    if plan:
        _print_plan(client, output, key_id, algorithm or USUAL_ALGORITHM, wrapping_key, source, terms)
    elif parameters_to:
        _fetch(client, output, key_id, algorithm or USUAL_ALGORITHM, wrapping_key, Path(parameters_to))
    elif wrapped:
        token = read_input(str(Path(parameters or ".") / "ImportToken.bin"))
        _upload(client, output, key_id, token, read_input(wrapped), terms)
    else:
        _wrap_and_upload(client, output, key_id, algorithm or USUAL_ALGORITHM, wrapping_key, source or "-", terms)


def _check_way(
    source: str | None, plan: bool, parameters_to: str | None, wrapped: str | None, parameters: str | None
) -> None:
    ways = [bool(plan), parameters_to is not None, wrapped is not None, source is not None and not plan]
    if sum(ways) != 1:
        raise click.UsageError("give one of --file FILE, --plan, --parameters-to DIR, --wrapped FILE")
    if (wrapped is None) != (parameters is None):
        raise click.UsageError("--wrapped FILE and --parameters DIR need each other")


def _wrap_and_upload(
    client: KeyManagementClient, output: str, key_id: str, algorithm: str, wrapping_key: str, source: str, terms: Terms
) -> None:
    from kms_grpc.client.wrapping import wrap

    material = read_input(source)
    if len(material) != MATERIAL_BYTES:
        advice = f"openssl rand -out FILE {MATERIAL_BYTES}"
        raise click.UsageError(f"{source}: {MATERIAL_BYTES} bytes are needed, not {len(material)}: {advice}")
    given = client.get_parameters_for_import(key_id, wrapping_algorithm=algorithm, wrapping_key_spec=wrapping_key)
    _upload(client, output, key_id, given.import_token, wrap(given.public_key, algorithm, material), terms)


def _upload(
    client: KeyManagementClient, output: str, key_id: str, token: bytes, encrypted: bytes, terms: Terms
) -> None:
    answer = client.import_key_material(
        key_id, token, encrypted, valid_to=terms.expires, import_type="NEW_KEY_MATERIAL" if terms.is_new else None,
        key_material_description=terms.description, key_material_id=terms.material_id,
    )  # fmt: skip
    print_json(shaped(answer)) if output == JSON else print_facts(shaped(answer))


def _fetch(
    client: KeyManagementClient, output: str, key_id: str, algorithm: str, wrapping_key: str, folder: Path
) -> None:
    """Writes the public key and the import token into a folder, which is created with mode 0700 if it is missing."""
    from kms_grpc.cli.import_plan import PUBLIC_KEY, TOKEN

    given = client.get_parameters_for_import(key_id, wrapping_algorithm=algorithm, wrapping_key_spec=wrapping_key)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"{folder}: {error.strerror}") from None
    public_key = AnswerPart("PublicKey", given.public_key, str(folder / PUBLIC_KEY))
    token = AnswerPart("ImportToken", given.import_token, str(folder / TOKEN), secret=True)
    deliver(output, given, public_key, token)


def _print_plan(
    client: KeyManagementClient, output: str, key_id: str, algorithm: str, wrapping_key: str, source: str | None,
    terms: Terms,
) -> None:  # fmt: skip
    from kms_grpc.cli.import_plan import OLDER_NOTES, plan
    from kms_grpc.model.key import IMPORT_VALID_HOURS

    key = client.describe_key(key_id).key_metadata
    if shaped(key)["Origin"] != "EXTERNAL":
        raise click.UsageError(
            f"{key.arn} takes no imported key material: create a key that does, kms-grpc keys create --origin external"
        )
    region = key.arn.split(":")[3]
    commands = plan(key.key_id, region, algorithm, wrapping_key, source, terms.options())
    if output == JSON:
        print_json({"Commands": commands})
        return
    valid = f"valid for {IMPORT_VALID_HOURS} hours and one import"
    click.echo(f"# Key material for {key.arn}. Public key and import token are {valid}.")
    click.echo(f"# {OLDER_NOTES}")
    click.echo("\n".join(commands))
    click.echo("# Keep the plaintext key material: only the same bytes make the key usable again after a deletion.")
