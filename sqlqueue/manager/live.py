"""What only the running manager knows, added to the figures from the database."""

from __future__ import annotations

from typing import Any, Final

from sqlqueue.home import Home
from sqlqueue.manager.leases import Lease
from sqlqueue.manager.notebook import Notebook, WorkerSeen
from sqlqueue.plan.forecast import Runner
from sqlqueue.plan.pace import kind_of
from sqlqueue.store.estimate import Work
from sqlqueue.store.steering import Drain
from sqlqueue.store.summary import foretell

GONE_SECONDS: Final = 90.0
FORGOTTEN_SECONDS: Final = 3600.0
ASKING_SECONDS: Final = 25.0
"""An idle worker asks again within 20 s: one that is silent for longer takes no part."""
LONG_SECONDS: Final = 5.0
"""Nothing that the writer does should take longer; if it does, that is told."""
BUSY: Final = "the manager has been busy with one thing for {:.0f} s: does a disk not answer?"


def with_live(
    figures: dict[str, Any], book: Notebook, now: float, home: Home, busy_seconds: float
) -> dict[str, Any]:
    """The figures with workers, progress and troubled directories as they are now.

    `busy_seconds`: how long the writer has been at what it does.
    """
    trouble = book.outputs.trouble()
    busy = BUSY.format(busy_seconds) if busy_seconds > LONG_SECONDS else None
    for each in figures["directories"]:
        each["trouble"] = trouble.get(each.pop("key"), busy)
    held: dict[str, list[Lease]] = {}
    for lease in book.leases:
        held.setdefault(lease.worker_id, []).append(lease)
    seen = list(book.workers.values())
    known = {each.worker_id for each in seen}
    seen += [WorkerSeen(name, "", "", "gpu", now) for name in held if name not in known]
    drains = [Drain(each["worker"], each["host"], each["device"]) for each in figures["drained"]]
    work: Work = figures["work"]
    figures["workers"] = [
        _worker(each, held.get(each.worker_id, []), drains, work, now)
        for each in sorted(seen, key=lambda each: each.worker_id)
        if held.get(each.worker_id) or now - each.heard < FORGOTTEN_SECONDS
    ]
    _foretell(figures)
    said = home.manager() or {}
    figures["manager"] = {
        "running": True,
        "pid": said.get("pid"),
        "host": said.get("hostname"),
        "started_at": said.get("started_at"),
        "answers": True,
    }
    return figures


def _foretell(figures: dict[str, Any]) -> None:
    """How long it will take those who are at work now."""
    workers = figures["workers"]
    idle = [
        Runner(kind_of(each["device"]), each["worker_type"] == "cpu")
        for each in workers
        if not each["tasks"] and not each["drained"]
        if each["heard_seconds_ago"] < ASKING_SECONDS
    ]
    left = {
        task["task_id"]: task["left_seconds"]
        for each in workers
        for task in each["tasks"]
        if not task["cancelled"]
    }
    foretell(figures, idle, left)


def _worker(
    seen: WorkerSeen, leases: list[Lease], drains: list[Drain], work: Work, now: float
) -> dict[str, Any]:
    silent = now - seen.heard
    state = "running" if leases else "idle" if silent < GONE_SECONDS else "gone"
    return {
        "worker_id": seen.worker_id,
        "host": seen.host,
        "device": seen.device,
        "worker_type": seen.worker_type,
        "state": state,
        "drained": any(each.means(seen.worker_id, seen.host, seen.device) for each in drains),
        "heard_seconds_ago": round(max(0.0, silent), 1),
        "tasks": [
            {
                "task_id": each.attempt.task_id,
                "attempt": each.attempt.number,
                "cancelled": each.cancelled,
                "seconds": round(now - each.since, 1),
                "left_seconds": _rounded(
                    each.left_seconds(work.expected(each.attempt.task_id), now)
                ),
                "step": each.step,
                "total": each.total,
                "metrics": each.metrics,
            }
            for each in leases
        ],
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
