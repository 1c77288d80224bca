"""A lost or damaged database is made again: the CSVs stay as they are, byte for byte, nothing
that was acked is lost, and nothing runs twice.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from lost_queue import LOSSES, Loss, Lost


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Lost:
    """Four fifths of its cells are done."""
    queue = Lost.made(tmp_path_factory.mktemp("lost") / "queue", "lost_trial")
    queue.submit(0.8)
    queue.clean()
    return queue


@pytest.fixture
def queue(original: Lost, tmp_path: Path) -> Lost:
    return original.copy(tmp_path / "queue")


@pytest.mark.parametrize("lose", LOSSES, ids=lambda each: each.__name__)
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
