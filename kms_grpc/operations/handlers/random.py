"""GenerateRandom. Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateRandom.html"""

from __future__ import annotations

from kms_grpc.crypto import envelope
from kms_grpc.operations.call import Call
from kms_grpc.operations.kinds.unary import Unary
from kms_grpc.v1 import key_management_pb2 as pb


def generate_random(call: Call, request: pb.GenerateRandomRequest) -> pb.GenerateRandomResponse:
    """Returns 1 to 1,024 random bytes."""
    return pb.GenerateRandomResponse(plaintext=envelope.random_bytes(request.number_of_bytes))


ROWS = (
    Unary(
        "GenerateRandom",
        pb.GenerateRandomRequest,
        generate_random,
        action="kms:GenerateRandom",
        yields_secrets=True,
    ),
)
