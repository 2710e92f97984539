"""Key ids, ARNs, alias names and markers of every shape: valid, valid in another region or account, and malformed."""

from __future__ import annotations

from dataclasses import dataclass

from tests.examples import Thing


@dataclass(frozen=True)
class World:
    """The things that requests can name: two enabled keys of the called region, an alias and a blob of the first."""

    region: str = "eu-central-1"
    other_region: str = "us-east-1"
    account: str = "123456789012"
    key_id: str = "0b1c7f0e-6a52-4f0a-9d0f-3a54d1f3a001"
    second_key_id: str = "0b1c7f0e-6a52-4f0a-9d0f-3a54d1f3a002"
    other_region_key_id: str = "0b1c7f0e-6a52-4f0a-9d0f-3a54d1f3a003"
    alias: str = "alias/bad-requests"
    blob: bytes = bytes(range(200))

    def arn(self, region: str | None = None, resource: str | None = None, account: str | None = None) -> str:
        resource = f"key/{self.key_id}" if resource is None else resource
        return f"arn:aws:kms:{self.region if region is None else region}:{account or self.account}:{resource}"

    def value_of(self, thing: Thing) -> str | bytes:
        """Returns the value of one of an example's things. Import packages are well-formed, but not valid."""
        made: dict[str, str | bytes] = {
            "key_id": self.second_key_id if thing.key == "to" else self.key_id,
            "alias": self.alias,
            "new_alias": f"{self.alias}-more",
            "blob": self.blob,
            "grant": "5e" * 32,
            "import_token": b"token",
            "wrapped_material": b"wrapped",
        }
        return made[thing.kind]


MARKERS = ("x", "AAAA", "AAAA====", "\x00", "ÿ" * 40, "\u20ac", "eyJsYXN0IjoxfQ==", "0" * 64, "-1", "a" * 1024)


def key_ids(world: World) -> list[str]:
    """Key identifiers of every shape: valid ones, those of other regions and accounts, and malformed ones."""
    key, bare = world.key_id, world.key_id.replace("-", "")
    return [
        key,
        world.second_key_id,
        world.arn(),
        world.alias,
        world.arn(resource=world.alias),
        *_damaged_ids(key, bare),
        *_foreign(world),
        *_damaged_arns(world),
        *alias_names(world),
    ]


def _damaged_ids(key: str, bare: str) -> list[str]:
    return [
        bare,
        key.upper(),
        f"{{{key}}}",
        f"urn:uuid:{key}",
        key[:-1],
        key + "0",
        key.replace("-", "_"),
        f" {key}",
        f"{key}\n",
        f"{key}\0",
        key.replace("0", "o"),
        key.replace("0", "\u0660"),
        f"mrk-{bare}",
        f"mrk-{bare[1:]}",
        f"mrk-{key}",
        f"MRK-{bare}",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "-",
        "/",
        ":",
        "*",
        "..",
        "fake-key-id",
        "' OR 1=1 --",
        "%00",
        "\u202e",
        "\ufeff" + key,
    ]


def _foreign(world: World) -> list[str]:
    """Well-formed identifiers of another region, which has a key, an unserved region, another account or partition."""
    return [
        world.other_region_key_id,
        world.arn(world.other_region),
        world.arn(world.other_region, f"key/{world.other_region_key_id}"),
        world.arn(world.other_region, world.alias),
        world.arn("xx-nowhere-1"),
        world.arn(account="999999999999"),
        world.arn(account="999999999999", resource=world.alias),
        world.arn().replace("arn:aws:", "arn:aws-cn:"),
    ]


def _damaged_arns(world: World) -> list[str]:
    arn, key = world.arn(), world.key_id
    return [
        "arn:",
        "arn:aws:kms",
        "arn:aws:kms:::",
        arn.replace(":kms:", ":s3:"),
        arn.replace("arn:", "ARN:"),
        world.arn(""),
        arn.replace(world.account, ""),
        arn.replace(world.account, "12345678901"),
        arn.replace(world.account, "\u0661" * 12),
        world.arn(resource="key/"),
        world.arn(resource="key"),
        world.arn(resource=f"key:{key}"),
        world.arn(resource=f"KEY/{key}"),
        world.arn(resource=f"key/{key}/x"),
        world.arn(resource=f"key/{world.alias}"),
        world.arn(resource=f"grant/{key}"),
        world.arn(resource="alias/"),
        world.arn(resource=key),
        arn + "\n",
        f" {arn}",
        arn + ":x",
        arn.replace(":", "\uff1a"),
        arn + "/" * 1900,
    ]


def alias_names(world: World) -> list[str]:
    return [
        "alias/",
        "alias",
        "alias//",
        "Alias/x",
        "alias/aws/",
        "alias/aws/s3",
        "alias/AWS/s3",
        world.alias.upper(),
        "alias/..",
        "alias/with space",
        "alias/\u00fc",
        "alias/tab\t",
        "alias/line\n",
        "alias/nul\0",
        "alias/alias/x",
        "aliasx",
        "x",
        "alias/nobody-made-this",
        "alias/" + "a" * 250,
        "alias/" + "a" * 251,
        world.key_id,
        world.arn(resource=world.alias),
        world.arn(),
        "alias/a:b",
        "alias/a?b",
        "alias/%2e",
    ]
