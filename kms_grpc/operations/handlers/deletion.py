"""ScheduleKeyDeletion, CancelKeyDeletion. The keeper process deletes keys that are due (processes/due_work.py).

Source: https://docs.aws.amazon.com/kms/latest/developerguide/deleting-keys.html
"""

from __future__ import annotations

import dataclasses

from kms_grpc.clock import DAY_NS
from kms_grpc.model.key import Key
from kms_grpc.model.key_transitions import Event, after
from kms_grpc.operations.admission.identifiers import stored
from kms_grpc.operations.admission.selectors import by_id_or_arn
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.descriptors import value_or_default
from kms_grpc.operations.handlers.key_metadata import timestamp
from kms_grpc.operations.kinds.write import Write
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2


def schedule_key_deletion(
    call: Call, request: pb.ScheduleKeyDeletionRequest, key: Key
) -> pb.ScheduleKeyDeletionResponse:
    """Schedules the key's deletion in 7 to 30 days. Only CancelKeyDeletion changes the date."""
    days = value_or_default(request, "pending_window_in_days")
    deletion_ns = call.time_ns + days * DAY_NS
    scheduled = after(stored(call, key), Event.DELETION_SCHEDULED)
    call.writing.keys.change(dataclasses.replace(scheduled, deletion_ns=deletion_ns))
    return pb.ScheduleKeyDeletionResponse(
        key_id=key.arn,
        key_state=keys_pb2.KEY_STATE_PENDING_DELETION,
        deletion_date=timestamp(deletion_ns),
        pending_window_in_days=days,
    )


def cancel_key_deletion(call: Call, request: pb.CancelKeyDeletionRequest, key: Key) -> pb.CancelKeyDeletionResponse:
    """Cancels the deletion. The key is Disabled afterwards; without its material it is PendingImport."""
    cancelled = after(stored(call, key), Event.DELETION_CANCELLED)
    call.writing.keys.change(dataclasses.replace(cancelled, deletion_ns=None))
    return pb.CancelKeyDeletionResponse(key_id=key.arn)


ROWS = (
    Write(
        "ScheduleKeyDeletion",
        pb.ScheduleKeyDeletionRequest,
        schedule_key_deletion,
        keys=(by_id_or_arn("ScheduleKeyDeletion"),),
        takes_rights_away=True,
    ),
    Write(
        "CancelKeyDeletion",
        pb.CancelKeyDeletionRequest,
        cancel_key_deletion,
        keys=(by_id_or_arn("CancelKeyDeletion"),),
    ),
)
