"""GetKeyPolicy and ListKeyPolicies. Customer managed keys have the default key policy; others are not built.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
"""

from __future__ import annotations

from kms_grpc.authorization.default_key_policy import NAME, default_key_policy
from kms_grpc.errors import NotFoundException, UnsupportedOperationException, ValidationException
from kms_grpc.model.key import Key, KeyKind
from kms_grpc.operations.admission.selectors import by_id_or_arn
from kms_grpc.operations.call import Call
from kms_grpc.operations.kinds.unary import Unary
from kms_grpc.v1 import key_management_pb2 as pb


def get_key_policy(call: Call, request: pb.GetKeyPolicyRequest, key: Key) -> pb.GetKeyPolicyResponse:
    """Returns the default policy.

    Raises NotFoundException for another name, and UnsupportedOperationException for AWS managed keys, whose policy
    allows their service only.
    """
    if request.HasField("policy_name") and request.policy_name != NAME:
        raise NotFoundException("No such policy exists", key=key.arn, state=key.state)
    if key.kind is not KeyKind.CUSTOMER_MANAGED:
        text = f"{key.arn} is managed by AWS: its key policy is not supported yet."
        raise UnsupportedOperationException(text, key=key.arn, state=key.state)
    return pb.GetKeyPolicyResponse(policy=default_key_policy(key), policy_name=NAME)


def list_key_policies(call: Call, request: pb.ListKeyPoliciesRequest, key: Key) -> pb.ListKeyPoliciesResponse:
    """Lists the one name that a key policy may have. Raises ValidationException for a marker: AWS lists no
    InvalidMarkerException for this operation."""
    if request.HasField("marker"):
        raise ValidationException("Marker: the list has one page, so no answer has given out a marker.")
    return pb.ListKeyPoliciesResponse(policy_names=[NAME])


ROWS = (
    Unary("GetKeyPolicy", pb.GetKeyPolicyRequest, get_key_policy, keys=(by_id_or_arn("GetKeyPolicy"),)),
    Unary("ListKeyPolicies", pb.ListKeyPoliciesRequest, list_key_policies, keys=(by_id_or_arn("ListKeyPolicies"),)),
)
