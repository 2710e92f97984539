"""The files that the settings of callers name: tokens and policies.

The supervisor reads them once and hands their texts to all workers (`KeptFiles`), so that no two workers have read
different versions. Commands read them from disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

from kms_grpc.misfits import ConfigurationError
from kms_grpc.token_files import TokenDigest, digest_of_token, read_token

TEXT_LIMIT: Final = 1024 * 1024
"""Most bytes that are read of a file: more than any of them may have."""


class NamedFiles(Protocol):
    """Reads files by their paths."""

    def token(self, path: Path) -> TokenDigest:
        """Returns the digest of the token in a file. Raises ConfigurationError, also where others may read the file."""

    def text(self, path: Path) -> str:
        """Returns a file's text, at most TEXT_LIMIT bytes of it. Raises OSError and UnicodeDecodeError."""


class FilesOnDisk:
    """Implements NamedFiles."""

    def token(self, path: Path) -> TokenDigest:
        """See NamedFiles."""
        return digest_of_token(read_token(path))

    def text(self, path: Path) -> str:
        """See NamedFiles."""
        with path.open("rb") as file:
            return file.read(TEXT_LIMIT).decode()


DISK: Final = FilesOnDisk()


def texts_of(files: Iterable[tuple[Path, bool]]) -> dict[str, str]:
    """Returns the texts of files by path. True marks those that hold a token: of these, length and digest alone. Raises
    ConfigurationError."""
    texts: dict[str, str] = {}
    for path, is_token in files:
        try:
            texts[str(path)] = _kept_token(path) if is_token else DISK.text(path)
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigurationError(f"{path}: {said}") from None
    return texts


def _kept_token(path: Path) -> str:
    try:
        token = DISK.token(path)
    except ConfigurationError as error:
        text = str(error)
        raise ConfigurationError(text if text.startswith(str(path)) else f"{path}: {text}") from None
    return f"{token.length} {token.digest.hex()}"


class KeptFiles:
    """Implements NamedFiles with texts by path. NamedFiles that are not among them are read from disk."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def token(self, path: Path) -> TokenDigest:
        """See NamedFiles."""
        kept = self._texts.get(str(path))
        if kept is None:
            return DISK.token(path)
        length, digest = kept.split()
        return TokenDigest(int(length), bytes.fromhex(digest))

    def text(self, path: Path) -> str:
        """See NamedFiles."""
        kept = self._texts.get(str(path))
        return DISK.text(path) if kept is None else kept
