"""PutKeyPolicy, GetKeyPolicy and ListKeyPolicies.

Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_PutKeyPolicy.html and its siblings
"""

from __future__ import annotations

from typing import Final

from kms_grpc.authorization.default_key_policy import NAME
from kms_grpc.authorization.key_policies import text_of
from kms_grpc.errors import NotFoundException, ValidationException
from kms_grpc.model.key import Key
from kms_grpc.operations.admission.identifiers import stored
from kms_grpc.operations.admission.lockout import check_new_policy
from kms_grpc.operations.admission.selectors import by_id_or_arn
from kms_grpc.operations.call import Call
from kms_grpc.operations.kinds.unary import Unary
from kms_grpc.operations.kinds.write import Write
from kms_grpc.v1 import key_management_pb2 as pb

SHARED: Final = "AWS_RAM"
"""The name of a policy that AWS's service for sharing resources makes. No key here has one."""


def put_key_policy(call: Call, request: pb.PutKeyPolicyRequest, key: Key) -> pb.PutKeyPolicyResponse:
    """Replaces the key policy. Raises NotFoundException for another name, MalformedPolicyDocumentException and
    LimitExceededException (lockout.check_new_policy)."""
    if request.policy_name == SHARED:
        raise ValidationException("The AWS_RAM policy can only be managed by the RAM service.")
    _check_name(request, key)
    set_policy(call, stored(call, key), request.policy, may_lock_out=request.bypass_policy_lockout_safety_check)
    return pb.PutKeyPolicyResponse()


def set_policy(call: Call, key: Key, policy: str, *, may_lock_out: bool) -> Key:
    """Checks a policy and stores it; returns the key with its next revision."""
    check_new_policy(call, key, policy, may_lock_out=may_lock_out)
    return call.writing.keys.set_policy(key, policy)


def get_key_policy(call: Call, request: pb.GetKeyPolicyRequest, key: Key) -> pb.GetKeyPolicyResponse:
    """Returns the key policy as it was given. Raises NotFoundException for another name."""
    _check_name(request, key)
    return pb.GetKeyPolicyResponse(policy=text_of(key, call.shard.key_policy), policy_name=NAME)


def list_key_policies(call: Call, request: pb.ListKeyPoliciesRequest, key: Key) -> pb.ListKeyPoliciesResponse:
    """Lists the one name that a key policy may have. Raises ValidationException for a marker: AWS lists no
    InvalidMarkerException for this operation."""
    if request.HasField("marker"):
        raise ValidationException("Marker: the list has one page, so no answer has given out a marker.")
    return pb.ListKeyPoliciesResponse(policy_names=[NAME])


def _check_name(request: pb.GetKeyPolicyRequest | pb.PutKeyPolicyRequest, key: Key) -> None:
    if request.HasField("policy_name") and request.policy_name != NAME:
        raise NotFoundException("No such policy exists", key=key.arn, state=key.state)


ROWS = (
    Write(
        "PutKeyPolicy",
        pb.PutKeyPolicyRequest,
        put_key_policy,
        keys=(by_id_or_arn("PutKeyPolicy"),),
        takes_rights_away=True,
    ),
    Unary("GetKeyPolicy", pb.GetKeyPolicyRequest, get_key_policy, keys=(by_id_or_arn("GetKeyPolicy"),)),
    Unary("ListKeyPolicies", pb.ListKeyPoliciesRequest, list_key_policies, keys=(by_id_or_arn("ListKeyPolicies"),)),
)
