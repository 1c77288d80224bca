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
from sqlqueue.plan.command import Command
from sqlqueue.protocol import (
    CANNOT_RUN,
    MAX_MESSAGE_BYTES,
    FailedOutcome,
    Release,
    SubmitResult,
    TaskFailed,
)

FILE: Final = "outcome.json"
ORDER_FILE: Final = "order.json"
"""What a command's attempt was, while it has not ended."""
FORMAT: Final = 1
MAX_METRICS_BYTES: Final = MAX_MESSAGE_BYTES - 64 * 1024
"""The rest of the message needs room too."""
MAX_REASON_CHARACTERS: Final = 1000
MOST_FILES: Final = 16
"""So many metrics get files of their own; if that is not enough, the rest shares one."""
REST: Final = "returned-rest"

COMPLETED: Final = "COMPLETED"
STOPPED: Final = "STOPPED"
"""The experiment heard that it should stop, and did: no result and no failure."""
UNAVAILABLE: Final = "UNAVAILABLE"
"""The experiment cannot be had where this worker is: that is not the task's failure."""


@dataclass(frozen=True)
class Order:
    """All that a child needs to run one attempt, and to say afterwards whose it was.

    `log`, `folder`, `checkpoint` and `spare` (where there is room when they take no more)
    are absolute paths; `log_file` is how the log is called in messages; `output_dir` is the
    primary one, as the manager calls it; `device` is what reports say and `run_device` what
    the child sees of it.  `elsewhere`: not in the root of the queue, where its owner keeps the
    experiments.  `command`: what the experiment runs, if it is a command.
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
    spare: str = ""
    elsewhere: bool = False
    command: Command | None = None

    def line(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    def folders(self) -> list[Path]:
        """Where the ending may lie, the best first."""
        return [Path(each) for each in (self.folder, self.spare) if each]


def read_order(line: bytes) -> Order:
    """The order in a line that a supervisor wrote."""
    return msgspec.convert(json.loads(line), Order)


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    `retire`: the child is not fit for another task.  `sources`: the source files that it
    has loaded, with what they were like then.  `code_version`, `versions`: what it ran with.
    """

    outcome: str
    metrics: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0
    retire: bool = False
    sources: dict[str, tuple[int, int]] = field(default_factory=dict)
    code_version: str = ""
    versions: dict[str, str] = field(default_factory=dict)


def write(
    order: Order, ending: Ending, disk: Disk | None = None, folder: Path | None = None
) -> Path:
    """Makes the ending durable in the attempt's folder, or in another; raises `OSError`."""
    path, disk = (folder or Path(order.folder)) / FILE, disk or Disk()
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


def begun(folder: Path) -> Order | None:
    """Whose folder it is, where an attempt began that left no ending."""
    try:
        return read_order((folder / ORDER_FILE).read_bytes())
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def find(order: Order) -> Ending | None:
    """How the attempt ended, if that lies in one of its folders."""
    found = filter(None, map(read, order.folders()))
    return next((ending for whose, ending in found if whose == order), None)


def release(order: Order, ending: Ending | None, reason: str) -> Release:
    """Gives the task back; without an ending it never began."""
    ran = {} if ending is None else _ran(order, ending)
    return Release(
        task_id=order.task_id, worker_id=order.worker_id, attempt=order.attempt,
        reason=reason[:MAX_REASON_CHARACTERS], **ran,
    )  # fmt: skip


def _ran(order: Order, ending: Ending) -> dict[str, Any]:
    return {
        "code_version": ending.code_version or order.code_version,
        "log_file": order.log_file,
        "versions": ending.versions,
    }


def message(order: Order, ending: Ending) -> SubmitResult | TaskFailed | Release | None:
    """What to tell the manager; None for an attempt that was stopped."""
    if ending.outcome == UNAVAILABLE:
        return release(order, ending, CANNOT_RUN + ending.error)
    common: dict[str, Any] = {
        "task_id": order.task_id,
        "worker_id": order.worker_id,
        "attempt": order.attempt,
        "host": order.host,
        "device": order.device,
        "seconds": ending.seconds,
        **_ran(order, ending),
    }
    if ending.outcome == COMPLETED:
        return SubmitResult(signature=order.signature, result_data=ending.metrics, **common)
    if ending.outcome == STOPPED:
        return None
    return TaskFailed(outcome=_failed(ending.outcome), error=ending.error, **common)


def _failed(outcome: str) -> FailedOutcome:
    return msgspec.convert(outcome, FailedOutcome)  # type: ignore[no-any-return]


def fit(metrics: dict[str, Any], folders: list[Path], disk: Disk | None = None) -> dict[str, Any]:
    """The metrics, small enough for one message: the largest go to files, and say where.

    Nothing that was measured is dropped; raises `OSError` when none of the folders takes them.
    """
    sizes = {name: size_bytes({name: value}) for name, value in metrics.items()}
    excess = sum(sizes.values()) - MAX_METRICS_BYTES
    fitting = dict(metrics)
    for number, name in enumerate(sorted(sizes, key=lambda each: -sizes[each])):
        if excess <= 0:
            return fitting
        if number == MOST_FILES:
            return _rest_in_one(fitting, folders, disk or Disk())
        fitting[name] = _moved(fitting[name], f"returned-{number}.json", folders, disk or Disk())
        excess -= sizes[name] - size_bytes({name: fitting[name]})
    return fitting


def _rest_in_one(metrics: dict[str, Any], folders: list[Path], disk: Disk) -> dict[str, Any]:
    """For very many metrics, none of them large: as many as there is room for stay."""
    fitting: dict[str, Any] = {}
    room = MAX_METRICS_BYTES // 2
    for name, value in metrics.items():
        room -= size_bytes({name: value})
        if room < 0:
            break
        fitting[name] = value
    rest = {name: value for name, value in metrics.items() if name not in fitting}
    return fitting | {REST: _moved(rest, f"{REST}.json", folders, disk)}


def _moved(value: Any, name: str, folders: list[Path], disk: Disk) -> str:
    """Writes a value to a file in the first folder that takes it; says where it is."""
    data, problems = json.dumps(value).encode(), []
    for folder in folders:
        try:
            disk.make_folders(folder, 0o700)
            disk.write_beside(folder / name, data, 0o600)
        except OSError as error:
            problems.append(f"{folder}: {error.strerror}")
        else:
            return f"{folder / name} ({len(data)} bytes)"
    raise OSError(
        f"a metric of {len(data):,} bytes is too large for a message and no folder takes it "
        f"({'; '.join(problems)}); make room, or return less"
    )


def size_bytes(value: Any) -> int:
    return len(json.dumps(value))
