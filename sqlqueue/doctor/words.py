"""Findings as text for a person and as JSON, and the table of all kinds for the manual.

What is not here: finding them.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

from sqlqueue.doctor.finding import KINDS, Finding, Kind, Severity
from sqlqueue.figures import plural
from sqlqueue.tables import Page
from sqlqueue.visible import printable

COLOURS: Final = {Severity.PROBLEM: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
INDENT: Final = 9


def lines(findings: Sequence[Finding], examined: str, page: Page) -> list[str]:
    """Everything that a person reads."""
    parts = [line for each in findings for line in (*_told(each, page), "")]
    return [*parts, _verdict(findings, examined)]


def _told(found: Finding, page: Page) -> list[str]:
    kind = found.kind
    severity = page.paint(f"{kind.severity:<{INDENT}}", COLOURS[kind.severity])
    space = " " * INDENT
    return [
        f"{severity}{printable(found.about)}: {printable(found.found)}",
        *textwrap.wrap(
            f"{kind.what}: {kind.why}",
            max(page.columns, 40),
            initial_indent=space,
            subsequent_indent=space,
            break_long_words=False,
        ),
        f"{space}cure: {printable(found.cure)}",
    ]


def _verdict(findings: Sequence[Finding], examined: str) -> str:
    if not findings:
        return f"Nothing wrong ({printable(examined)})"
    counts = {each: sum(f.kind.severity is each for f in findings) for each in Severity}
    told = ", ".join(plural(count, each) for each, count in counts.items() if count)
    return f"{told} ({printable(examined)}); docs/DOCTOR.md explains each"


def as_json(findings: Iterable[Finding], home: str, healthy: bool) -> str:
    """One object; docs/DOCTOR.md describes it."""
    told = [
        {
            "kind": each.kind.name,
            "severity": each.kind.severity.value,
            "about": each.about,
            "found": each.found,
            "what": each.kind.what,
            "why": each.kind.why,
            "cure": each.cure,
            "command": each.command,
        }
        for each in findings
    ]
    return json.dumps({"home": home, "healthy": healthy, "findings": told}, indent=2)


def table() -> str:
    """Every kind of finding, as Markdown: what docs/DOCTOR.md has."""
    rows = [_row(KINDS[name]) for name in sorted(KINDS, key=_order)]
    return "\n".join(
        ["| finding | | what, and why it matters | cure |", "|---|---|---|---|", *rows]
    )


def _order(name: str) -> tuple[str, int, str]:
    return name.partition("-")[0], list(Severity).index(KINDS[name].severity), name


def _row(kind: Kind) -> str:
    cure = kind.cure.replace("{{", "{").replace("}}", "}") or f"`{kind.command}`"
    cure = re.sub(r"\{([a-z]+)\}", lambda word: word[1].replace("about", "path").upper(), cure)
    return f"| `{kind.name}` | {kind.severity} | {kind.what}: {kind.why} | {cure} |"
