"""Values of condition keys for a call that nobody makes, of which somebody asks whether it would be allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from kms_grpc.authorization.condition_keys import KeyReference, key_of, reference_to
from kms_grpc.errors import ValidationException
from kms_grpc.operations.admission.request_facts import FINDERS, Found, RequestFacts

KNOWN: Final = frozenset(
    {"aws:requestedregion", "aws:currenttime", "aws:epochtime", "aws:resourcetag/", "kms:resourcealiases"}
)
"""Condition keys whose values do not depend on who calls or what is sent."""


class SupposedFacts(NamedTuple):
    """Implements authorization.base.Facts. `given` are values by condition key; `known` is asked for those of KNOWN."""

    given: Mapping[KeyReference, tuple[str, ...]]
    known: RequestFacts

    def find(self, name: str, suffix: str) -> Found:
        """See Facts."""
        values = self.given.get(KeyReference(name, suffix))
        if values is None and name in KNOWN:
            return self.known.find(name, suffix)
        return values


def given_reference(name: str, has_key: bool) -> KeyReference:
    """Returns the condition key that somebody gives values for. Raises ValidationException for an unknown one, and for
    one that no call has or that follows from principal, key and encryption context."""
    reference = reference_to(name)
    if reference is None:
        raise ValidationException(f"Conditions: there is no condition key {name}.")
    if reference.name not in FINDERS or (has_key and key_of(reference).reads == "key"):
        raise ValidationException(
            f"Conditions: {name} cannot be given: it is never known here, or follows from principal, key and encryption"
            " context."
        )
    return reference
