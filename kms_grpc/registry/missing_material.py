"""The error of a key whose material is not in the store or does not unwrap."""

from __future__ import annotations

from kms_grpc.errors import KeyUnavailableException
from kms_grpc.model.key import Key


def missing_material(key: Key) -> KeyUnavailableException:
    """Returns the refusal of a key whose material is not in the store or does not unwrap."""
    return KeyUnavailableException(
        f"{key.arn} is unavailable: its key material is missing from the registry or does not unwrap. Restore the "
        f"registry of region {key.region} from a backup; `kms-grpc check` lists all that is damaged.",
        key=key.arn,
    )
