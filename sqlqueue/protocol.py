"""Every message between a client and the manager, declared once.

One JSON object per line, UTF-8, at most `MAX_MESSAGE_BYTES`.  `NaN`, `Infinity` and
`-Infinity` are accepted and written as Python's `json` does.  Unknown fields are ignored,
unknown types refused.  What is not here: sockets, what a message does, JSON (`plan/wire.py`).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from sqlqueue.errors import QueueError
from sqlqueue.plan import wire
from sqlqueue.plan.command import Command

MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
MAX_HELLO_BYTES: Final = 4096
HELLO_SECONDS: Final = 10.0
CANNOT_RUN: Final = "cannot run here: "
"""How the reason of a `release` begins when a worker lacks the experiment."""
LEASE_SECONDS: Final = 60.0
HEARTBEAT_SECONDS: Final = 15.0
MAX_WAIT_SECONDS: Final = 60.0
MAX_COUNT: Final = 1000
MAX_HELD: Final = 100_000

Name = Annotated[str, Meta(min_length=1, max_length=300)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
LeaseSeconds = Annotated[float, Meta(ge=1.0, le=86400.0)]
Seconds = Annotated[float, Meta(ge=0.0, le=1e9)]
Number = Annotated[int, Meta(ge=0, le=2**53)]
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

Label = Annotated[str, Meta(max_length=100)]
Versions = Annotated[dict[Label, Label], Meta(max_length=50)]
"""Of what an attempt ran with: Python, sqlqueue, libraries."""

WorkerType = Literal["gpu", "cpu"]
FailedOutcome = Literal["FAILED", "OOM", "TIMEOUT"]


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Anything on the wire; `type` says which."""


# --- what a client says -----------------------------------------------------------


class Hello(Message, frozen=True, tag="hello"):
    """First on every TCP connection: proves who is there."""

    token: Annotated[str, Meta(max_length=1000)]


