"""`show`: one task, read from the database beside a running manager.  Read-only.

What is not here: what is known of a task (`store/tracing.py`), how it is shown (`report_show.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlqueue.home import Home
from sqlqueue.lifecycle import State
from sqlqueue.plan.differing import differences

if TYPE_CHECKING:
    from sqlqueue.store.reading import TaskRow

OF_ATTEMPT: Final = (
    *("worker_id", "host", "device", "outcome", "started_at", "ended_at", "seconds"),
    *("code_version", "versions", "log_file", "error"),
)


def shown(home: Home, name: str) -> dict[str, Any]:
    """The task as docs/COMMANDS.md describes it.  Raises `QueueError`."""
    home.queue_id()
    from sqlqueue.store import engine, tracing

    with engine.Reader(home) as reader:
        task, told = reader.read(lambda connection: tracing.found(connection, name))
    return _task(task, told)


def _task(task: TaskRow, told: Mapping[str, Any]) -> dict[str, Any]:
    accepted = next((each for each in told["results"] if each["accepted"]), None)
    others = [each for each in told["results"] if not each["accepted"]]
    return {
        "task_id": task.task_id,
        "signature": task.signature,
        "phase": task.phase,
        "experiment": task.experiment,
        "state": task.state.value,
        "rerun": task.has_result and task.state is not State.COMPLETED,
        "held": task.held,
        "priority": told["priority"],
        "max_attempts": task.max_attempts,
        "timeout_seconds": task.timeout_seconds,
        "failures": task.failures,
        "losses": task.losses,
        "created_at": _time(told["created_at"]),
        "phases": [_phase(each) for each in told["phases"]],
        "directories": told["directories"],
        "parameters": task.parameters,
        "runtime_only": task.runtime_only,
        "attempts": [_attempt(each, accepted) for each in told["attempts"]],
        "result": None if accepted is None else _result(accepted),
        "other_results": [
            _result(each) | {"differs": differences(accepted["metrics"], each["metrics"])}
            for each in others
            if accepted is not None
        ],
    }


def _phase(wish: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in wish.items() if name not in ("phase", "withdrawn")}
    return {"phase": wish["phase"], "wanted": not wish["withdrawn"], **rest}


def _attempt(row: Mapping[str, Any], accepted: Mapping[str, Any] | None) -> dict[str, Any]:
    found = {name: row[name] for name in OF_ATTEMPT}
    times = {name: _time(row[name]) for name in ("started_at", "ended_at")}
    is_it = accepted is not None and accepted["attempt"] == row["number"]
    return {"attempt": row["number"], **found, **times, "accepted": is_it}


def _result(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "attempt": found["attempt"],
        "arrived_at": _time(found["arrived_at"]),
        "metrics": found["metrics"],
    }


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
