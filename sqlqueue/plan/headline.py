"""What went wrong, in one line: the heading under which failures are told and counted.

Pure.  What is not here: the whole text, which `sqlqueue logs` and the database keep.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

TRACEBACK: Final = "Traceback (most recent call last):"
MOST_CHARACTERS: Final = 500
_OF_TORCH: Final = re.compile(r"\[enforce fail at [^\]]*\] ?(?:err == 0\. ?)?")
"""Where in its own source PyTorch noticed: before what it has to say."""


def headline(error: str) -> str:
    """Of a traceback the first line of its (last) exception, of any other text the first line."""
    lines = error.splitlines()
    last = max((number for number, each in enumerate(lines) if each == TRACEBACK), default=None)
    named = None if last is None else _first(_exceptions(lines[last + 1 :]))
    return (_OF_TORCH.sub("", named or _first(lines)) or "no message")[:MOST_CHARACTERS]


def _exceptions(lines: Iterable[str]) -> Iterable[str]:
    """Frames are indented, and a text that was cut says so in brackets."""
    return (each for each in lines if not each.startswith((" ", "\t", "[... ")))


def _first(lines: Iterable[str]) -> str:
    return next((each.strip() for each in lines if each.strip()), "")
