"""From one line of a CSV back to values that write the same line: the inverse of `rows.py`.

Pure.  Promises: for a line that `rows.line` wrote, `line` of the values is that line, byte
for byte.  What a CSV does not tell apart, nothing does afterwards: a text that spells a
number as we would write it comes back as that number, an empty text as nothing.

A mapping stood in one cell, as JSON text, before its entries had columns of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from sqlqueue.plan.nested import head, nest
from sqlqueue.plan.rows import Scalar, cell
from sqlqueue.plan.signature import canonical

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


def whole(texts: Mapping[str, str], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The mappings that a row has in one cell each, while its task has their entries.

    Raises `Torn` where they are others than the task's.
    """
    heads = {head(name) for name in parameters if "." in name} - parameters.keys()
    nested = nest(parameters, heads)
    found = {}
    for name in sorted(heads & texts.keys()):
        given = _mapping(texts[name])
        if given is not None and canonical(given) != canonical(nested[name]):
            expected = cell(nested[name])
            raise Torn(f"column {name} is {texts[name]!r:.80}, while its task has {expected!r:.80}")
        if given is not None:
            found[name] = given
    return found


def _mapping(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
