"""Starts Python children that import nothing from the folder in which the command was run.

`python -m` puts the current directory first on the child's import path, and so do empty entries of PYTHONPATH. Anybody
who can write to that folder could then run code in the processes that make the root key and hold keys.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


def python_module(module: str, *arguments: str) -> list[str]:
    """Returns the command that runs a module by this interpreter, without the current directory on its import path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def isolated(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment for a child: its own children are isolated too, and PYTHONPATH has absolute folders
    only."""
    kept = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    folders = [each for each in environment.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(each)]  # noqa: PTH117 - a Path of "" would be "."
    return kept | {"PYTHONSAFEPATH": "1"} | ({"PYTHONPATH": os.pathsep.join(folders)} if folders else {})
