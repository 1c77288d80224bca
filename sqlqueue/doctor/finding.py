"""A finding: what is wrong where, why it matters, and what cures it.

Every kind of finding is declared once (`kind`), with all that is always true of it; a check
adds where and what exactly.  `KINDS` holds all that were declared: docs/DOCTOR.md is checked
against it.  What is not here: the checks.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad: a note alone leaves the exit status 0."""

    PROBLEM = "problem"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found."""

    kind: Kind
    about: str
    found: str
    cure: str
    command: str | None
    """Cures it, as it stands, in a shell; None where a person must think first."""

    def __str__(self) -> str:
        return f"{self.kind.name}: {self.about}: {self.found}"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding.  `cure` and `command` may have `{words}` that a check fills in."""

    name: str
    severity: Severity
    what: str
    why: str
    cure: str
    command: str | None

    def at(self, about: object, found: str, **words: object) -> Finding:
        """The finding; `{about}` may stand in the cure."""
        filled = {name: str(word) for name, word in {"about": about, **words}.items()}
        quoted = {name: _quoted(word) for name, word in {"about": about, **words}.items()}
        command = self.command.format(**quoted) if self.command else None
        cure = self.cure.format(**filled) if self.cure else command or ""
        return Finding(self, str(about), found, cure, command)


def _quoted(word: object) -> str:
    """As a shell takes it; several words for a list."""
    words = word if isinstance(word, list) else [word]
    return shlex.join(str(each) for each in words)


KINDS: dict[str, Kind] = {}
PROBLEM, WARNING, NOTE = Severity.PROBLEM, Severity.WARNING, Severity.NOTE


def kind(
    name: str,
    severity: Severity,
    what: str,
    why: str,
    *,
    cure: str = "",
    command: str | None = None,
) -> Kind:
    """Declares a kind; with a `command` the cure need not be said in words."""
    if name in KINDS or not (cure or command):
        raise ValueError(f"{name}: declared twice, or without a cure")
    KINDS[name] = Kind(name, severity, what, why, cure, command)
    return KINDS[name]
