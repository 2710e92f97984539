"""Reads README's commands for AWS's clients, so that tests run them word by word."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLE_URL = "http://127.0.0.1:8080"
_REFUSED = re.compile(r"^(?P<command>.*\S)\s+# (?P<error>[A-Z]\w+Exception)$")

PROLOGUE = """
refused() {
  local wanted=$1 output
  shift
  if output=$("$@" 2>&1); then echo "was done: $*" >&2; exit 1; fi
  case $output in *"($wanted)"*) ;; *) echo "not $wanted but: $output" >&2; exit 1;; esac
  echo "refused: $wanted"
}
"""
"""A bash function that runs a command which must fail with the named error. The aws CLI prints the name in
parentheses."""


def block(containing: str) -> str:
    """Returns the only shell block that contains the text."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    [found] = [block for block in blocks if containing in block]
    return str(found)


def walk() -> str:
    """Returns the block of the aws CLI as a script. A line whose comment names an error must fail with it."""
    lines = (_REFUSED.sub(r"refused \g<error> \g<command>", line) for line in block("aws kms create-key").splitlines())
    return PROLOGUE + "\n".join(lines)


def clients() -> dict[str, str]:
    """Returns README's table of clients: the test file and the configuration line of each."""
    rows = re.findall(r"^\| \[[^]]+\]\((tests/aws/\S+)\)[^|]* \| `(.+)` \|$", README, re.MULTILINE)
    return dict(rows)
