"""What the version of an experiment's code is called: one word, which selectors take.

* `a1b2c3d4e5`: the commit of the repository; the experiment's files are as committed.
* `a1b2c3d4e5+9f8e7d6c`: they are not; behind the plus is a digest of what stood in them.
* `files-9f8e7d6c`: no repository; the same digest.
* `sqlqueue-0.1.0`: a built-in.
* Nothing: whoever ran it did not say.

Pure.  What is not here: finding it out (`worker/code.py`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

COMMIT_CHARACTERS: Final = 10
DIGEST_CHARACTERS: Final = 8
UNKNOWN: Final = "unknown"

_COMMIT: Final = re.compile("[0-9a-f]{7,}")


def digest(files: Mapping[str, bytes]) -> str:
    """Of what stands in files, by their names below the root."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{len(files[name])}\0".encode("utf-8", "surrogateescape"))
        whole.update(files[name])
    return whole.hexdigest()[:DIGEST_CHARACTERS]


def named(commit: str, changed: bool, files: Mapping[str, bytes]) -> str:
    """The version; nothing without a commit and without files."""
    if not commit:
        return f"files-{digest(files)}" if files else ""
    short = commit[:COMMIT_CHARACTERS]
    if not changed:
        return short
    return f"{short}+{digest(files) if files else 'changed'}"


def is_meant(word: str, code: str) -> bool:
    """Whether a word of a selector means that version: whole or as a pattern, a commit also by its
    first characters (7 at least)."""
    if fnmatchcase(code or UNKNOWN, word):
        return True
    both = _COMMIT.fullmatch(word) and _COMMIT.fullmatch(code)
    return bool(both) and (code.startswith(word) or word.startswith(code))


def shown(code: str) -> str:
    """The version as a person reads it."""
    commit, changed, rest = code.partition("+")
    if changed:
        return f"{commit}, changed" + (f" ({rest})" if rest and rest != "changed" else "")
    if code.startswith("files-"):
        return f"no commit, {code}"
    return code or UNKNOWN
