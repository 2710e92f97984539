"""GetLimits: the limits that a client needs to size its requests. Each number is read from where it is declared."""

from __future__ import annotations

from importlib.metadata import version

from kms_grpc.crypto.ciphertext_blob import OVERHEAD
from kms_grpc.crypto.encryption_context import MAXIMUM_SIZE as CONTEXT_LIMIT
from kms_grpc.crypto.message_format import MAXIMUM_HEADER
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.descriptors import field_limits
from kms_grpc.operations.kinds.unary import Unary
from kms_grpc.operations.operation import ENVELOPE
from kms_grpc.v1 import envelope_pb2 as pb
from kms_grpc.v1 import key_management_pb2

LISTINGS = (key_management_pb2.ListKeysRequest, key_management_pb2.ListAliasesRequest)


def get_limits(call: Call, request: pb.GetLimitsRequest) -> pb.GetLimitsResponse:
    """Returns regions, bytes per call, page sizes, batch and stream limits, and quotas."""
    quotas = call.service.quotas
    return pb.GetLimitsResponse(
        server_version=version("kms_grpc"),
        default_region=call.service.shards.default.region,
        regions=call.service.shards.regions,
        calls=_call_limits(call.service.limits.message_bytes),
        pages=[_page_limits(message) for message in LISTINGS],
        batches=_batch_limits(call.service.limits.message_bytes),
        quotas=pb.ResourceQuotas(
            keys=quotas.keys_per_account, aliases_per_key=quotas.aliases_per_key, grants_per_key=quotas.grants_per_key
        ),
        streams=_stream_limits(call.service.limits.streams),
    )


def _call_limits(message_bytes: int) -> pb.CallLimits:
    return pb.CallLimits(
        max_plaintext_bytes=field_limits(key_management_pb2.EncryptRequest, "plaintext").max,
        max_ciphertext_blob_bytes=field_limits(key_management_pb2.DecryptRequest, "ciphertext_blob").max,
        max_encryption_context_bytes=CONTEXT_LIMIT,
        max_data_key_bytes=field_limits(key_management_pb2.GenerateDataKeyRequest, "number_of_bytes").max,
        max_random_bytes=field_limits(key_management_pb2.GenerateRandomRequest, "number_of_bytes").max,
        ciphertext_blob_overhead_bytes=OVERHEAD,
        max_request_message_bytes=message_bytes,
        max_response_message_bytes=message_bytes,
    )


def _batch_limits(message_bytes: int) -> pb.BatchLimits:
    return pb.BatchLimits(
        max_items=field_limits(pb.EncryptBatchRequest, "items").max,
        max_plaintext_bytes=field_limits(pb.EncryptBatchItem, "plaintext").max,
        max_ciphertext_blob_bytes=field_limits(pb.DecryptBatchItem, "ciphertext_blob").max,
        max_request_message_bytes=message_bytes,
        max_response_message_bytes=message_bytes,
    )


def _stream_limits(streams: int) -> pb.StreamLimits:
    frame_length = field_limits(pb.EncryptStreamRequest, "frame_length")
    return pb.StreamLimits(
        max_streams=streams,
        default_frame_length=frame_length.default_value,
        max_frame_length=frame_length.max,
        max_header_bytes=MAXIMUM_HEADER,
    )


def _page_limits(message: type) -> pb.PageLimits:
    limit = field_limits(message, "limit")
    name = message.DESCRIPTOR.name.removesuffix("Request")  # type: ignore[attr-defined]
    return pb.PageLimits(operation=name, default_limit=limit.default_value, max_limit=limit.max)


ROWS = (Unary("GetLimits", pb.GetLimitsRequest, get_limits, service=ENVELOPE),)
