"""The first authorizer: a principal may use the keys of its own account, and nobody else's."""

from __future__ import annotations

from kms_grpc.authorization.base import STABLE_ATTRIBUTES, Decision, Question

_ALLOWED = Decision(True, STABLE_ATTRIBUTES)
_DENIED = Decision(False, STABLE_ATTRIBUTES)


class AccountOnly:
    """A principal may use the keys of its own account."""

    def decide(self, question: Question) -> Decision:
        """Actions without a key concern the caller's own account and are allowed."""
        if question.key is None or question.key.account == question.principal.account:
            return _ALLOWED
        return _DENIED
