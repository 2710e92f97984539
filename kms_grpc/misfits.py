"""Texts about settings that do not fit: the setting, what is wrong with it, and which one was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence


class ConfigurationError(Exception):
    """The configuration cannot be used. The text names the setting and says what to change."""


_INDEX = re.compile(r"\[[^]]*\]")
_MISFIT = re.compile(r"(?P<text>.*?)(?: - at `\$\.?(?P<place>.*)`)?")


def misfit_text(error: str, known: Mapping[str, Sequence[str]]) -> str:
    """Returns what is wrong with a configuration, from the text of a msgspec.ValidationError.

    `known` gives the settings of each section by its title; "" is the top level.
    """
    match = _MISFIT.fullmatch(error)
    assert match is not None
    text, place = match["text"], match["place"] or ""
    words = re.findall(r"`([^`]*)`", text)
    if text.startswith("Object"):
        setting = f"{place}.{words[0]}" if place else words[0]
        return f"{setting}: {'is missing' if 'missing' in text else _meant(_INDEX.sub('', place), words[0], known)}"
    return f"{place}: must be {words[0]}, not {words[1]}" if len(words) == 2 else f"{place}: {text}"


def _meant(section: str, name: str, known: Mapping[str, Sequence[str]]) -> str:
    """Returns what to say about a setting that a section does not have."""
    elsewhere = [title for title, names in known.items() if title != section and name in names]
    if elsewhere:
        return f"no such setting here; it belongs {f'in [{elsewhere[0]}]' if elsewhere[0] else 'above all sections'}"
    near = difflib.get_close_matches(name.replace("-", "_"), known[section], 1)
    return (
        f"no such setting; did you mean {near[0]}?"
        if near
        else f"no such setting; there are {', '.join(known[section])}"
    )
