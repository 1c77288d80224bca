"""What is wrong in sweep files: collected first, told at once.

Promises: every problem names file and line, and phase and key where there are any; they
come in the order of the files and lines; none is told twice.  What is not here: what is
right and wrong.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlqueue.errors import SweepError
from sqlqueue.visible import printable

MOST_TOLD: Final = 1000
"""Problems told at once: nobody reads more, and a file may have a million."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the files given."""

    file: str
    line: int
    order: int = 0
    where: str = ""
    key: str | None = None

    def at(self, line: int, key: str | None = None) -> Place:
        """Another line (and key) of the same part of the file."""
        return replace(self, line=line, key=key or self.key)

    def within(self, where: str) -> Place:
        """The same file, inside of a phase or of the defaults."""
        return replace(self, where=where)

    def __str__(self) -> str:
        names = [self.where] if self.where else []
        names += [f"key {self.key!r}"] if self.key is not None else []
        return f"{self.file}:{self.line}: " + (", ".join(names) + ": " if names else "")


@dataclass(slots=True)
class Problems:
    """Collects what is wrong; `finish` raises all of it as one `SweepError`."""

    found: dict[str, Place] = field(default_factory=dict)

    def add(self, place: Place, text: str) -> None:
        self.found.setdefault(printable(f"{place}{text}"), place)

    def finish(self) -> None:
        if self.found:
            ordered = sorted(self.found.items(), key=lambda each: (each[1].order, each[1].line))
            told = [text for text, _ in ordered[:MOST_TOLD]]
            if rest := ordered[MOST_TOLD:]:
                first = rest[0][1]
                told.append(printable(f"{first.file}:{first.line}: and {len(rest)} more problems"))
            raise SweepError("\n".join(told))


def did_you_mean(word: str, known: Iterable[Any]) -> str:
    """` (did you mean 'lr'?)` when something known is close, else nothing."""
    names = {str(each).lower(): str(each) for each in known}
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return f" (did you mean {names[close[0]]!r}?)" if close else ""


def describe(value: Any) -> str:
    """A value as a message says it: its kind and its text, on one line."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {shorten(repr(value) if isinstance(value, float) else _digits(value))}"
    if isinstance(value, str):
        return f"the text {shorten(json.dumps(value, ensure_ascii=False))}"
    return "a mapping" if isinstance(value, dict) else "a list"


def _digits(value: int) -> str:
    return str(value) if abs(value) < 10**80 else hex(value)


def shorten(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
