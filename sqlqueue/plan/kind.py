"""Kinds of failure: what failed attempts have in common, the parts that vary made one.

`CUDA out of memory. Tried to allocate 2.00 GiB` and `... 512.00 MiB` are one kind: numbers (sizes
with their units), addresses, paths and quoted values may differ.  What is the same in all members
stays in the heading, what differs is an ellipsis.  And what the tasks of a kind share.  Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlqueue.plan.headline import headline
from sqlqueue.plan.signature import canonical

MOST_OF_ONE: Final = 3
"""What one task has that no other has tells something only when that is little."""
ELLIPSIS: Final = "…"
_VARYING: Final = re.compile(
    r"0x[0-9a-fA-F]+"
    r"|'[^']*'|\"[^\"]*\""
    r"|(?<![\w/])(?:~|\.{1,2})?(?:/[\w.+@=,-]+)+/?"
    r"|(?<![A-Za-z_])\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?:\s?[KMGT]?i?B\b)?"
)


@dataclass(frozen=True, slots=True)
class Said:
    """The headline of an error in its parts: fixed ones, and between them what may vary."""

    outcome: str
    fixed: tuple[str, ...]
    varying: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Names the kind: the same for all of it, in every queue."""
        text = "\0".join((self.outcome, *self.fixed))
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]

    @property
    def heading(self) -> str:
        """The headline again, with what varies as it is here."""
        ends = (*self.varying, "")
        return "".join(part for pair in zip(self.fixed, ends, strict=True) for part in pair)

    def joined(self, other: Said) -> Said:
        """What is left of two of one kind: that in which they differ is an ellipsis."""
        varying = tuple(
            mine if mine == theirs else ELLIPSIS
            for mine, theirs in zip(self.varying, other.varying, strict=True)
        )
        return Said(self.outcome, self.fixed, varying)


def said(outcome: str, error: str | None) -> Said:
    """What an attempt said; nothing at all is a kind too."""
    text = headline(error or "")
    return Said(outcome, tuple(_VARYING.split(text)), tuple(_VARYING.findall(text)))


@dataclass(slots=True)
class Shared:
    """Parameters that have one value in all tasks of a group, and that value in no other task.

    `values` None: of no task yet.
    """

    values: dict[str, Any] | None = None

    def add(self, parameters: dict[str, Any]) -> None:
        """One more task of the group."""
        mine = parameters if self.values is None else self.values
        self.values = {name: value for name, value in mine.items() if _has(parameters, name, value)}

    def others(self, parameters: Mapping[str, Any]) -> None:
        """A task that is none of them: what it has too tells nothing."""
        mine = self.values or {}
        self.values = {
            name: value for name, value in mine.items() if not _has(parameters, name, value)
        }

    def told(self, count: int) -> dict[str, Any]:
        """What is worth telling of a group of so many tasks."""
        found = self.values or {}
        return {} if count == 1 and len(found) > MOST_OF_ONE else found


def _has(parameters: Mapping[str, Any], name: str, value: Any) -> bool:
    return name in parameters and canonical(parameters[name]) == canonical(value)
