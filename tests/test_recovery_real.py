"""Hands on a CSV below a real manager: saved by a spreadsheet, deleted, with a remark appended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from crash_scenarios import by_rename

from conftest import audit
from support import Cli, ManagerProcess

REMARK = b"a remark of mine"


def save_as_a_spreadsheet(file: Path) -> None:
    by_rename(file, file.read_bytes().replace(b"\n", b"\r\n") + REMARK)


def delete(file: Path) -> None:
    (file.parent / "mine.txt").write_bytes(REMARK)
    file.unlink()


def append(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(REMARK)


@pytest.mark.parametrize("edit", [save_as_a_spreadsheet, delete, append])
def test_nothing_is_lost_and_nobody_helps(
    small_queue: Cli, manager_process: ManagerProcess, edit: Callable[[Path], None]
) -> None:
    manager_process.start()
    home, file = manager_process.home, small_queue.root / "results" / "final_results.csv"
    for done in (1, 2):
        task = manager_process.ask({"type": "request_task", "worker_id": "w"})
        result = {"task_id": task["task_id"], "worker_id": "w", "result_data": {"value": done}}
        assert manager_process.ask({"type": "submit_result"} | result) == {"type": "ack"}
        assert len(file.read_bytes().splitlines()) == done + 1
        if done == 1:
            edit(file)
    assert audit(home) == []
    kept = [*file.parent.iterdir(), *home.salvage.iterdir()]
    assert any(REMARK in each.read_bytes() for each in kept if each.is_file())
