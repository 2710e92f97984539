"""The server of the bench: `kms-grpc serve` whose workers also serve the yardsticks.

With the argument `serve` and a pid it is the supervisor: it reads its settings (config.to_json) from standard input,
and ends when the process of that pid ends, which started it. With the name of a role it is one of its children.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from kms_grpc import app, config
from kms_grpc.bench.echo import echo_handlers
from kms_grpc.bench.http_echo import echo_doors
from kms_grpc.config import Settings
from kms_grpc.endpoints.doors import Beside
from kms_grpc.processes import worker
from kms_grpc.processes.child_protocol import Taken, die_with

MODULE = "kms_grpc.bench.server_process"


def _worker(settings: Settings, index: int, taken: Taken) -> app.Worker:
    return app.Worker(settings, index, taken, Beside(echo_handlers(str(index)), echo_doors))


def _serve() -> int:
    die_with(int(sys.argv[2]), signal.SIGTERM)
    return app.serve(config.from_json(sys.stdin.buffer.read()), module=MODULE)


ROLES: dict[str, Callable[[], int]] = {
    "serve": _serve,
    "prepare": app.run_prepare,
    "keeper": app.run_keeper,
    "worker": lambda: worker.run(_worker),
}

if __name__ == "__main__":
    sys.exit(ROLES[sys.argv[1]]())
