"""Files that hold tokens: nobody but their owner may read or change them."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from kms_grpc.configuration_error import ConfigurationError, require


def read_token(path: Path) -> str:
    """Returns the token in a file. Raises ConfigurationError, also where other users can read or change the file."""
    try:
        with path.open(encoding="utf-8") as file:
            require_closed(path, os.fstat(file.fileno()).st_mode, "it holds a token")
            return file.read().strip()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def require_closed(path: Path, mode: int, why: str) -> None:
    """Raises ConfigurationError if other users can read or change a file of this mode; `why` says what it holds."""
    is_open = mode & (stat.S_IRWXG | stat.S_IRWXO)
    way_out = f"chmod go= {shlex.quote(str(path))}"
    require(not is_open, f"{path}: {why} and is open to others (mode {stat.S_IMODE(mode):04o}). Way out: {way_out}")
