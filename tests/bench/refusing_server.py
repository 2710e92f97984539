"""A gRPC server that counts calls. Its methods are Ok, Sized, Third (refuses every third call), Stall and Vanish."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc

STALL_SECONDS = 0.3


class RefusingServer(grpc.GenericRpcHandler):
    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(0).wait()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> object:
        method = handler_call_details.method.rpartition("/")[2]
        if method not in ("Ok", "Sized", "Third", "Stall", "Vanish"):
            return None
        return grpc.unary_unary_rpc_method_handler(lambda raw, context: self._serve(method, raw, context))

    def _serve(self, method: str, raw: bytes, context: grpc.ServicerContext) -> bytes:
        with self._lock:
            number = self.answered[method] + self.refused[method] + 1
            refused = method == "Third" and number % 3 == 0
            (self.refused if refused else self.answered)[method] += 1
        if refused:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "each third")
        if method == "Stall" and number == 2:
            time.sleep(STALL_SECONDS)
        if method == "Vanish" and number == 20:
            threading.Thread(target=self.close).start()
        return len(raw).to_bytes(4) + bytes(len(raw))
