"""Numbers as a person reads them: thousands, plurals, shares, durations, safe text.

Pure and light.  Promises: a share is never rounded up to 100%, nothing printed can steer
a terminal.  What is not here: where the figures come from, and how they are laid out.
"""

from __future__ import annotations

import math
import unicodedata
from typing import Final

from sqlqueue.visible import printable

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


def thousands(number: int) -> str:
    """1234567 as `1,234,567`."""
    return f"{number:,}"


def plural(number: int, noun: str, several: str = "") -> str:
    """`1 task`, `2,000 tasks`, `3 directories`."""
    return f"{thousands(number)} {noun if number == 1 else several or noun + 's'}"


def share(part: int, whole: int) -> str:
    """A percentage, rounded down, so that 100% means all of it."""
    return f"{100 * part // whole}%" if whole else "-"


def duration(seconds: float) -> str:
    """`8s`, `2m 05s`, `1h 05m`, `3d 04h`."""
    whole = max(0, round(seconds)) if math.isfinite(seconds) else 0
    if whole < MINUTE:
        return f"{whole}s"
    if whole < HOUR:
        return f"{whole // MINUTE}m {whole % MINUTE:02d}s"
    if whole < DAY:
        return f"{whole // HOUR}h {whole % HOUR // MINUTE:02d}m"
    return f"{whole // DAY}d {whole % DAY // HOUR:02d}h"


def short(value: object) -> str:
    """A metric in few characters; whole numbers keep all their digits."""
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))


def width(text: str) -> int:
    """The columns that printable text takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(_columns(each) for each in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """The text in at most `columns`, its middle left out: both ends tell names apart."""
    if width(text) <= columns:
        return text
    if columns <= 1:
        return "…"[:columns]
    tail = (columns - 1) // 2
    return _first(text, columns - 1 - tail) + "…" + _last(text, tail)


def cut_end(text: str, columns: int) -> str:
    """The text in at most `columns`, its end left out."""
    return text if width(text) <= columns else _first(text, columns - 1) + "…"


def _first(text: str, columns: int) -> str:
    kept, used = 0, 0
    while kept < len(text) and used + _columns(text[kept]) <= columns:
        used += _columns(text[kept])
        kept += 1
    return text[:kept]


def _last(text: str, columns: int) -> str:
    return _first(text[::-1], columns)[::-1]