class Held(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task that a worker holds, and how far it is."""

    task_id: Name
    attempt: Number | None = None
    step: float | None = None
    total: float | None = None
    metrics: dict[str, Any] = {}


class Announce(Message, frozen=True, tag="announce"):
    """A worker (re)connects: who it is and what it holds; the rest in its name is released."""

    worker_id: Name
    worker_type: WorkerType = "gpu"
    host: Annotated[str, Meta(max_length=300)] = ""
    device: Annotated[str, Meta(max_length=300)] = ""
    pid: Number = 0
    holds: Annotated[list[Held], Meta(max_length=MAX_HELD)] = []


class RequestTask(Message, frozen=True, tag="request_task"):
    """Asks for work.

    `wait`: seconds that the manager may hold the answer back until there is a task.
    `request_id`: the same id gets the same answer.  `reserve`: fetch ahead, start nothing;
    the task stays PENDING.  `want`: the reserved task to start now, if it is still free.
    `without`: experiments that cannot be run here; none of their tasks is meant.  `left_seconds`:
    what is left of the worker's time limit, of `limit_seconds`; only what is likely to be over by
    then is meant.
    """

    worker_id: Name
    worker_type: WorkerType = "gpu"
    count: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 1
    wait: Annotated[float, Meta(ge=0.0, le=MAX_WAIT_SECONDS)] = 0.0
    request_id: Annotated[str, Meta(max_length=100)] | None = None
    lease_seconds: LeaseSeconds = LEASE_SECONDS
    host: Annotated[str, Meta(max_length=300)] = ""
    device: Annotated[str, Meta(max_length=300)] = ""
    code_version: Annotated[str, Meta(max_length=300)] = ""
    reserve: bool = False
    want: Name | None = None
    without: Annotated[list[Name], Meta(max_length=MAX_COUNT)] = []
    left_seconds: Seconds | None = None
    limit_seconds: Seconds | None = None


class SubmitResult(Message, frozen=True, tag="submit_result"):
    """A result.  The first four fields suffice: it means the worker's running attempt."""

    task_id: Name
    worker_id: Name
    result_data: dict[str, Any]
    attempt: Number | None = None
    signature: Digest | None = None
    host: Annotated[str, Meta(max_length=300)] = ""
    device: Annotated[str, Meta(max_length=300)] = ""
    seconds: float | None = None
    code_version: Annotated[str, Meta(max_length=300)] = ""
    log_file: Annotated[str, Meta(max_length=4096)] = ""
    versions: Versions = {}


class TaskFailed(Message, frozen=True, tag="task_failed"):
    """An attempt failed; `error` is what a person should read, the traceback included."""

    task_id: Name
    worker_id: Name
    error: str
    attempt: Number | None = None
    outcome: FailedOutcome = "FAILED"
    host: Annotated[str, Meta(max_length=300)] = ""
    device: Annotated[str, Meta(max_length=300)] = ""
    seconds: float | None = None
    code_version: Annotated[str, Meta(max_length=300)] = ""
    log_file: Annotated[str, Meta(max_length=4096)] = ""
    versions: Versions = {}


class Release(Message, frozen=True, tag="release"):
    """The worker gives a task back; it is not charged for the attempt.

    A `reason` that begins with `CANNOT_RUN` is shown by `status` while the task waits.
    """

    task_id: Name
    worker_id: Name
    attempt: Number | None = None
    reason: Annotated[str, Meta(max_length=10000)] = ""
    code_version: Annotated[str, Meta(max_length=300)] = ""
    log_file: Annotated[str, Meta(max_length=4096)] = ""
    versions: Versions = {}


class Heartbeat(Message, frozen=True, tag="heartbeat"):
    """Renews the lease of each attempt named; plain task ids will do."""

    worker_id: Name
    tasks: Annotated[list[Name | Held], Meta(max_length=MAX_HELD)] = []


class StatusRequest(Message, frozen=True, tag="status"):
    """Asks for the figures that `sqlqueue status --json` prints."""


class ParameterMemory(Struct, frozen=True, kw_only=True):
    """What the home remembers of one parameter of an experiment (defaults as JSON text)."""

    name: str
    original: bool
    first_default: str | None = None
    last_default: str | None = None


class DescribeExperiments(Message, frozen=True, tag="describe_experiments"):
    """Asks what the home remembers of the experiments named, or of all if none is (owner)."""

    names: list[Name]


class ExperimentMemory(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An experiment as the home should remember it from now on; `command`: what it runs."""

    name: Name
    parameters: list[ParameterMemory]
    command: Command | None = None


class PrepareDirectories(Message, frozen=True, tag="prepare_directories"):
    """Claims output directories for this queue, all or none (owner).

    `set_aside`: a CSV that sqlqueue did not write is moved aside instead of refused.
    """

    output_dirs: list[str]
    set_aside: bool = False


class NewTask(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One cell of a sweep, as `plan.task.Task`."""

    signature: Digest
    phase: Annotated[str, Meta(pattern="^[A-Za-z0-9._-]{1,100}$")]
    experiment: Name
    parameters: dict[str, Any]
    output_dir: str
    seed: Integer | None = None
    runtime_only: list[str] = []
    priority: Integer = 0
    max_attempts: Annotated[int, Meta(ge=1, le=1000)] = 3
    timeout_seconds: Annotated[float, Meta(gt=0.0)] | None = None
    cost: Annotated[float, Meta(ge=0.0)] = 1.0


class AddTasks(Message, frozen=True, tag="add_tasks"):
    """Adds what is new, links what is shared, delivers what is completed (owner).

    Idempotent.  The experiments named must be given along, as they are to be remembered.
    `given`: the number of the `init` that says it, for `prune`.
    """

    tasks: list[NewTask]
    experiments: list[ExperimentMemory] = []
    given: Number = 0


class RememberFiles(Message, frozen=True, tag="remember_files"):
    """Which phases stand in each of the sweep files just given, to be remembered (owner)."""

    files: Annotated[dict[str, list[Name]], Meta(max_length=100_000)]


class Prune(Message, frozen=True, tag="prune"):
    """Looks for what these phases still want and the `init` of that number did not find in any
    file; withdraws what waits, unless `dry_run` (owner).  One message does a bounded part."""

    given: Number
    phases: Annotated[list[Name], Meta(max_length=100_000)]
    after: Number = 0
    dry_run: bool = True


class Repair(Message, frozen=True, tag="repair"):
    """Brings every CSV back to what the database says (owner)."""


class Steer(Message, frozen=True):
    """What the verbs that steer share: whom they mean (`plan/selector.py`), or all.  One message
    does a bounded part, of the tasks `after` that key.  `dry_run`: say what would be done."""

    select: Annotated[list[Annotated[str, Meta(max_length=10_000)]], Meta(max_length=1000)] = []
    all: bool = False
    after: Number = 0
    dry_run: bool = False


class Retry(Steer, frozen=True, tag="retry"):
    """Failed and cancelled tasks are pending again, their attempts counted anew (owner)."""


class Cancel(Steer, frozen=True, tag="cancel"):
    """Withdraws what the phases named want; a task that none wants is CANCELLED (owner)."""


class Rerun(Steer, frozen=True, tag="rerun"):
    """Completed tasks run once more; each row stays until its new result is there (owner)."""


class SetPriority(Steer, frozen=True, kw_only=True, tag="set_priority"):
    """A person's word on the priority; null gives it back to the sweep files (owner)."""

    priority: Integer | None


class Pause(Steer, frozen=True, tag="pause"):
    """Nothing new of these phases, or of all, is handed out; what runs goes on (owner)."""


class Resume(Steer, frozen=True, tag="resume"):
    """Ends a `pause` or a `drain` (owner)."""


class Drain(Steer, frozen=True, tag="drain"):
    """These workers start nothing more: each ends when it has finished what it runs (owner)."""


class DescribeTasks(Steer, frozen=True, tag="describe_tasks"):
    """Asks for tasks with their parameters, some at a time (owner).  Changes nothing."""


class ImportedRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A result that was computed by other means; `source`: the file and line it stands in."""

    signature: Digest
    result_data: dict[str, Any]
    source: Annotated[str, Meta(max_length=10_000)] = ""


class ImportRows(Message, frozen=True, tag="import_rows"):
    """Completes tasks by results that were computed by other means (owner).

    A task that has a result keeps it.  `dry_run`: say what would become of each row.
    """

    rows: Annotated[list[ImportedRow], Meta(max_length=MAX_COUNT)]
    host: Annotated[str, Meta(max_length=300)] = ""
    dry_run: bool = False


class Unlink(Message, frozen=True, tag="unlink"):
    """Takes a directory out of the queue, its files as they are; or, with `move_to`, has it be
    another folder from now on (owner).  `dry_run`: say what would be done."""

    output_dir: str
    move_to: str | None = None
    dry_run: bool = False


class Audit(Message, frozen=True, tag="audit"):
    """Proves that database and CSVs agree, where only the manager can read both (owner)."""


# --- what the manager answers -------------------------------------------------------


class Welcome(Message, frozen=True, tag="welcome"):
    """The hello was good."""

    role: Literal["owner", "worker"]


class TaskReply(Message, frozen=True, tag="task", omit_defaults=False):
    """A task to run; `attempt` 0 when it was only reserved.  `command`: what it runs, if it is
    a command of the owner's sweep files.  `rerun_after`: the last attempt from before it was to
    run once more; what those left is not to be gone on with."""

    task_id: str
    attempt: int
    phase: str
    experiment: str
    config: dict[str, Any]
    seed: int | None
    output_dir: str
    output_dirs: list[str]
    lease_seconds: float
    signature: str
    timeout_seconds: float | None
    command: Command | None = None
    rerun_after: int = 0


class TasksReply(Message, frozen=True, tag="tasks"):
    """Several tasks, when more than one was asked for."""

    tasks: list[TaskReply]


class NoTask(Message, frozen=True, tag="no_task"):
    """Nothing to run now; `done` when every task is finished.

    `waits`: what a person paused, if that is why.  `end`: why the asker is to end all the same.
    """

    done: bool
    waits: str = ""
    end: str = ""


class Ack(Message, frozen=True, tag="ack"):
    """Done, and durable.  `cancel`: tasks that the asker holds and must stop."""

    cancel: list[str] | UnsetType = UNSET


class StatusReply(Message, frozen=True, tag="status", omit_defaults=False):
    status: dict[str, Any]


class ExperimentsReply(Message, frozen=True, tag="experiments", omit_defaults=False):
    experiments: list[ExperimentMemory]


class PreparedReply(Message, frozen=True, tag="prepared", omit_defaults=False):
    """The directories are this queue's; `set_aside` names files that were moved.  `given`: the
    number of the `init` that asked, larger than any before, for `add_tasks` and `prune`."""

    set_aside: list[str]
    given: int = 0


class PhaseCounts(Struct, frozen=True, kw_only=True):
    """What adding the cells of one phase did.

    `cells`: distinct tasks; `new`: did not exist; `shared`: exist and first appeared in
    another phase; `known`: exist and first appeared in this one; of the last two, `completed`:
    have a result already; `again`: had failed or were cancelled and are pending now, each
    counted in one phase.  `foreseen`: of the new ones, those of which it is known how long they
    are likely to take; `work_seconds`: what they take together.
    """

    cells: int = 0
    new: int = 0
    shared: int = 0
    known: int = 0
    completed: int = 0
    again: int = 0
    work_seconds: float = 0.0
    foreseen: int = 0


class Reused(Struct, frozen=True, kw_only=True):
    """Cells of a phase that are completed already: how many of one version of the code."""

    phase: str
    experiment: str
    code: str
    count: int


class AddedReply(Message, frozen=True, tag="added", omit_defaults=False):
    """`shared_with`: of each phase, in which others its shared cells appeared first."""

    phases: dict[str, PhaseCounts]
    delivered: int
    reused: list[Reused] = []
    shared_with: dict[str, dict[str, int]] = {}


class PhaseStands(Struct, frozen=True, kw_only=True):
    """Where a phase stands: whether a file that was given has it, or had it; in which other files
    it stood when they were given; how many cells it wants."""

    given: bool
    elsewhere: list[str]
    wanted: int


class FilesReply(Message, frozen=True, tag="files", omit_defaults=False):
    """Every phase of the queue."""

    phases: dict[str, PhaseStands]


class PrunedReply(Message, frozen=True, tag="pruned", omit_defaults=False):
    """What no file wants any more, by phase and state: found, and if it was asked for, those that
    wait withdrawn.  `shared`: withdrawn that another phase wants still.  `next`: what `after` is to
    be for the rest, null at the end."""

    phases: dict[str, dict[str, int]]
    shared: int = 0
    next: int | None = None


class SteeredReply(Message, frozen=True, tag="steered", omit_defaults=False):
    """What a verb did, or would do: tasks `done` by the state they were in and by phase, those
    `left` alone by the reason.  `met`: conditions on parameters that found a value of their kind.
    `next`: what `after` is to be for the rest, null at the end."""

    done: dict[str, int] = {}
    left: dict[str, int] = {}
    phases: dict[str, int] = {}
    met: list[str] = []
    notes: list[str] = []
    next: int | None = None


class DescribedTask(Struct, frozen=True, kw_only=True):
    """A task as `describe_tasks` tells it; `completed`: whether it has a result."""

    signature: str
    task_id: str
    phase: str
    experiment: str
    parameters: dict[str, Any]
    runtime_only: list[str]
    completed: bool


class DescribedReply(Message, frozen=True, tag="described", omit_defaults=False):
    """Some tasks.  `next`: what `after` is to be for the rest, null at the end."""

    tasks: list[DescribedTask]
    next: int | None = None


class RefusedRow(Struct, frozen=True, kw_only=True):
    """Why the row of that index was not taken; only `directory_unavailable` may pass."""

    row: int
    reason: Literal["other_result", "directory_unavailable"]
    message: str


class ImportedReply(Message, frozen=True, tag="imported", omit_defaults=False):
    """What became of the rows, by index: `adopted`, or `known` already, or refused.

    `delivered`: rows that were written to CSVs.
    """

    adopted: list[int] = []
    known: list[int] = []
    refused: list[RefusedRow] = []
    delivered: int = 0


class UnlinkedReply(Message, frozen=True, tag="unlinked", omit_defaults=False):
    """What became of the directory, or would.  `tasks`: linked to it; of these `cancelled`, since
    no other directory is theirs, and `kept`, whose results are in the database alone now."""

    output_dir: str
    moved_to: str | None = None
    tasks: int = 0
    cancelled: int = 0
    kept: int = 0
    notes: list[str] = []


class RepairedReply(Message, frozen=True, tag="repaired", omit_defaults=False):
    """What was done, one line each."""

    actions: list[str]


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be, and where."""

    severity: Literal["error", "warning"]
    where: str
    message: str


class AuditedReply(Message, frozen=True, tag="audited", omit_defaults=False):
    """What was found; nothing when all is well.  `more`: findings beyond those named."""

    findings: list[Finding]
    more: bool = False


class Error(Message, frozen=True, tag="error", omit_defaults=False):
    code: str
    message: str
    retryable: bool = False


Request = (
    Hello
    | Announce
    | RequestTask
    | SubmitResult
    | TaskFailed
    | Release
    | Heartbeat
    | StatusRequest
    | DescribeExperiments
    | PrepareDirectories
    | AddTasks
    | RememberFiles
    | Prune
    | Retry
    | Cancel
    | Rerun
    | SetPriority
    | Pause
    | Resume
    | Drain
    | DescribeTasks
    | ImportRows
    | Unlink
    | Repair
    | Audit
)
Reply = (
    Welcome
    | TaskReply
    | TasksReply
    | NoTask
    | Ack
    | StatusReply
    | ExperimentsReply
    | PreparedReply
    | AddedReply
    | FilesReply
    | PrunedReply
    | SteeredReply
    | DescribedReply
    | ImportedReply
    | UnlinkedReply
    | RepairedReply
    | AuditedReply
    | Error
)
OWNER_ONLY: Final = (
    *(DescribeExperiments, PrepareDirectories, AddTasks, RememberFiles, Prune, Repair, Audit),
    *(DescribeTasks, ImportRows),
    *(Retry, Cancel, Rerun, SetPriority, Pause, Resume, Drain, Unlink),
)

_request_decoder = msgspec.json.Decoder(Request)
_reply_decoder = msgspec.json.Decoder(Reply)
_FREE_FORM = (
    *(SubmitResult, TaskFailed, Announce, Heartbeat, AddTasks, ImportRows),
    *(TaskReply, TasksReply, StatusReply, DescribedReply),
)
"""Messages with values of the user's in them, which may be NaN or infinite."""


def encode(message: Message) -> bytes:
    """The message as one line, the line end included."""
    return wire.encode(message, free_form=isinstance(message, _FREE_FORM))


def fits(message: Struct) -> bool:
    """Whether a message, or a part of one, is not longer than a message may be."""
    return wire.fits(message, MAX_MESSAGE_BYTES)


def decode_request(line: bytes | bytearray) -> Request:
    """What a client said; raises `ProtocolError` with what is wrong and where."""
    return wire.decode(line, _request_decoder, Request, MAX_MESSAGE_BYTES)  # type: ignore[no-any-return]


def decode_reply(line: bytes | bytearray) -> Reply:
    """What the manager answered; raises `ProtocolError`."""
    return wire.decode(line, _reply_decoder, Reply, MAX_MESSAGE_BYTES)  # type: ignore[no-any-return]


is_complete = wire.is_complete


def error_reply(error: QueueError) -> Error:
    """The error as the wire says it."""
    return Error(code=error.code, message=error.message, retryable=error.retryable)
