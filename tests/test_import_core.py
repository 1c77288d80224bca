"""What a manager makes of imported rows: `describe_tasks` and `import_rows`, asked of its core.

What is not here: which row is of which task (`test_import_rows.py`), the command
(`test_import.py`).
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core import Core, task
from crash_scenarios import Room, signature

from sqlqueue import protocol
from sqlqueue.disk import Disk
from sqlqueue.protocol import DescribeTasks, ImportedReply, ImportedRow, ImportRows
from sqlqueue.store import describing


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path / "queue"))
    yield made
    made.end()


def row(number: int, **metrics: Any) -> ImportedRow:
    return ImportedRow(
        signature=signature(number), result_data=metrics, source=f"old.csv:{number + 2}"
    )


def imported(core: Core, *rows: ImportedRow, **fields: Any) -> ImportedReply:
    found = core.ok(ImportRows(rows=list(rows), host="box", **fields))
    assert isinstance(found, ImportedReply)
    return found


def described(core: Core, **fields: Any) -> list[protocol.DescribedTask]:
    """All that is described, bite by bite."""
    found: list[protocol.DescribedTask] = []
    after: int | None = 0
    while after is not None:
        reply = core.ok(DescribeTasks(after=after, **fields))
        found += reply.tasks
        after = reply.next
    return found


# --- adopting -------------------------------------------------------------------------------


def test_a_row_completes_its_task_in_every_directory_and_says_where_it_came_from(
    core: Core,
) -> None:
    core.add(task(0), task(0, "q", "b"), task(1))
    found = imported(core, row(0, value=0.1 + 0.2, loss=math.nan))
    assert (found.adopted, found.known, found.refused, found.delivered) == ([0], [], [], 2)
    assert core.states() == {"p_0_0": "COMPLETED", "p_1_1": "PENDING"}
    line = b"p,p_0_0," + signature(0).encode() + b",0,0.30000000000000004,nan"
    assert core.rows("a")[1:] == core.rows("b")[1:] == [line]
    told = core.sql("SELECT worker_id, host, outcome, error, seconds FROM attempts")
    assert told == [("import", "box", "COMPLETED", "imported from old.csv:2", None)]


def test_nothing_is_learnt_from_it_of_how_long_cells_take(core: Core) -> None:
    core.add(task(0), task(1))
    imported(core, row(0, seconds=3.5))
    assert core.figures()["eta_seconds"] is None
    core.submit(core.take(), seconds=8.0)
    core.add(task(2))
    assert core.figures()["eta_seconds"] == 8.0


def test_a_dry_run_says_the_same_and_changes_nothing(core: Core) -> None:
    core.add(task(0))
    assert imported(core, row(0, value=1), dry_run=True).adopted == [0]
    assert core.states() == {"p_0_0": "PENDING"}
    assert core.outcomes() == []


def test_a_result_that_is_there_stays(core: Core) -> None:
    core.add(task(0))
    core.submit(core.take(), data={"value": 1.0, "text": "a\nb", "more": 7})
    before = core.rows()
    found = imported(
        core, row(0, value=1), row(0, value=1.0, text="a\\nb"), row(0, value=2), row(0, other=1)
    )
    assert (found.adopted, found.known) == ([], [0, 1])
    assert [(each.row, each.reason) for each in found.refused] == [
        (2, "other_result"), (3, "other_result")
    ]  # fmt: skip
    assert [each.message for each in found.refused] == [
        "value is '2', its result has '1.0'", "other is '1', which its result has not"
    ]  # fmt: skip
    assert core.rows() == before
    assert core.outcomes() == [("w", 1, "COMPLETED")]


def test_the_same_row_again_changes_nothing_even_in_one_message(core: Core) -> None:
    core.add(task(0))
    found = imported(core, row(0, value=1), row(0, value=1), row(0, value=2))
    assert (found.adopted, found.known, len(found.refused)) == ([0], [1], 1)
    assert imported(core, row(0, value=1)).known == [0]
    assert len(core.rows()) == 2


def test_an_attempt_that_runs_is_superseded(core: Core) -> None:
    core.add(task(0))
    taken = core.take()
    imported(core, row(0, value=1))
    assert core.outcomes() == [("w", 1, "SUPERSEDED"), ("import", 2, "COMPLETED")]
    assert core.beat(taken.task_id).cancel == [taken.task_id]
    core.submit(taken, data={"value": 2})
    assert len(core.rows()) == 2


def test_what_failed_or_was_cancelled_is_completed(core: Core) -> None:
    core.add(task(0, max_attempts=1), task(1))
    core.fail(core.take())
    core.ok(protocol.Cancel(select=["p_1_1"]))
    assert imported(core, row(0, value=1), row(1, value=1)).adopted == [0, 1]
    assert set(core.states().values()) == {"COMPLETED"}


def test_a_result_named_like_a_parameter_is_kept_under_another_name(core: Core) -> None:
    core.add(task(0))
    imported(core, row(0, seed=5, value=1))
    assert b"seed_returned" in core.rows()[0]


def test_a_task_that_is_not_there_refuses_the_message(core: Core) -> None:
    core.add(task(0))
    message = ImportRows(rows=[row(0, value=1), row(9, value=1)])
    assert signature(9) in core.refused(message, "unknown_task")
    assert core.states() == {"p_0_0": "PENDING"}


class Full(Disk):
    """Nothing can be appended in the folder `b` while there is no room."""

    full = False

    def append(self, fd: int, data: bytes) -> None:
        if self.full and Path(f"/proc/self/fd/{fd}").readlink().parent.name == "b":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().append(fd, data)


def test_a_directory_that_cannot_be_written_fails_its_rows_alone(tmp_path: Path) -> None:
    disk = Full()
    core = Core.begin(Room(tmp_path / "queue"), disk)
    core.add(task(0, "p", "a"), task(1, "p", "b"))
    disk.full = True
    found = imported(core, row(0, value=1), row(1, value=1))
    assert found.adopted == [0]
    assert [(each.row, each.reason) for each in found.refused] == [(1, "directory_unavailable")]
    assert core.states() == {"p_0_0": "COMPLETED", "p_1_1": "PENDING"}
    disk.full = False
    core.pass_time(120)
    found = imported(core, row(0, value=1), row(1, value=1))
    assert (found.known, found.adopted) == ([0], [1])
    core.end()


# --- describing -----------------------------------------------------------------------------


def test_tasks_are_described_with_what_rows_are_compared_with(core: Core) -> None:
    core.add(task(0), task(1, "q", parameters={"seed": 1, "x": math.nan}, runtime_only=["x"]))
    imported(core, row(0, value=1))
    first, second = described(core, all=True)
    assert (first.task_id, first.phase, first.completed) == ("p_0_0", "p", True)
    assert (second.experiment, second.runtime_only, second.completed) == ("m:f", ["x"], False)
    assert repr(second.parameters) == "{'seed': 1, 'x': nan}"
    assert [each.task_id for each in described(core, select=["phase=q"])] == ["q_0_1"]


def test_a_bite_holds_so_many_bytes(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "MOST_BYTES", 35)
    core.add(*(task(each) for each in range(10)))
    assert len(core.ok(DescribeTasks(all=True)).tasks) == 3
    ids = [f"p_{each}_{each}" for each in range(10)]
    assert [each.task_id for each in described(core, all=True)] == ids
    assert [each.task_id for each in described(core, select=ids[2:8])] == ids[2:8]
