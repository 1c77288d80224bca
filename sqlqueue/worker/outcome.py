"""What passes between supervisor and child: the order to run, and how the attempt ended.

The ending is a file before it is a message: the child writes it, durably, into the
attempt's folder, and it holds all that is needed to submit it, so that a result outlives
child and supervisor.  What is not here: pipes, and what a supervisor does with an ending.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from sqlqueue.disk import Disk
from sqlqueue.protocol import MAX_MESSAGE_BYTES, FailedOutcome, SubmitResult, TaskFailed

FILE: Final = "outcome.json"
FORMAT: Final = 1
MAX_METRICS_BYTES: Final = MAX_MESSAGE_BYTES - 64 * 1024
"""The rest of the message needs room too."""

COMPLETED: Final = "COMPLETED"
STOPPED: Final = "STOPPED"
"""The experiment heard that it should stop, and did: no result and no failure."""


@dataclass(frozen=True)
class Order:
    """All that a child needs to run one attempt, and to say afterwards whose it was.

    `log`, `folder` and `checkpoint` are absolute paths; `log_file` is how the log is
    called in messages; `output_dir` is the primary one, as the manager calls it;
    `device` is what reports say and `run_device` what the child sees of it.
    """

    queue: str
    task_id: str
    attempt: int
    signature: str
    phase: str
    experiment: str
    config: dict[str, Any]
    seed: int | None
    output_dir: str
    worker_id: str
    host: str
    device: str
    run_device: str
    code_version: str
    log_file: str
    log: str
    folder: str
    checkpoint: str

    def line(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"


def read_order(line: bytes) -> Order:
    """The order in a line that a supervisor wrote."""
    return msgspec.convert(json.loads(line), Order)


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    `retire`: the child is not fit for another task.  `sources`: the source files that it
    has loaded, with what they were like then.
    """

    outcome: str
    metrics: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0
    retire: bool = False
    sources: dict[str, tuple[int, int]] = field(default_factory=dict)


def write(order: Order, ending: Ending, disk: Disk | None = None) -> Path:
    """Makes the ending durable in the attempt's folder; raises `OSError`."""
    path, disk = Path(order.folder) / FILE, disk or Disk()
    disk.make_folders(path.parent, 0o700)
    content = {"format": FORMAT, "order": dataclasses.asdict(order)}
    text = json.dumps(content | {"ending": dataclasses.asdict(ending)})
    disk.write_beside(path, text.encode() + b"\n", 0o600)
    return path


def read(folder: Path) -> tuple[Order, Ending] | None:
    """What lies in an attempt's folder; None when there is nothing whole."""
    try:
        found = json.loads((folder / FILE).read_bytes())
        if found["format"] != FORMAT:
            return None
        order = msgspec.convert(found["order"], Order)
        return order, msgspec.convert(found["ending"], Ending)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # msgspec's errors are ValueErrors


def message(order: Order, ending: Ending) -> SubmitResult | TaskFailed | None:
    """What to tell the manager; None for an attempt that was stopped."""
    common: dict[str, Any] = {
        "task_id": order.task_id,
        "worker_id": order.worker_id,
        "attempt": order.attempt,
        "host": order.host,
        "device": order.device,
        "seconds": ending.seconds,
        "code_version": order.code_version,
        "log_file": order.log_file,
    }
    if ending.outcome == COMPLETED:
        return SubmitResult(signature=order.signature, result_data=ending.metrics, **common)
    if ending.outcome == STOPPED:
        return None
    return TaskFailed(outcome=_failed(ending.outcome), error=ending.error, **common)


def _failed(outcome: str) -> FailedOutcome:
    return msgspec.convert(outcome, FailedOutcome)  # type: ignore[no-any-return]


def fit(metrics: dict[str, Any], folder: Path, disk: Disk | None = None) -> dict[str, Any]:
    """The metrics, small enough for one message: the largest go to files, and say where.

    Nothing that was measured is dropped; raises `OSError` when a file cannot be written.
    """
    fitting, disk = dict(metrics), disk or Disk()
    while size_bytes(fitting) > MAX_METRICS_BYTES:
        name = max(fitting, key=lambda each: size_bytes(fitting[each]))
        data = json.dumps(fitting[name]).encode()
        path = folder / f"returned-{list(fitting).index(name)}.json"
        disk.make_folders(folder)
        disk.write_beside(path, data)
        fitting[name] = f"{path} ({len(data)} bytes)"
    return fitting


def size_bytes(value: Any) -> int:
    return len(json.dumps(value))
