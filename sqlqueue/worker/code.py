"""Which version of the user's code an attempt ran: the commit of the root's repository, and
whether the experiment's own files were changed since.

Asked once for each child, and of each `init` that has rows to compare, never for a task; git takes
no locks, starts nothing and has a time limit.  Without git, or outside of a repository, what
stands in the files decides.  What is not here: how a version is written (`plan/version.py`), the
versions of installed packages (`versions.py`).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sqlqueue.plan import version as plan
from sqlqueue.plan.task import BUILT_IN
from sqlqueue.worker import versions
from sqlqueue.worker.sources import Stamp, stamp

GIT_SECONDS: Final = 3.0
OWN: Final = str(Path(__file__).parent.parent) + os.sep


def built_in() -> str:
    """The version of what comes with sqlqueue."""
    return f"sqlqueue-{versions.own()['sqlqueue']}"


def version(root: Path, files: Iterable[str | Path] = ()) -> str:
    """What the code in these files is called; empty when nothing can be said of it."""
    names = sorted({str(each) for each in files if not str(each).startswith(OWN)})
    commit = _git(root, "rev-parse", "--verify", "HEAD") or ""
    changed = bool(commit) and _changed(root, names)
    told = names if changed or not commit else []  # only then does it matter what stands in them
    content = {os.path.relpath(each, root): _content(each) for each in told}
    return plan.named(commit, changed, content)


class Loaded:
    """What a child runs: found out when it is loaded, and of a command whenever its files changed.

    Files that are imported later are not waited for, so that whoever only loads it finds the same.
    """

    def __init__(self, root: Path) -> None:
        self.version = ""
        self._root = root
        self._stamps: dict[str, Stamp] | None = None

    def note(self, experiment: str, files: Iterable[str | Path], may_change: bool) -> bool:
        """Whether the version was found out just now."""
        stamps = {str(each): stamp(str(each)) for each in files}
        if self._stamps is not None and not (may_change and stamps != self._stamps):
            return False
        self._stamps = stamps
        own = experiment in BUILT_IN
        self.version = built_in() if own else version(self._root, stamps)
        return True


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _changed(root: Path, names: list[str]) -> bool:
    """Whether these files, or without any all that git knows, are not as committed."""
    if names:
        told = _git(root, "status", "--porcelain", "-uall", "--ignored", "--", *names)
    else:
        told = _git(root, "status", "--porcelain", "-uno")
    return told != ""


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints; None when it fails."""
    quiet = ("--no-optional-locks", "-c", "core.fsmonitor=false")
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *quiet, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
