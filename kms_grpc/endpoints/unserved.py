"""The rpcs that are not served: operations of AWS KMS that are not built, and methods that neither AWS nor we have.

gRPC itself would answer them without an ErrorInfo, and the audit log would not have them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import grpc

from kms_grpc.endpoints import grpc_metadata
from kms_grpc.endpoints.aws_operations import refusal, unknown, unserved
from kms_grpc.errors import DOMAIN, KMSError
from kms_grpc.operations.operation import KEY_MANAGEMENT, Unserved

Context = grpc.aio.ServicerContext[Any, Any]
PACKAGE: Final = f"/{DOMAIN}."
SHOWN: Final = 256
"""Most characters of an unknown method in its error."""


class UnservedMethods(grpc.GenericRpcHandler):
    """Refuses the calls of the package that no other handler has taken. It must be the last of the handlers.

    `refuse` audits a call and ends it with an error.
    """

    def __init__(self, refuse: Callable[[Context, KMSError, Unserved], None]) -> None:
        self._refuse = refuse

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Returns the handler of a call, which reads no message, or None for another package's method."""
        path = str(handler_call_details.method)
        if not path.startswith(PACKAGE):
            return None
        grpc_metadata.arrive(handler_call_details.invocation_metadata)
        service, _, name = path.removeprefix("/").rpartition("/")
        operation = unserved(name) if service == KEY_MANAGEMENT else unknown(path.removeprefix(PACKAGE))
        error = refusal(
            operation, f"There is no method {path[:SHOWN]}; this server may have an older version of the API."
        )

        async def refuse(_: object, context: Context) -> None:
            self._refuse(context, error, operation)

        handler: Any = grpc.stream_stream_rpc_method_handler
        return handler(refuse)
