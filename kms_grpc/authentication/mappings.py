"""The rules by which the claims of an assertion mean a principal.

A pattern matches a whole value. `*` never reaches across `:` or `/`, nor takes a space or a control character. A value
fills a place in the ARN only if it has the characters of an IAM name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from kms_grpc.issuer_settings import PLACE, MappingSettings, places_of
from kms_grpc.model.principal import Principal

NAME: Final = re.compile(r"[A-Za-z0-9+=,.@_-]{1,128}")
"""Characters of an IAM name, of which `..` and `.` are none."""
_STAR: Final = r"([!-.0-9;-~]+)"
_REPORTED_LIMIT: Final = 1000
_log = logging.getLogger(__name__)


class ClaimRule(NamedTuple):
    """A rule in the form in which it is applied."""

    name: str
    patterns: Mapping[str, re.Pattern[str]]
    template: str
    account: str

    def texts(self, claims: Mapping[str, Any]) -> dict[tuple[str, int | None], str] | None:
        """Returns the texts of claims and of their `*`; None if a pattern does not match."""
        texts: dict[tuple[str, int | None], str] = {}
        for claim, pattern in self.patterns.items():
            value = claims.get(claim)
            match = pattern.fullmatch(value) if isinstance(value, str) else None
            if match is None:
                return None
            texts |= {(claim, index): text for index, text in enumerate(match.groups(), 1)}
        return texts | {(name, None): value for name, value in claims.items() if isinstance(value, str)}


class Mappings:
    """The rules about one issuer."""

    def __init__(self, rules: Iterable[MappingSettings]) -> None:
        self._rules = [_rule(one) for one in rules]
        self._reported: set[tuple[str, str]] = set()

    def principal(self, claims: Mapping[str, Any]) -> Principal | None:
        """Returns the principal of the first rule that matches. None where no rule does, or a value does not fit into
        that rule's ARN; the log then names the rule and the claim."""
        for rule in self._rules:
            texts = rule.texts(claims)
            if texts is not None:
                return self._made(rule, texts)
        return None

    def _made(self, rule: ClaimRule, texts: Mapping[tuple[str, int | None], str]) -> Principal | None:
        for place in places_of(rule.template):
            text = texts.get(place, "")
            if not NAME.fullmatch(text) or text in (".", ".."):
                self._report(rule.name, place[0])
                return None
        arn = PLACE.sub(lambda found: texts[next(places_of(found[0]))], rule.template)
        return Principal(rule.name, arn, rule.account)

    def _report(self, rule: str, claim: str) -> None:
        """Logs each rule and claim once, without the value."""
        if (rule, claim) not in self._reported and len(self._reported) < _REPORTED_LIMIT:
            self._reported.add((rule, claim))
            _log.warning("mapping %s: a caller's claim %s is absent or no name, so that it means nobody", rule, claim)


def _rule(settings: MappingSettings) -> ClaimRule:
    patterns = {claim: re.compile(_expression(pattern)) for claim, pattern in settings.claims.items()}
    return ClaimRule(settings.name, patterns, settings.arn, settings.account)


def _expression(pattern: str) -> str:
    return _STAR.join(re.escape(part) for part in pattern.split("*"))
