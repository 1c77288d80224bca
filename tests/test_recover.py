"""A lost or damaged database is made again: the CSVs stay as they are, byte for byte, nothing
that was acked is lost, and nothing runs twice.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lost_queue import LOGS, LOSSES, Loss, Lost, in_memory


@pytest.fixture(scope="module")
def original() -> Iterator[Lost]:
    """Four fifths of its cells are done."""
    with in_memory() as folder:
        queue = Lost.made(folder / "queue", "lost_trial")
        queue.submit(0.8)
        queue.clean()
        yield queue


@pytest.fixture
def queue(original: Lost) -> Iterator[Lost]:
    with in_memory() as folder:
        yield original.copy(folder / "queue")


@pytest.mark.parametrize("lose", [*LOSSES, *LOGS], ids=lambda each: each.__name__)
def test_it_is_made_again_from_sweep_files_and_csvs(queue: Lost, lose: Loss) -> None:
    before, tasks = queue.csvs(), queue.tasks()
    results = queue.query("SELECT count(*) FROM results")
    lose(queue)
    found = queue.recover(*queue.files)
    assert found.troubles == []
    assert queue.csvs() == before
    queue.clean()
    assert queue.tasks() == tasks
    assert queue.query("SELECT count(*) FROM results WHERE accepted") == results
    assert queue.init().total.new == 0
    assert queue.submit() == sum(state == "PENDING" for _, _, state in tasks)
    queue.clean()
