"""What the circuit breaker has paused, from the figures of `status`, as text.

Pure.  What is not here: when it trips (`manager/breaking.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlqueue.figures import cut_end, plural
from sqlqueue.plan.breaker import Trip
from sqlqueue.tables import Page
from sqlqueue.visible import printable

Figures = Mapping[str, Any]

NAMED: Final = 3
"""Phases told one by one before the rest is only counted."""


def trips(status: Figures) -> list[Trip]:
    """Every phase that the breaker has paused: new cells of it wait too."""
    found = [Trip.of(each) for each in status["phases"]]
    return [each for each in found if each is not None]


def is_stuck(status: Figures) -> bool:
    """Whether all that is left is held back by the breaker: nothing more happens by itself.

    What a person paused is another matter: somebody means to go on with it.
    """
    pending = status["totals"]["pending"]
    if not pending or status["totals"]["running"] or status.get("paused"):
        return False
    paused = [each for each in status["phases"] if each.get("paused") and each["pending"]]
    return status.get("held") == pending and all(each.get("breaker") for each in paused)


def stopped(status: Figures, phases: Collection[str]) -> bool:
    """Whether the breaker holds back something of one of these phases."""
    return any(each.phase in phases for each in trips(status))


def lines(status: Figures, page: Page, cures: bool = True) -> list[str]:
    """For each phase what happened, and with `cures` what to do."""
    found = trips(status)
    told = [line for each in found[:NAMED] for line in _told(each, page, cures)]
    if len(found) > NAMED:
        more = plural(len(found) - NAMED, "more phase")
        told.append(page.paint(f"paused by the breaker too: {more}", "red"))
    return told


def _told(trip: Trip, page: Page, cures: bool) -> list[str]:
    of = f"phase={trip.phase}"
    first = f"paused by the breaker: {trip.phase}, {trip.how_often}:"
    lines = [
        page.paint(cut_end(first, page.columns), "red"),
        cut_end(f"    {printable(trip.what)}", page.columns),
    ]
    cure = [f"    why: `sqlqueue failures {of}`", f"    then: `sqlqueue resume {of}`"]
    return lines + (cure if cures else [])
