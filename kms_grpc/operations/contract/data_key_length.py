"""The length of a data key, which a request gives as KeySpec or as NumberOfBytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kms_grpc.v1 import keys_pb2

DATA_KEY_BYTES: Final[Mapping[int, int]] = {keys_pb2.DATA_KEY_SPEC_AES_128: 16, keys_pb2.DATA_KEY_SPEC_AES_256: 32}


def data_key_bytes(request: Any) -> int:
    """Returns the length in bytes. Validation has made sure that the request gives one of the two."""
    return DATA_KEY_BYTES.get(request.key_spec) or int(request.number_of_bytes or 0)
