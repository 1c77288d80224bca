"""What a verb that steers did, as text and as JSON.

Pure.  What is not here: asking (`steering.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from sqlqueue.figures import plural, thousands
from sqlqueue.lifecycle import State
from sqlqueue.visible import printable

if TYPE_CHECKING:
    from sqlqueue.steering import Steered

NOTHING: Final = "No task matches"
MOST_PHASES: Final = 8
_ORDER: Final = {state.value: number for number, state in enumerate(State)}


def by_state(counts: Mapping[str, int]) -> str:
    """`110 pending, 4 running`."""
    ordered = sorted(counts, key=lambda each: _ORDER.get(each, len(_ORDER)))
    return ", ".join(f"{thousands(counts[each])} {each.lower()}" for each in ordered)


def by_phase(counts: Mapping[str, int]) -> str:
    """`exp1 (100), exp2 (20) and 3 more phases`."""
    shown = [f"{printable(name)} ({thousands(counts[name])})" for name in counts][:MOST_PHASES]
    rest = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {plural(rest, 'more phase')}" if rest else "")


def cancelling(done: Mapping[str, int], phases: Mapping[str, int]) -> str:
    """The question, without its mark."""
    total = plural(sum(done.values()), "task")
    running = done.get(State.RUNNING.value, 0)
    stop = f", {thousands(running)} of them running now" if running else ""
    return f"cancel {total}{stop} ({by_state(done)}; phases: {by_phase(phases)})"


def rerunning(done: Mapping[str, int], phases: Mapping[str, int]) -> str:
    """The question, without its mark."""
    total = plural(sum(done.values()), "completed task")
    stays = "each row stays until its new result is there"
    return f"run {total} once more (phases: {by_phase(phases)}); {stays}"


def steered_lines(found: Steered, what: str, dry_run: bool) -> list[str]:
    """What was done (`what`, a participle), and what was not and why."""
    lines = [f"note: {printable(_never(each))}" for each in found.never if not found.matched]
    if not found.matched:
        return [NOTHING, *lines]
    verb = f"Would be {what}" if dry_run else what.capitalize()
    told = f" ({by_state(found.done)}; phases: {by_phase(found.phases)})" if found.done else ""
    lines = [f"{verb}: {plural(found.done.total(), 'task')}{told}"]
    lines += [f"{thousands(count)} not: {why}" for why, count in found.left.items()]
    lines += [f"note: {printable(each)}" for each in found.notes]
    return lines + (["Dry run: nothing was changed"] if dry_run else [])


def _never(word: str) -> str:
    return f"{word}: no task has a value of that kind to compare with, so it can never match"


def held_lines(notes: list[str], dry_run: bool) -> list[str]:
    """What became of phases and workers."""
    return [*map(printable, notes), *(["Dry run: nothing was changed"] if dry_run else [])]


def steered_json(found: Steered, dry_run: bool) -> str:
    """The same for programs, as docs/COMMANDS.md describes it."""
    return json.dumps(
        {
            "matched": found.matched,
            "done": {name.lower(): count for name, count in found.done.items()},
            "left": dict(found.left),
            "phases": dict(found.phases),
            "notes": found.notes,
            "dry_run": dry_run,
        },
        indent=2,
    )
