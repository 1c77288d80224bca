"""What `status` says of tasks that wait for a person's word, and of those that run once more.

Pure.  What is not here: why the circuit breaker paused a phase (`report_breaker.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlqueue.figures import plural
from sqlqueue.visible import printable

Figures = Mapping[str, Any]

PHASES_NAMED: Final = 5


def why_held(phase: Figures) -> str:
    """`paused` by a person, or by the `breaker`; nothing when it goes on."""
    if not phase.get("paused"):
        return ""
    return "breaker" if phase.get("breaker") else "paused"


def once_more(status: Figures) -> list[str]:
    """What runs once more, and what did in vain."""
    lines = []
    if again := status.get("rerunning", 0):
        stays = "each old row stays until its new result is there"
        lines.append(f"once more: {plural(again, 'task')}; {stays}")
    if failed := status.get("reruns_failed", 0):
        kept = f"{plural(failed, 'task')} failed once more and kept the result of before"
        lines.append(f"{kept}; `sqlqueue failures` says why")
    return lines


def steered(status: Figures) -> list[str]:
    """What a person holds back: the queue, phases, workers; nothing when it is finished."""
    lines = []
    if status.get("paused"):
        lines.append("paused: the whole queue; `sqlqueue resume --all` goes on")
    names = [printable(each["phase"]) for each in status["phases"] if why_held(each) == "paused"]
    if names:
        more = f" and {plural(len(names) - PHASES_NAMED, 'more phase')}"
        shown = ", ".join(names[:PHASES_NAMED]) + (more if len(names) > PHASES_NAMED else "")
        lines.append(f"paused: {shown}; `sqlqueue resume phase=NAME` goes on")
    for each in status.get("drained", []):
        words = [f"{name}={each[name]}" for name in ("worker", "host", "device") if each[name]]
        who = printable(" ".join(words) or "--all")
        lines.append(f"drained: {who}; `sqlqueue resume {who}` lets it work again")
    return lines
