"""Which version of the user's code an attempt ran: the commit of the root's repository.

Empty when the root is in no repository, or git does not answer in time.  What is not
here: the versions of installed packages.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

GIT_SECONDS: Final = 5.0


def version(root: Path) -> str:
    """`<commit>`, or `<commit>-dirty` when tracked files were changed since."""
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if not commit:
        return ""
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return commit if changed == "" else f"{commit}-dirty"


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints; None when it fails.  Takes no locks in the repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, UnicodeError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
