"""Files that hold bearer tokens. They are refused where other users can read them."""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
from pathlib import Path
from typing import Final, NamedTuple

from kms_grpc.misfits import ConfigurationError

TOKEN_LENGTH_MINIMUM: Final = 16


class TokenDigest(NamedTuple):
    """A token as it is kept: enough to know it again, and to hide it in logs."""

    length: int
    digest: bytes
    """SHA-256."""


def digest_of_token(token: str) -> TokenDigest:
    """Raises ConfigurationError for a token that no header can carry, or that is too short."""
    if len(token) < TOKEN_LENGTH_MINIMUM or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(
            f"its token must have at least {TOKEN_LENGTH_MINIMUM} characters, all of them printable ASCII, and no"
            " spaces"
        )
    return TokenDigest(len(token), hashlib.sha256(token.encode()).digest())


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
    """Raises ConfigurationError if others than the owner may read or change a file of this mode. `why` says what it
    holds."""
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        way_out = f"chmod go= {shlex.quote(str(path))}"
        raise ConfigurationError(
            f"{path}: {why} and is open to others (mode {stat.S_IMODE(mode):04o}). Way out: {way_out}"
        )
