"""README's commands for AWS's clients, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLE_URL = "http://127.0.0.1:8080"
_REFUSED = re.compile(r"^(?P<command>.*\S)\s+# (?P<error>[A-Z]\w+Exception)$")

PROLOGUE = """
refused() {
  local wanted=$1 told
  shift
  if told=$("$@" 2>&1); then echo "was done: $*" >&2; exit 1; fi
  case $told in *"($wanted)"*) ;; *) echo "not $wanted but: $told" >&2; exit 1;; esac
  echo "refused: $wanted"
}
"""
"""Under bash -e. The aws CLI prints the error's name in brackets."""


def block(containing: str) -> str:
    """The one shell block with that text in it."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    [found] = [block for block in blocks if containing in block]
    return str(found)


def walk() -> str:
    """The block of the aws CLI as a script; a line whose comment names an error must be refused with it."""
    lines = (_REFUSED.sub(r"refused \g<error> \g<command>", line) for line in block("aws kms create-key").splitlines())
    return PROLOGUE + "\n".join(lines)


def clients() -> dict[str, str]:
    """README's table: each client's test and its line of configuration."""
    rows = re.findall(r"^\| \[[^]]+\]\((tests/aws/\S+)\)[^|]* \| `(.+)` \|$", README, re.MULTILINE)
    return dict(rows)
