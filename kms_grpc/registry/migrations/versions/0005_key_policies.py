"""Stands in for the revision that adds key policies."""

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Changes nothing."""
