"""The commands for AWS's clients in kms_grpc/endpoints/README.md, as they stand there."""

from __future__ import annotations

import re

from tests.documents.blocks import ROOT, block

DOCUMENT = "kms_grpc/endpoints/README.md"
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


def walk() -> str:
    """The block of the aws CLI as a script; a line whose comment names an error must be refused with it."""
    text = block(DOCUMENT, "sh", "aws kms create-key")
    return PROLOGUE + "\n".join(_REFUSED.sub(r"refused \g<error> \g<command>", line) for line in text.splitlines())


def clients() -> dict[str, str]:
    """The document's table: each client's test, and its line of configuration."""
    text = (ROOT / DOCUMENT).read_text("utf-8")
    return dict(re.findall(r"^\| \[[^]]+\]\(\.\./\.\./(tests/aws/\S+)\)[^|]* \| `(.+)` \|$", text, re.MULTILINE))
