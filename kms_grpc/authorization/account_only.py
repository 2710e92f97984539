"""An authorizer that knows accounts only."""

from __future__ import annotations

from kms_grpc.authorization.base import STABLE_ATTRIBUTES, Decision, Question

_ALLOWED = Decision(True, STABLE_ATTRIBUTES)
_DENIED = Decision(False, STABLE_ATTRIBUTES)


class AccountOnly:
    """Allows a principal to use the keys of its own account and no others."""

    def decide(self, question: Question) -> Decision:
        """Allows every action without a key, since such an action concerns the caller's own account."""
        if question.key is None or question.key.account == question.principal.account:
            return _ALLOWED
        return _DENIED
