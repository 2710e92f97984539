"""ExplainDecision: asks the policies about a call that nobody makes, and names the statement that decides."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor

from kms_grpc.authorization.authorizer import WITHOUT_KEY
from kms_grpc.authorization.base import NO_GRANTS, STABLE_ATTRIBUTES, Decision, PolicyKind, Question
from kms_grpc.authorization.condition_keys import KeyReference
from kms_grpc.authorization.explanations import explained
from kms_grpc.authorization.principals import account_of
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.errors import ValidationException
from kms_grpc.model.key import Key
from kms_grpc.model.key_spec import SYMMETRIC_DEFAULT
from kms_grpc.model.principal import Principal
from kms_grpc.operations.admission import identifiers
from kms_grpc.operations.admission.request_facts import RequestFacts, request_alias, via_service
from kms_grpc.operations.admission.supposed_facts import SupposedFacts, given_reference
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.descriptors import permissions
from kms_grpc.operations.handlers.key_metadata import number
from kms_grpc.operations.kinds.unary import Unary
from kms_grpc.operations.operation import ENVELOPE
from kms_grpc.registry.grant_search import OnKey
from kms_grpc.v1 import envelope_pb2 as pb
from kms_grpc.v1 import key_management_pb2, keys_pb2

ACTION: Final = "kms-grpc:ExplainDecision"


def _actions() -> dict[str, tuple[str, MethodDescriptor]]:
    files = (key_management_pb2.DESCRIPTOR, pb.DESCRIPTOR)
    methods = [method for file in files for service in file.services_by_name.values() for method in service.methods]
    return {action.lower(): (action, method) for method in reversed(methods) for action in permissions(method)}


_ACTIONS: Final = _actions()
"""All permissions, in lower case: the permission, and the first rpc that needs it."""


def explain_decision(call: Call, request: pb.ExplainDecisionRequest) -> pb.ExplainDecisionResponse:
    """Returns the decision and what it rests on. Raises ValidationException for a principal, action or condition key
    that there is not, and NotFoundException for such a key."""
    canonical(request.encryption_context)
    action, method = _action(request)
    principal, is_configured = _principal(call, request.principal)
    key = _key(call, request, action)
    question = Question(
        principal.within(call.shard.partition), action, key, request.encryption_context,
        _facts(call, request, principal, key, method),
        grants=NO_GRANTS if key is None else OnKey(call.grants, key.key_id),
    )  # fmt: skip
    decision = call.service.authorizer.decide(question)
    answer = pb.ExplainDecisionResponse(
        allowed=decision.allowed,
        decision=decision.step or "",
        principal_is_configured=is_configured,
        depends_on=sorted(decision.read - STABLE_ATTRIBUTES),
        grant_id=decision.grant,
    )
    _name_key(answer, key)
    _name_statement(answer, decision, key is not None, principal.account == call.account)
    return answer


def _action(request: pb.ExplainDecisionRequest) -> tuple[str, MethodDescriptor]:
    found = _ACTIONS.get(request.action.lower())
    if found is None:
        raise ValidationException(f"Action: no operation needs the permission {request.action}.")
    return found


def _principal(call: Call, arn: str) -> tuple[Principal, bool]:
    """Returns the principal of an ARN, and whether the configuration has it."""
    account = account_of(arn)
    if account is None:
        raise ValidationException(f"Principal: {arn} is not the ARN of a user, a role, a session of a role or a root.")
    configured = call.service.configured(arn)
    return (Principal(arn, arn, account), False) if configured is None else (configured, True)


def _key(call: Call, request: pb.ExplainDecisionRequest, action: str) -> Key | None:
    if action in WITHOUT_KEY:
        if request.HasField("key_id"):
            raise ValidationException(f"KeyId: {action} has no key.")
        return None
    if not request.HasField("key_id"):
        raise ValidationException(f"KeyId: {action} needs a key.")
    key = identifiers.resolve(call, request.key_id, ACTION, aliases=True, invalid_arn=True)
    if key.account != call.account:
        raise identifiers.denied(call, ACTION)
    return key


def _facts(
    call: Call, request: pb.ExplainDecisionRequest, principal: Principal, key: Key | None, method: MethodDescriptor
) -> SupposedFacts:
    encrypts = any(field.name.endswith("encryption_context") for field in method.input_type.fields)
    supposed = {
        "kms:viaservice": via_service(principal.service, call.shard.region),
        "kms:requestalias": request_alias(request.key_id),
        "kms:encryptionalgorithm": (SYMMETRIC_DEFAULT,) if encrypts else None,
    }
    given = {KeyReference(name): values for name, values in supposed.items() if values is not None}
    for each in request.conditions:
        given[given_reference(each.name, key is not None)] = tuple(each.values)
    return SupposedFacts(given, RequestFacts(call, request, key))


def _name_key(answer: pb.ExplainDecisionResponse, key: Key | None) -> None:
    if key is not None:
        answer.key_id = key.arn
        answer.key_state = number(keys_pb2.KeyState, key.state)


def _name_statement(answer: Any, decision: Decision, has_key: bool, is_own: bool) -> None:
    """Names the deciding statement, but no identity policy of another account."""
    deciding = decision.deciding
    named = deciding is None or is_own or deciding.kind is PolicyKind.KEY
    answer.explanation = explained(decision, has_key, named)
    if deciding is None:
        return
    answer.policy_type = deciding.kind
    if named:
        answer.policy, answer.statement, answer.line = deciding.policy, deciding.place, deciding.line
        if deciding.sid:
            answer.sid = deciding.sid


ROWS = (Unary("ExplainDecision", pb.ExplainDecisionRequest, explain_decision, action=ACTION, service=ENVELOPE),)
