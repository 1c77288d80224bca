"""The cells of a sweep as messages: so many at a time that nobody waits long for others.

Promises: all of them, in their order, none held longer than its message.  Pure.
What is not here: who is asked (`contact.py`), what becomes of them (`store/adding.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, cast

from sqlqueue.errors import MessageTooLarge
from sqlqueue.plan.task import Task
from sqlqueue.protocol import MAX_MESSAGE_BYTES, AddTasks, ExperimentMemory, NewTask, fits

BATCH_TASKS: Final = 3000
"""Of one message to a manager, who does nothing else for the tenth of a second that it takes."""
BATCH_TASKS_ALONE: Final = 16_000
"""With no manager: a commit writes nearly every page of the indexes of signatures, however few
cells it adds, so that a million in few commits takes a fraction of the disk's time."""


def batches(
    tasks: Iterable[Task],
    memories: dict[str, ExperimentMemory],
    given: int = 0,
    alone: bool = False,
) -> Iterator[AddTasks]:
    """The tasks as messages, each below the size that the protocol allows; `alone`: below that
    cell by cell, since none is sent and nobody waits."""
    rest = iter(tasks)
    most = BATCH_TASKS_ALONE if alone else BATCH_TASKS
    while batch := [new_task(task) for task in islice(rest, most)]:
        if alone and all(map(fits, batch)):
            yield _message(batch, memories, given)
        else:
            yield from _fitting(batch, memories, given)


def _message(batch: list[NewTask], memories: dict[str, ExperimentMemory], given: int) -> AddTasks:
    known = [memories[name] for name in sorted({task.experiment for task in batch})]
    return AddTasks(tasks=batch, experiments=known, given=given)


def _fitting(
    batch: list[NewTask], memories: dict[str, ExperimentMemory], given: int
) -> Iterator[AddTasks]:
    message = _message(batch, memories, given)
    if fits(message):
        yield message
    elif len(batch) == 1:
        raise MessageTooLarge(
            f"phase {batch[0].phase!r}: the parameters of one cell take more than "
            f"{MAX_MESSAGE_BYTES >> 20} MiB; give the experiment a file name instead"
        )
    else:
        half = len(batch) // 2
        yield from _fitting(batch[:half], memories, given)
        yield from _fitting(batch[half:], memories, given)


def new_task(task: Task) -> NewTask:
    """The task as the wire wants it."""
    return NewTask(
        signature=task.signature,
        phase=task.phase,
        experiment=task.experiment,
        parameters=cast("dict[str, Any]", task.parameters),
        output_dir=task.output_dir,
        seed=task.seed,
        runtime_only=list(task.runtime_only),
        priority=task.priority,
        max_attempts=task.max_attempts,
        timeout_seconds=task.timeout_seconds,
        cost=task.cost,
    )
