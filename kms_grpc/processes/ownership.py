"""Finds out whose data directory it is: a process of another user would leave files that its server cannot open."""

from __future__ import annotations

import os
import pwd
import shlex
from pathlib import Path


def of_another_user(data_dir: Path, *command: str) -> str | None:
    """Returns whose data directory it is and how to run the command as that user; None if it is this user's own, or
    does not exist yet.

    It is the root key's owner's; without a root key, the directory's.
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
    """Returns the name of a user, or #UID, which sudo takes, where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
