"""Finds the user of a data directory: a process of another user would leave files in it that the server cannot open."""

from __future__ import annotations

import os
import pwd
import shlex
from pathlib import Path


def of_another_user(data_dir: Path, *command: str) -> str | None:
    """Returns a text that names the user of the data directory and the command to run as that user; None if it is this
    user's own, or does not exist yet.

    Its user is the owner of the root key or, without one, of the directory.
    """
    for path in (data_dir / "root.key", data_dir):
        try:
            owner = path.stat().st_uid
        except OSError:
            continue
        if owner == os.geteuid():
            return None
        by = ["runuser", "-u"] if os.geteuid() == 0 else ["sudo", "-u"]
        way_out = shlex.join([*by, user_name(owner), "--", *command])
        who, me = user_name(owner), user_name(os.geteuid())
        return f"{data_dir} is the data directory of user {who}, and this is {me}. Way out: run it as {who}: {way_out}"
    return None


def user_name(uid: int) -> str:
    """Returns the name of a user, or #UID, which sudo takes, for a user without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
