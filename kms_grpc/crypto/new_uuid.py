"""Random identifiers: UUIDs of version 4 (RFC 9562), each drawn in C from fresh random bytes.

uuid.uuid4 is not used: its source is the kernel alone, and cloned virtual machines without vmgenid draw the same bytes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

from kms_grpc.crypto.bytes_lists import with_the_gil

new_uuid: Final[Callable[[], str]] = with_the_gil("kms_uuid_function", ctypes.py_object)()
"""Returns a UUID as text in lower case. It is a built-in function, since each call of the service needs one."""
