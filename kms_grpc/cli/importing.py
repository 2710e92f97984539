"""`kms-grpc import`: key material that was made outside, wrapped here or by openssl, into a key of origin EXTERNAL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from kms_grpc.cli.delivery import Part, deliver
from kms_grpc.cli.files import read_input
from kms_grpc.cli.options import with_client
from kms_grpc.cli.output import JSON, print_facts, print_json, shaped

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient

ALGORITHMS: Final = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256")
WRAPPING_KEYS: Final = ("RSA_2048", "RSA_3072", "RSA_4096")
MATERIAL_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Terms:
    """What an import says beside the material."""

    expires: datetime | None
    is_new: bool
    description: str | None
    material_id: str | None

    def options(self) -> list[str]:
        """As they are given on the command line."""
        given = ["--expires", self.expires.isoformat()] if self.expires else ["--no-expiry"]
        given += ["--new"] if self.is_new else []
        given += ["--description", self.description] if self.description is not None else []
        return given + (["--id", self.material_id] if self.material_id else [])


def _parse_date(context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    """2027-01-31 or 2027-01-31T12:00:00+01:00; UTC where no zone is said."""
    if text is None:
        return None
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a date such as 2027-01-31 or 2027-01-31T12:00:00Z") from None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


@click.command("import", short_help="Import key material that you made.")
@click.argument("key_id", metavar="KEY")
@click.option("--file", "source", metavar="FILE", help="The key material: 32 bytes. - is standard input.")
@click.option("--plan", is_flag=True, help="Print the openssl commands that do it by hand, and do nothing.")
@click.option("--parameters-to", metavar="DIR", help="Only fetch PublicKey.bin and ImportToken.bin, into DIR.")
@click.option("--wrapped", metavar="FILE", help="Import what openssl has wrapped already; with --parameters.")
@click.option("--parameters", metavar="DIR", help="Where --parameters-to has put the token.")
@click.option(
    "--algorithm",
    type=click.Choice(ALGORITHMS, case_sensitive=False),
    help="How it is wrapped.  [RSAES_OAEP_SHA_256; --plan: RSAES_OAEP_SHA_1]",
)
@click.option(
    "--wrapping-key",
    type=click.Choice(WRAPPING_KEYS, case_sensitive=False),
    default="RSA_3072",
    show_default=True,
    help="Kind of the key that it is wrapped under.",
)
@click.option(
    "--expires",
    metavar="DATE",
    callback=_parse_date,
    help="When the material is deleted by itself, at most 365 days ahead: 2027-01-31, or with time and zone.",
)
@click.option("--no-expiry", is_flag=True, help="It does not expire. So it is where nothing is said.")
@click.option(
    "--new", "is_new", is_flag=True, help="More material for a key that has some: it waits for `rotation now`."
)
@click.option("--description", help="Of the key material, up to 256 characters.")
@click.option("--id", "material_id", metavar="ID", help="Refuse other material than the one with this KeyMaterialId.")
@with_client
def import_(
    client: KeyManagementClient, output: str, *, key_id: str, source: str | None, plan: bool, parameters_to: str | None,
    wrapped: str | None, parameters: str | None, algorithm: str | None, wrapping_key: str, expires: datetime | None,
    no_expiry: bool, is_new: bool, description: str | None, material_id: str | None,
) -> None:  # fmt: skip
    """Give a key of origin EXTERNAL its material: wrapped on this machine, unwrapped inside the service.

    Keep the file: the service never gives the material back, and only the same bytes bring it back after it expired or
    was deleted. KEY is an id or an ARN.

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
        _print_plan(client, output, key_id, algorithm or "RSAES_OAEP_SHA_1", wrapping_key, source, terms)
    elif parameters_to:
        _fetch(client, output, key_id, algorithm or "RSAES_OAEP_SHA_256", wrapping_key, Path(parameters_to))
    elif wrapped:
        token = read_input(str(Path(parameters or ".") / "ImportToken.bin"))
        _upload(client, output, key_id, token, read_input(wrapped), terms)
    else:
        _wrap_and_upload(client, output, key_id, algorithm or "RSAES_OAEP_SHA_256", wrapping_key, source or "-", terms)


def _check_way(
    source: str | None, plan: bool, parameters_to: str | None, wrapped: str | None, parameters: str | None
) -> None:
    ways = [bool(plan), parameters_to is not None, wrapped is not None, source is not None and not plan]
    if sum(ways) != 1:
        raise click.UsageError("say what to do: one of --file FILE, --plan, --parameters-to DIR, --wrapped FILE")
    if (wrapped is None) != (parameters is None):
        raise click.UsageError("--wrapped FILE and --parameters DIR belong together")


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
    """Public key and token into the folder, which is made for the caller alone if it is not there."""
    from kms_grpc.cli.import_plan import PUBLIC_KEY, TOKEN

    given = client.get_parameters_for_import(key_id, wrapping_algorithm=algorithm, wrapping_key_spec=wrapping_key)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"{folder}: {error.strerror}") from None
    public_key = Part("PublicKey", given.public_key, str(folder / PUBLIC_KEY))
    token = Part("ImportToken", given.import_token, str(folder / TOKEN), secret=True)
    deliver(output, given, public_key, token)


def _print_plan(
    client: KeyManagementClient, output: str, key_id: str, algorithm: str, wrapping_key: str, source: str | None,
    terms: Terms,
) -> None:  # fmt: skip
    from kms_grpc.cli.import_plan import plan
    from kms_grpc.model.key import IMPORT_VALID_HOURS

    key = client.describe_key(key_id).key_metadata
    if shaped(key)["Origin"] != "EXTERNAL":
        raise click.UsageError(f"{key.arn} makes its own key material: kms-grpc keys create --origin external")
    region = key.arn.split(":")[3]
    commands = plan(key.key_id, region, algorithm, wrapping_key, source, terms.options())
    if output == JSON:
        print_json({"Commands": commands})
        return
    click.echo(
        f"# Key material for {key.arn}. Public key and token are good for {IMPORT_VALID_HOURS} hours and one import."
    )
    click.echo("\n".join(commands))
    click.echo("# Keep the plaintext key material: only the same bytes bring the key back.")
