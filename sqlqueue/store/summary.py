"""The figures of `status`, from a read-only look at the database.

One consistent snapshot; changes nothing.  What is not here: what only a running manager knows
(`manager/live.py`), and how figures are shown.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, select

from sqlqueue.filesystems import on_network
from sqlqueue.home import Home
from sqlqueue.lifecycle import State
from sqlqueue.plan.forecast import Runner, remaining
from sqlqueue.store import breaker, engine, failing, records, reruns, steering
from sqlqueue.store.counting import EVERY
from sqlqueue.store.estimate import Work
from sqlqueue.store.lanes import Lanes
from sqlqueue.store.planned import directory_tallies
from sqlqueue.store.prepared import Gathered
from sqlqueue.store.schema import attempts, phases, tasks

FOLDER: Final = "unsubmitted"
LOOK_SECONDS: Final = 2.0

T = TypeVar("T")

_NONE: Final = {"total": 0} | {each.value.lower(): 0 for each in State}
_PHASES: Final = Gathered(
    select(phases.c.id, phases.c.name, phases.c.paused, phases.c.asked_priority)
)
_DIRECTORY_TALLIES: Final = Gathered(select(directory_tallies))

_lanes: Final = Lanes(LOOK_SECONDS)
_looking: Final = threading.Lock()


def offline_status(
    home: Home,
    wall: Callable[[], float] = time.time,
    gone: Callable[[str, str], bool] = lambda *_: False,
) -> dict[str, Any]:
    """The figures when no manager answers; `wall`: seconds since 1970; `gone`: whether a worker
    of that name and host is known to have ended."""
    with engine.Reader(home) as reader:
        found = with_folders(home, reader.read(lambda each: from_database(each, wall())))
    found["private_copy"] = on_network(home.path)
    for each in found["workers"]:
        if gone(each["worker_id"], each["host"]):
            each |= {"state": "gone", "tasks": []}
    workers = (task for each in found["workers"] for task in each["tasks"])
    foretell(found, [], {each["task_id"]: each["left_seconds"] for each in workers})
    for each in found["directories"]:
        del each["key"]
    return found


def foretell(
    found: dict[str, Any], idle: Sequence[Runner], left: Mapping[str, float | None]
) -> None:
    """Says how long it will take, of the phases too; `idle` and `left` as for `forecast`."""
    forecast = found.pop("work").forecast(idle, left)
    found["eta_seconds"] = forecast.total
    for each in found["phases"]:
        each["eta_seconds"] = forecast.phases.get(each.pop("key"), 0.0)


def figures(home: Home, reader: engine.Reader) -> dict[str, Any]:
    """What the database and the folders tell to a manager, which knows better who runs what:
    `key` names the record of each directory and phase, `work` is what is left, and how long it
    will take is not told yet (`foretell`).
    """
    return with_folders(home, reader.read(_without_workers))


def with_folders(home: Home, found: dict[str, Any]) -> dict[str, Any]:
    """The database's figures with what the folders tell."""
    waiting = _unsubmitted(home, [each["output_dir"] for each in found["directories"]])
    for each in found["directories"]:
        each["unsubmitted"] = waiting[each["output_dir"]]
    asides = _still_there(home, found["set_aside"])
    return found | {
        "queue": home.queue_id(),
        "home": str(home.path),
        "root": str(home.root),
        "as_of": datetime.now(UTC).isoformat(timespec="seconds"),
        "manager": {
            "running": False,
            "pid": None,
            "host": None,
            "started_at": None,
            "answers": False,
        },
        "unsubmitted": sum(waiting.values()),
        "set_aside": asides,
        "private_copy": False,
    }


def from_database(connection: Connection, now: float) -> dict[str, Any]:
    """Everything that one snapshot of the database tells; `now`: seconds since 1970."""
    found = _without_workers(connection)
    return found | {"workers": _workers(connection, found["work"], now)}


def _without_workers(connection: Connection) -> dict[str, Any]:
    work = Work(connection)
    totals = counted(work.states(EVERY).items())
    finished = totals["total"] > 0 and not totals["pending"] + totals["running"]
    return {
        "totals": totals,
        "phases": _phases(connection, work),
        "directories": _directories(connection),
        "failures": failing.failures(connection),
        "given_back": failing.given_back(connection),
        "set_aside": records.set_aside_paths(connection),
        **reruns.figures(connection),
        "paused": steering.is_queue_paused(connection),
        "held": work.held(),
        "drained": [each.shown() for each in steering.all_drains(connection)],
        "eta_seconds": None,
        "work_seconds": work.work_seconds(),
        "done": finished,
        "work": work,
    }


