"""Results that workers left as files are taken in: from every directory and from the home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from core import Core, task
from crash_proof import workshop
from crash_scenarios import Room, result

from sqlqueue import unsubmitted
from sqlqueue.manager.intake import HOPELESS_SECONDS, PAUSE_SECONDS, Intake


@pytest.fixture
def core() -> Iterator[Core]:
    with workshop() as shop:
        made = Core.begin(Room(shop.root / "room"))
        made.add(task(0), task(0, folder="b"), task(1))
        yield made
        made.end()


@pytest.fixture
def intake(core: Core) -> Intake:
    return Intake(core.room.home, clock=core.desk.clock)


def leave(core: Core, cell: int, folder: str = "b", queue: str | None = None) -> Path:
    name = queue or core.room.home.queue_id()
    return unsubmitted.write(core.room.root / folder / unsubmitted.FOLDER, result(cell), name)


def look(core: Core, intake: Intake) -> int:
    """What the writer does at a tick; how many files were looked at."""
    core.desk.clock.now += PAUSE_SECONDS
    jobs = intake.jobs(core.desk.committer)
    intake.settle(core.desk.committer.process(jobs))
    return len(jobs)


def test_a_file_is_taken_in_and_removed_once_its_result_is_durable(
    core: Core, intake: Intake
) -> None:
    files = [leave(core, 0), leave(core, 1, ".sqlqueue")]
    assert look(core, intake) == 2
    assert not any(file.exists() for file in files)
    assert set(core.states().values()) == {"COMPLETED"}
    assert len(core.rows("a")) == 3
    assert len(core.rows("b")) == 2


def test_it_looks_now_and_then_not_always(core: Core, intake: Intake) -> None:
    look(core, intake)
    leave(core, 0)
    assert intake.jobs(core.desk.committer) == []
    assert look(core, intake) == 1


def test_a_file_of_no_task_stays_and_is_tried_again_when_there_is_one(
    core: Core, intake: Intake, caplog: pytest.LogCaptureFixture
) -> None:
    file = leave(core, 7)
    assert look(core, intake) == 1
    assert look(core, intake) == 0
    core.add(task(7))
    core.desk.clock.now += HOPELESS_SECONDS
    assert look(core, intake) == 1
    assert not file.exists()
    told = [each for each in caplog.records if "is left where it is" in each.getMessage()]
    assert len(told) == 1


def test_what_is_no_result_is_left_alone(core: Core, intake: Intake) -> None:
    folder = leave(core, 0).parent
    (folder / "torn.json").write_bytes(b'{"format": 1, "task')
    (folder / "notes.txt").write_text("mine")
    (folder / "link.json").symlink_to(folder / "notes.txt")
    nameless = result(1)
    line = unsubmitted.encode(nameless, "q").replace(nameless.signature.encode(), b"")  # type: ignore[union-attr]
    (folder / "nameless.json").write_bytes(line)
    assert look(core, intake) == 1
    left = sorted(each.name for each in folder.iterdir())
    assert left == ["link.json", "nameless.json", "notes.txt", "torn.json"]


def test_a_file_that_was_replaced_meanwhile_is_not_removed(core: Core, intake: Intake) -> None:
    file = leave(core, 0)
    core.desk.clock.now += PAUSE_SECONDS
    jobs = intake.jobs(core.desk.committer)
    answers = core.desk.committer.process(jobs)
    unsubmitted.write(file.parent, result(0, more=1), core.room.home.queue_id())
    intake.settle(answers)
    assert file.exists()


def test_the_same_file_again_is_acked_and_changes_nothing(core: Core, intake: Intake) -> None:
    for _ in range(2):
        leave(core, 0)
        assert look(core, intake) == 1
    assert core.sql("SELECT count(*) FROM results") == [(1,)]


def test_a_directory_that_cannot_be_written_keeps_its_files(core: Core, intake: Intake) -> None:
    file = leave(core, 0, ".sqlqueue")
    (core.room.root / "b").rename(core.room.root / "away")
    assert look(core, intake) == 1
    assert file.exists()
    (core.room.root / "away").rename(core.room.root / "b")
    core.desk.later()
    assert look(core, intake) == 1
    assert not file.exists()
