"""Steering in SQL: tasks tried again or cancelled, wishes withdrawn and weighed anew, pauses and
drains.  What is steered is kept here, so that it outlives the manager.

Every function takes a connection inside a transaction.  What is not here: who is meant
(`selecting.py`), what wishes come to (`wishing.py`), ending attempts (`queue.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from sqlqueue.lifecycle import Event, State, move
from sqlqueue.plan.selector import is_worker
from sqlqueue.store import states, wishing
from sqlqueue.store.prepared import Prepared
from sqlqueue.store.reading import Attempt, running_of_tasks
from sqlqueue.store.schema import (
    attempts,
    breakers,
    drains,
    meta,
    phases,
    streaks,
    task_output_dirs,
    task_phases,
    tasks,
    workers,
)
from sqlqueue.store.selecting import Chosen

_WISH: Final = task_phases.c
_PAUSED: Final = "paused"
_QUEUE_PAUSED: Final = Prepared(select(meta.c.value).where(meta.c.key == _PAUSED))
_DRAINS: Final = select(drains).order_by(drains.c.id)
_PAUSED_PHASES: Final = select(phases.c.name).where(phases.c.paused).order_by(phases.c.id)
_BROKEN_PHASES: Final = _PAUSED_PHASES.join(breakers, breakers.c.phase_id == phases.c.id)
_LAST_ATTEMPT: Final = (
    select(func.max(attempts.c.number))
    .where(attempts.c.signature == tasks.c.signature)
    .scalar_subquery()
)
_MOVE: Final = tasks.update().where(tasks.c.signature == bindparam("of_signature"))


# --- tasks --------------------------------------------------------------------------------


def want_again(
    connection: Connection, chosen: Sequence[Chosen], scope: Collection[int] | None
) -> None:
    """What the phases in `scope` wanted of these tasks before it was withdrawn, they want again."""
    _withdraw(connection, [each.signature for each in chosen], scope, withdrawn=False)


def retry(connection: Connection, chosen: Sequence[Chosen]) -> None:
    """Failed and cancelled tasks are pending again, with no attempt counted against them."""
    if chosen:
        rows = [
            {"of_signature": each.signature, "to": move(each.state, Event.RESTORE).value}
            for each in chosen
        ]
        connection.execute(_MOVE.values(state=bindparam("to"), failures=0, losses=0), rows)


def rerun(connection: Connection, chosen: Sequence[Chosen]) -> None:
    """Completed tasks are pending, with no attempt counted against them; their results stand."""
    if chosen:
        rows = [
            {"of_signature": each.signature, "to": move(each.state, Event.RERUN).value}
            for each in chosen
        ]
        anew = {"failures": 0, "losses": 0, "rerun_after": _LAST_ATTEMPT}
        connection.execute(_MOVE.values(state=bindparam("to"), **anew), rows)


def linked(connection: Connection, chosen: Sequence[Chosen]) -> set[str]:
    """Of these tasks those that an output directory wants."""
    column = task_output_dirs.c.signature
    query = select(column).where(column.in_([each.signature for each in chosen]))
    return set(connection.execute(query).scalars())


def wanted_by(connection: Connection, chosen: Sequence[Chosen]) -> dict[str, set[int]]:
    """The phases that want each of these tasks, by key."""
    found: dict[str, set[int]] = defaultdict(set)
    query = select(_WISH.signature, _WISH.phase_id).where(
        _WISH.signature.in_([each.signature for each in chosen]), _WISH.withdrawn.is_(False)
    )
    for signature, phase_id in connection.execute(query):
        found[signature].add(phase_id)
    return found


def withdraw(
    connection: Connection, chosen: Sequence[Chosen], scope: Collection[int] | None
) -> None:
    """The phases in `scope` want these tasks no more; others may."""
    _withdraw(connection, [each.signature for each in chosen], scope, withdrawn=True)


def _withdraw(
    connection: Connection, signatures: list[str], scope: Collection[int] | None, *, withdrawn: bool
) -> None:
    statement = update(task_phases).where(_WISH.signature.in_(signatures))
    if scope is not None:
        statement = statement.where(_WISH.phase_id.in_(scope))
    connection.execute(statement.values(withdrawn=withdrawn))
    wishing.settle(connection, set(signatures))


def cancel(connection: Connection, chosen: Sequence[Chosen]) -> list[Attempt]:
    """Tasks that nobody wants are CANCELLED, and COMPLETED as they were if they were to run once
    more; returns their attempts that run and are to end."""
    if not chosen:
        return []
    rows = []
    for each in chosen:
        event = Event.KEEP if each.again else Event.CANCEL
        rows.append({"of_signature": each.signature, "to": move(each.state, event).value})
    connection.execute(_MOVE.values(state=bindparam("to")), rows)
    live = [each.signature for each in chosen if each.state is State.RUNNING]
    return running_of_tasks(connection, live)


def set_priority(
    connection: Connection,
    chosen: Sequence[Chosen],
    scope: Collection[int] | None,
    priority: int | None,
) -> None:
    """A person's word on what these phases, or all, ask of these tasks; None takes it back."""
    signatures = [each.signature for each in chosen]
    statement = update(task_phases).where(_WISH.signature.in_(signatures))
    if scope is not None:
        statement = statement.where(_WISH.phase_id.in_(scope))
    connection.execute(statement.values(asked_priority=priority))
    wishing.settle(connection, set(signatures))