def counted(states: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Counts by state, in lower case, with their total."""
    counts = dict(_NONE)
    for state, count in states:
        counts[state.lower()] += count
        counts["total"] += count
    return counts


def _phases(connection: Connection, work: Work) -> list[dict[str, Any]]:
    """Counts per phase, in the order in which the phases appeared."""
    broken = breaker.paused(connection)
    return [
        {
            "key": key,
            "phase": name,
            **counted(work.states(key).items()),
            "eta_seconds": None,
            "work_seconds": work.work_seconds(key),
            "paused": bool(paused),
            "breaker": broken[key].shown() if key in broken else None,
            "asked_priority": asked,
        }
        for key, name, paused, asked in sorted(_PHASES.all(connection))
    ]


def _directories(connection: Connection) -> list[dict[str, Any]]:
    states: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for key, state, count in _DIRECTORY_TALLIES.all(connection):
        states[key].append((state, count))
    return [
        {
            "key": key,
            "output_dir": path,
            **counted(states[key]),
            "rows": record.row_count,
            "trouble": None,
            "unsubmitted": 0,
        }
        for key, (path, record) in sorted(records.load(connection).items())
    ]


def _workers(connection: Connection, work: Work, now: float) -> list[dict[str, Any]]:
    """Who ran what when the manager was last there."""
    query = (
        select(attempts, tasks.c.task_id)
        .join(tasks, tasks.c.signature == attempts.c.signature)
        .where(attempts.c.outcome.is_(None))
        .order_by(attempts.c.worker_id)
    )
    found: dict[str, dict[str, Any]] = {}
    drains = steering.all_drains(connection)
    for row in connection.execute(query):
        worker = found.setdefault(
            row.worker_id,
            {
                "worker_id": row.worker_id,
                "host": row.host,
                "device": row.device,
                "worker_type": "",
                "state": "running",
                "drained": any(each.means(row.worker_id, row.host, row.device) for each in drains),
                "heard_seconds_ago": None,
                "tasks": [],
            },
        )
        seconds = round(max(0.0, now - row.started_at), 1)
        progress: dict[str, Any] = {"step": None, "total": None, "metrics": {}}
        worker["tasks"].append(
            {
                "task_id": row.task_id,
                "attempt": row.number,
                "cancelled": False,
                "seconds": seconds,
                "left_seconds": _rounded(remaining(work.expected(row.task_id), seconds)),
                **progress,
            }
        )
    return list(found.values())


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _unsubmitted(home: Home, output_dirs: list[str]) -> dict[str, int]:
    """How many results wait as files, per directory; those in the home under an empty name."""
    root = home.absolute("")
    folders = {each: root / each / FOLDER for each in output_dirs}
    folders[""] = home.unsubmitted
    counts = _looked({each: partial(_count, each) for each in folders.values()})
    return {each: counts.get(folder, 0) for each, folder in folders.items()}


def _still_there(home: Home, paths: list[str]) -> list[str]:
    """Those files that were moved aside and not removed since, as far as their folders answer."""
    root = home.absolute("")
    absolute = {each: root / each for each in paths}
    names: dict[Path, list[Path]] = defaultdict(list)
    for each in absolute.values():
        names[each.parent].append(each)
    gone = _looked({folder: partial(_gone, files) for folder, files in names.items()})
    return [path for path, each in absolute.items() if each not in gone.get(each.parent, ())]


def _gone(files: list[Path]) -> set[Path]:
    return {each for each in files if not each.exists()}


def _looked(calls: Mapping[Path, Callable[[], T]]) -> dict[Path, T]:
    """What looks at folders found; those that hang are left out, and not looked at once more
    before they answer: whoever asks for the figures again and again must not pile them up."""
    with _looking:
        found = _lanes.run({each: call for each, call in calls.items() if not _lanes.stuck(each)})
    return {each: said for each, said in found.items() if not isinstance(said, BaseException)}


def _count(folder: Path) -> int:
    try:
        return sum(1 for each in folder.iterdir() if each.suffix == ".json")
    except OSError:
        return 0
