"""What is gone: judged by the numbers of `init`s, whoever else adds cells meanwhile.

What is not here: the command (`test_planning.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core import Core, task
from crash_scenarios import MEMORY, Room

from sqlqueue.protocol import AddTasks, PrepareDirectories, Prune, PrunedReply, Rerun, Retry


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path / "queue"))
    yield made
    made.end()


def numbered(core: Core) -> int:
    """Begins an `init`."""
    return int(core.ok(PrepareDirectories(output_dirs=["a"])).given)


def add(core: Core, given: int, *numbers: int) -> None:
    cells = [task(each) for each in numbers]
    core.ok(AddTasks(tasks=cells, experiments=[MEMORY], given=given))


def pruned(core: Core, given: int) -> dict[str, Any]:
    reply = core.ok(Prune(given=given, phases=["p"], dry_run=False))
    assert isinstance(reply, PrunedReply)
    return reply.phases


def test_each_init_has_a_larger_number(core: Core) -> None:
    first = numbered(core)
    assert 0 < first < numbered(core)


def test_what_a_later_init_found_is_not_gone(core: Core) -> None:
    """While a person is asked, somebody else says `init` for the same file."""
    add(core, numbered(core), 0, 1, 2)
    mine = numbered(core)
    add(core, mine, 0, 1)
    theirs = numbered(core)
    add(core, theirs, 0, 1, 2, 3)
    assert pruned(core, mine) == {}
    assert core.figures()["totals"]["pending"] == 4


def test_an_earlier_init_that_still_adds_takes_nothing_back(core: Core) -> None:
    slow, quick = numbered(core), numbered(core)
    add(core, quick, 0, 1)
    add(core, slow, 1, 2)
    assert pruned(core, quick) == {"p": {"PENDING": 1}}  # the one that only the earlier found


def test_a_retry_of_everything_wants_nothing_again_that_is_completed(core: Core) -> None:
    """A row that no file wants any more is not taken up by the way."""
    add(core, numbered(core), 0, 1)
    core.submit(core.take())
    core.ok(Rerun(all=True))
    mine = numbered(core)
    add(core, mine, 1)
    pruned(core, mine)
    wanted = core.figures()["phases"][0]["total"]
    core.ok(Retry(all=True))
    assert core.figures()["phases"][0]["total"] == wanted
    assert core.figures()["totals"]["completed"] == 1


def test_of_cells_that_no_init_noted_nothing_is_known(core: Core) -> None:
    numbered(core)
    add(core, 0, 0, 1)
    assert pruned(core, numbered(core)) == {}
