"""The safety check on a new key policy: its author must be able to replace it again.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html#prevent-unmanageable-key
"""

from __future__ import annotations

from typing import Final

from kms_grpc.authorization.base import Question
from kms_grpc.errors import MalformedPolicyDocumentException
from kms_grpc.model.key import Key
from kms_grpc.operations.admission.request_facts import RequestFacts
from kms_grpc.operations.call import NO_CONTEXT, Call
from kms_grpc.v1 import key_management_pb2 as pb

LOCKED_OUT: Final = "The new key policy will not allow you to update the key policy in the future."


def check_new_policy(call: Call, key: Key, policy: str, *, may_lock_out: bool) -> None:
    """Raises MalformedPolicyDocumentException for a policy that is not one and, unless `may_lock_out`, for one under
    which the caller could not call PutKeyPolicy; LimitExceededException over 32 KiB. The decision is the authorizer's,
    with all of the caller's own policies, on the call that the caller would make next."""
    following = RequestFacts(call, pb.PutKeyPolicyRequest(key_id=key.key_id, policy=policy), key)
    question = Question(call.principal, "kms:PutKeyPolicy", key, NO_CONTEXT, following)
    decision = call.service.authorizer.decide_under(question, policy)
    if not (decision.allowed or may_lock_out):
        raise MalformedPolicyDocumentException(LOCKED_OUT, key=key.arn, state=key.state)
