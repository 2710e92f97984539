"""Reads the commands for AWS's clients in kms_grpc/endpoints/README.md, so that tests run them word by word."""

from __future__ import annotations

import re

from tests.documents.blocks import ROOT, block

DOCUMENT = "kms_grpc/endpoints/README.md"
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


def walk() -> str:
    """Returns the block of the aws CLI as a script. A line whose comment names an error must fail with it."""
    text = block(DOCUMENT, "sh", "aws kms create-key")
    return PROLOGUE + "\n".join(_REFUSED.sub(r"refused \g<error> \g<command>", line) for line in text.splitlines())


def clients() -> dict[str, str]:
    """Returns the document's table of clients: the test file and the configuration line of each."""
    text = (ROOT / DOCUMENT).read_text("utf-8")
    return dict(re.findall(r"^\| \[[^]]+\]\(\.\./\.\./(tests/aws/\S+)\)[^|]* \| `(.+)` \|$", text, re.MULTILINE))
