"""From one line of a CSV back to values that write the same line: the inverse of `rows.py`.

Pure.  Promises: for a line that `rows.line` wrote, `line` of the values is that line, byte
for byte.  What a CSV does not tell apart, nothing does afterwards: a text that spells a
number as we would write it comes back as that number, an empty text as nothing.
"""

from __future__ import annotations

import re
from typing import Final

from sqlqueue.plan.rows import Scalar

LONGEST_DIGITS: Final = 4000
"""Longer integers stay text: Python refuses to read them."""

_CELL: Final = re.compile(r'"((?:[^"]+|"")*)"|([^",]*)')
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_WORDS: Final[dict[str, Scalar]] = {"": None, "True": True, "False": False}


class Torn(ValueError):
    """The line is no row; the message says why."""


def cells(line: bytes) -> list[str]:
    """The texts of one line, which must have its line end; raises `Torn`."""
    if not line.endswith(b"\n"):
        raise Torn("is cut short: it has no line end")
    try:
        text = line[:-1].decode("utf-8")
    except UnicodeDecodeError:
        raise Torn("is not text in UTF-8") from None
    return _split(text)


def _split(text: str) -> list[str]:
    found, position = [], 0
    while True:
        match = _CELL.match(text, position)
        assert match is not None  # an empty cell always matches
        found.append(match[2] if match[1] is None else match[1].replace('""', '"'))
        position = match.end()
        if position == len(text):
            return found
        if text[position] != ",":
            raise Torn(f"has a stray quote in cell {len(found)}")
        position += 1


def value(text: str) -> Scalar:
    """The value whose text in a cell this is."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and len(text) <= LONGEST_DIGITS:
        number = int(text)
        return number if repr(number) == text else text
    return _float(text)


def _float(text: str) -> Scalar:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if repr(number) == text else text
