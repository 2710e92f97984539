"""The method that asks why a call would be allowed or denied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kms_grpc.client.service_client import ServiceClient
from kms_grpc.v1 import envelope_pb2 as pb


class ExplainingMethods(ServiceClient):
    """Decisions explained."""

    def explain_decision(
        self,
        principal: str,
        action: str,
        key_id: str | None = None,
        *,
        encryption_context: Mapping[str, str] | None = None,
        conditions: Mapping[str, Sequence[str]] | None = None,
    ) -> pb.ExplainDecisionResponse:
        """Says whether a principal (its ARN) may call an action such as `kms:Decrypt`, and which statement decides it.
        Nothing is called.

        conditions: values of condition keys that the call would have, such as `{"aws:SourceIp": ["10.1.2.3"]}`.
        """
        given = [pb.ConditionValues(name=name, values=values) for name, values in (conditions or {}).items()]
        request = pb.ExplainDecisionRequest(
            principal=principal,
            action=action,
            key_id=key_id,
            encryption_context=encryption_context,
            conditions=given,
        )
        return self._call(self._envelopes.ExplainDecision, request)
