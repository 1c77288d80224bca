"""Text of strangers as a terminal and a log may show it.

Promises: what comes back moves no cursor, changes no colour and no direction of writing, and
one line stays one line; letters of every script stay as they are.  What is not here: who
shows what.
"""

from __future__ import annotations

import unicodedata
from typing import Final

CONTINUED: Final = "\n    | "
"""Before the further lines of one message, so that none of them passes for one of its own."""


def printable(text: str) -> str:
    """The text on one line, control characters as their escapes."""
    if text.isprintable():
        return text
    return "".join(each if _harmless(each) else _escaped(each) for each in text)


def printable_lines(text: str, between: str = "\n") -> str:
    """The same for a text whose line ends are meant."""
    return between.join(map(printable, text.split("\n")))


def _harmless(character: str) -> bool:
    return unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