def set_priority_of_phases(
    connection: Connection, keys: Iterable[int], priority: int | None
) -> None:
    """The same for the cells that these phases will have."""
    statement = update(phases).where(phases.c.id.in_(list(keys)))
    connection.execute(statement.values(asked_priority=priority))


# --- pauses -------------------------------------------------------------------------------


def is_queue_paused(connection: Connection) -> bool:
    """Whether nothing at all is handed out."""
    return bool(_QUEUE_PAUSED.all(connection))


def pause_queue(connection: Connection, paused: bool) -> None:
    """Nothing is handed out, or what the phases let through is."""
    if paused:
        row = insert(meta).values(key=_PAUSED, value="1")
        connection.execute(row.on_conflict_do_nothing())
    else:
        connection.execute(delete(meta).where(meta.c.key == _PAUSED))


def paused_phases(connection: Connection) -> list[str]:
    """Their names, in the order in which the phases appeared."""
    return list(connection.execute(_PAUSED_PHASES).scalars())


def broken_phases(connection: Connection) -> list[str]:
    """The names of those that the breaker has paused."""
    return list(connection.execute(_BROKEN_PHASES).scalars())


def pause_phases(connection: Connection, keys: Iterable[int], paused: bool) -> None:
    """Pauses phases, or ends that, the breaker's pauses too, which then counts anew.

    Which tasks are held is then to be settled, bite by bite.
    """
    these = list(keys)
    statement = update(phases).where(phases.c.id.in_(these))
    connection.execute(statement.values(paused=paused))
    if not paused:
        for each in (breakers, streaks):
            connection.execute(delete(each).where(each.c.phase_id.in_(these)))
    wishing.begin_settling(connection)


def why_waiting(connection: Connection) -> str:
    """What is paused, if that may be why there is no task; else nothing."""
    if not states.any_pending(connection):
        return ""
    if is_queue_paused(connection):
        return "the queue is paused; `sqlqueue resume --all` goes on"
    names = paused_phases(connection)
    if not names:
        return ""
    broken = set(broken_phases(connection))
    noun = "phase is" if len(names) == 1 else "phases are"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    shown = ", ".join(f"{each}, by the breaker" if each in broken else each for each in names[:5])
    why = "`sqlqueue failures` tells why, " if broken else ""
    return f"what is left waits: the {noun} paused ({shown}{more}); {why}`sqlqueue resume` goes on"


# --- drains -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drain:
    """Which workers are to start nothing more; an empty word is any."""

    worker: str = ""
    host: str = ""
    device: str = ""
    since: float = 0.0

    def means(self, worker_id: str, host: str, device: str) -> bool:
        """Whether that worker is meant."""
        return (
            (not self.worker or is_worker(self.worker, worker_id))
            and (not self.host or fnmatchcase(host, self.host))
            and (not self.device or fnmatchcase(device, self.device))
        )

    def shown(self) -> dict[str, str]:
        """As `status` tells it."""
        since = datetime.fromtimestamp(self.since, UTC).isoformat(timespec="seconds")
        words = {"worker": self.worker, "host": self.host, "device": self.device}
        return {**words, "since": since}

    def __str__(self) -> str:
        pairs = (("worker", self.worker), ("host", self.host), ("device", self.device))
        return " ".join(f"{name}={value}" for name, value in pairs if value) or "--all"


def all_drains(connection: Connection) -> list[Drain]:
    """Every one that stands, the oldest first."""
    return [
        Drain(row.worker, row.host, row.device, row.since) for row in connection.execute(_DRAINS)
    ]


def why_ending(connection: Connection, worker_id: str, host: str, device: str) -> str:
    """Why that worker is to end, or nothing."""
    for each in all_drains(connection):
        if each.means(worker_id, host, device):
            since = datetime.fromtimestamp(each.since, UTC).strftime("%Y-%m-%d %H:%M UTC")
            return (
                f"this worker is drained ({each}, since {since}); "
                f"`sqlqueue resume {each}` lets it work again"
            )
    return ""


def drain(connection: Connection, wanted: Iterable[Drain]) -> None:
    """Has these workers start nothing more."""
    rows: list[dict[str, Any]] = [
        {"worker": each.worker, "host": each.host, "device": each.device, "since": each.since}
        for each in wanted
    ]
    connection.execute(insert(drains).on_conflict_do_nothing(), rows)


def end_drains(connection: Connection, ended: Iterable[Drain] | None) -> int:
    """These workers may work again, or all; returns how many drains stood."""
    if ended is None:
        return connection.execute(delete(drains)).rowcount
    return sum(
        connection.execute(
            delete(drains).where(
                drains.c.worker == each.worker,
                drains.c.host == each.host,
                drains.c.device == each.device,
            )
        ).rowcount
        for each in ended
    )


def known_workers(connection: Connection) -> list[tuple[str, str, str]]:
    """Every worker that ever announced itself: its name, host and device."""
    query = select(workers.c.worker_id, workers.c.host, workers.c.device)
    return [(worker, host, device) for worker, host, device in connection.execute(query)]
