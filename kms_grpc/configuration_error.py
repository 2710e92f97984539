"""The error of a configuration that cannot be used."""

from __future__ import annotations


class ConfigurationError(Exception):
    """The configuration cannot be used. The text names the setting and says what to change."""


def require(condition: object, text: str) -> None:
    """Raises ConfigurationError with that text unless the condition holds."""
    if not condition:
        raise ConfigurationError(text)
