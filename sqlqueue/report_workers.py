"""The workers as a table: who runs what, since when, how far.

Pure.  What is not here: the other sections of `status` (`report.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlqueue.figures import duration, plural, short
from sqlqueue.tables import Column, Page, table
from sqlqueue.visible import printable

Figures = Mapping[str, Any]

METRICS_SHOWN: Final = 3
STOPPING: Final = "cancelled: stopping"

_WORKERS: Final = (
    Column("WORKER", least=8),
    Column("HOST", least=6),
    Column("DEVICE", least=6),
    Column("TASK", least=14),
    Column("TRY", "right"),
    Column("FOR", "right"),
    Column("STEP", "right"),
    Column("REPORTS", least=7, keep="start"),
)


def workers(found: Sequence[Figures], page: Page) -> list[str]:
    """One line per task being run, one per idle worker; those gone are only counted."""
    gone = sum(each["state"] == "gone" for each in found)
    rows = [row for each in found if each["state"] != "gone" for row in _worker(each)]
    lines = table(_WORKERS, rows, page) if rows else []
    missing = f"{plural(gone, 'worker')} not heard of any more" if gone else ""
    return [*lines, page.paint(missing, "dim")] if missing else lines


def _worker(worker: Figures) -> list[list[str]]:
    who = [printable(str(worker[key] or "")) for key in ("worker_id", "host", "device")]
    if not worker["tasks"]:
        return [[*who, "(drained)" if worker.get("drained") else "(idle)", "", "", "", ""]]
    return [who + _running(task) for task in worker["tasks"]]


def _running(task: Figures) -> list[str]:
    seconds = task["seconds"]
    return [
        printable(task["task_id"]),
        str(task["attempt"]),
        "" if seconds is None else duration(seconds),
        step(task),
        STOPPING if task.get("cancelled") else metrics(task),
    ]


def step(task: Figures) -> str:
    """`12/50`, `12`, or nothing when the experiment does not report."""
    if task["step"] is None:
        return ""
    return short(_whole(task["step"])) + (
        "" if task["total"] is None else f"/{short(_whole(task['total']))}"
    )


def _whole(number: float) -> float:
    return int(number) if isinstance(number, float) and number.is_integer() else number


def metrics(task: Figures) -> str:
    """The first few metrics that the running experiment reported."""
    items = list((task["metrics"] or {}).items())[:METRICS_SHOWN]
    return " ".join(f"{printable(str(name))}={short(value)}" for name, value in items)
