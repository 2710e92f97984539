"""Random identifiers: UUIDs of version 4 (RFC 9562), each drawn in C from fresh random bytes.

Not by uuid.uuid4: its source is the kernel alone, which a virtual machine without vmgenid repeats when it is cloned.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

from kms_grpc.crypto.bytes_lists import with_the_gil

new_uuid: Final[Callable[[], str]] = with_the_gil("kms_uuid_function", ctypes.py_object)()
"""Returns a UUID as text in lower case. It is a built-in function, since each call of the service needs one."""
