"""Standard input, output and error as the commands may use them, whatever a caller left.

Promises: descriptors 0 to 2 are open, so that no socket and no CSV gets their numbers and
what is printed with them; printing never fails for a character that the encoding does not
have.  What is not here: what is printed, and a reader that leaves (`shell.py`).
"""

from __future__ import annotations

import codecs
import os
import sys
from typing import Final

PLAIN: Final = {"█": "#", "░": ".", "…": "~", "×": "x"}
"""What our own pages draw with, in ASCII and as wide."""
_ERRORS: Final = "sqlqueue-plain"


def prepare() -> None:
    """Before anything else opens a file."""
    for fd in range(3):
        _occupy(fd)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    codecs.register_error(_ERRORS, plain)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors=_ERRORS)  # type: ignore[union-attr]


def _occupy(fd: int) -> None:
    """A descriptor that is closed becomes `/dev/null`: the lowest free number is its own."""
    try:
        os.fstat(fd)
    except OSError:
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that cannot be encoded: our own in ASCII, others escaped."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    escaped = (PLAIN.get(each) or _escaped(each) for each in text)
    return "".join(escaped), error.end


def _escaped(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode("ascii")
