"""Adding cells: which wish holds, which id is given, which directory is whose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from core import Core, task
from crash_scenarios import MEMORY, Room, prepare

from sqlqueue import protocol
from sqlqueue.protocol import Ack


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path))
    yield made
    made.end()


def wishes(core: Core) -> list[tuple[object, ...]]:
    return core.sql("SELECT priority, max_attempts, timeout_seconds FROM tasks ORDER BY id")


# --- wishes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [False, True])
def test_the_largest_of_each_wish_holds_and_no_limit_is_largest(core: Core, apart: bool) -> None:
    cells = [
        task(1, "p", priority=5, max_attempts=2, timeout_seconds=100.0),
        task(1, "q", priority=1, max_attempts=7, timeout_seconds=300.0),
        task(2, "p", timeout_seconds=10.0),
        task(2, "q", timeout_seconds=None),
    ]
    if apart:
        for each in cells:
            core.add(each)
    else:
        core.add(*cells)
    assert wishes(core) == [(5, 7, 300.0), (0, 3, None)]


def test_a_later_wish_of_the_same_phase_takes_the_place_of_the_earlier(core: Core) -> None:
    core.add(task(1, "p", priority=9, max_attempts=9, timeout_seconds=None))
    core.add(task(1, "q", priority=1, max_attempts=1, timeout_seconds=50.0))
    core.add(task(1, "p", priority=0, max_attempts=2, timeout_seconds=20.0))
    assert wishes(core) == [(1, 2, 50.0)]


def test_a_failed_task_that_is_allowed_more_attempts_runs_again(core: Core) -> None:
    core.add(task(1, max_attempts=1), task(2, max_attempts=1))
    core.fail(core.take())
    core.fail(core.take())
    core.add(task(1, max_attempts=1))
    assert core.states() == {"p_0_1": "FAILED", "p_1_2": "FAILED"}
    core.add(task(1, max_attempts=2))
    assert core.states() == {"p_0_1": "PENDING", "p_1_2": "FAILED"}
    core.fail(core.take())
    assert core.states() == {"p_0_1": "FAILED", "p_1_2": "FAILED"}


def test_wishes_of_a_running_or_completed_task_change_nothing_else(core: Core) -> None:
    core.add(task(1), task(2))
    core.submit("p_0_1")
    core.take()
    before = core.states(), core.outcomes(), core.rows()
    core.add(task(1, priority=3, max_attempts=9), task(2, priority=3))
    assert (core.states(), core.outcomes(), core.rows()) == before


# --- ids -----------------------------------------------------------------------------------------


def test_phases_whose_names_run_into_each_other_give_no_id_twice(core: Core) -> None:
    core.add(task(0, "a_1", seed=None), *(task(n, "a", seed=0) for n in range(1, 4)))
    core.add(*(task(10 + n, "a_1", seed=None) for n in range(3)))
    core.add(task(20, "a", seed=None), task(21, "a_1", seed=0), task(22, "a", seed=1))
    ids = list(core.states())
    assert len(ids) == len(set(ids)) == 10


def test_an_id_is_given_once_and_for_ever(core: Core) -> None:
    core.add(task(1), task(2))
    before = core.states()
    core.restart()
    core.add(task(2, "q"), task(1, "q", "b"), task(3), task(4, "q"))
    assert list(core.states()) == [*before, "p_2_3", "q_0_4"]


def test_a_batch_with_the_same_cell_many_times_adds_it_once(core: Core) -> None:
    same = [task(1, phase, folder) for phase in "pq" for folder in "ab"] * 3
    reply = core.add(*same, task(2))
    assert reply.phases == {
        "p": protocol.PhaseCounts(cells=2, new=2),
        "q": protocol.PhaseCounts(cells=1, shared=1),
    }
    assert core.states() == {"p_0_1": "PENDING", "p_1_2": "PENDING"}
    assert core.take().output_dirs == ["a", "b"]


# --- directories ---------------------------------------------------------------------------------


def test_one_result_goes_to_forty_directories(core: Core) -> None:
    folders = [f"deep/{n}/r" for n in range(40)]
    core.add(*(task(1, folder=each) for each in folders), task(2, folder="other"))
    core.submit(core.take())
    assert len({tuple(core.rows(each)) for each in folders}) == 1
    assert all(len(core.rows(each)) == 2 for each in folders)
    assert core.rows("other") == []


def test_a_link_to_a_completed_task_has_its_row_at_once_however_many(core: Core) -> None:
    core.add(*map(task, range(30)))
    for number in range(0, 30, 2):
        core.submit(f"p_{number}_{number}")
    reply = core.add(*(task(n, "q", f"new{n % 3}") for n in range(30)))
    assert reply.delivered == 15
    assert sum(len(core.rows(f"new{n}")) - 1 for n in range(3)) == 15
    assert core.add(*(task(n, "q", f"new{n % 3}") for n in range(30))).delivered == 0


def test_a_directory_has_one_csv_however_it_is_spelled(core: Core) -> None:
    root = core.room.root
    (root / "real").mkdir()
    (root / "link").symlink_to("real")
    spellings = ["real", "./real/", "link", "link/../real", str(root / "real")]
    for number, spelled in enumerate(spellings):
        core.add(task(number, folder=spelled))
        core.submit(f"p_{number}_{number}")
    assert core.sql("SELECT path FROM output_directories") == [("real",)]
    assert len(core.rows("real")) == 6


# --- claiming ------------------------------------------------------------------------------------


def foreign_csv(root: Path, name: str) -> Path:
    (root / name).mkdir()
    file = root / name / "final_results.csv"
    file.write_text("mine,own\n1,2\n")
    return file


def test_where_one_directory_cannot_be_used_none_is_claimed(core: Core) -> None:
    root = core.room.root
    mine = foreign_csv(root, "mine")
    (root / "file").write_text("no folder")
    message = core.refused(prepare("good", "mine", "file"), "bad_directory")
    assert "mine: " in message and "file: " in message and "good" not in message
    assert mine.read_text() == "mine,own\n1,2\n"
    assert not (root / "good").exists()
    assert core.sql("SELECT count(*) FROM output_directories") == [(0,)]


def test_the_directory_of_another_queue_is_refused(core: Core, tmp_path: Path) -> None:
    other = Core.begin(Room(tmp_path / "other"))
    shared = str(tmp_path / "shared")
    other.add(task(1, folder=shared))
    other.submit(other.take())
    before = (tmp_path / "shared" / "final_results.csv").read_bytes()
    for aside in (False, True):
        assert "another queue" in core.refused(prepare(shared, set_aside=aside), "bad_directory")
    assert (tmp_path / "shared" / "final_results.csv").read_bytes() == before
    other.end()


def test_a_csv_of_a_persons_is_moved_aside_only_when_asked(core: Core) -> None:
    mine = foreign_csv(core.room.root, "a")
    core.refused(prepare("a"), "bad_directory")
    (moved,) = core.ok(prepare("a", set_aside=True)).set_aside
    assert (core.room.root / moved).read_text() == "mine,own\n1,2\n"
    assert not mine.exists()
    core.add(task(1))
    core.submit(core.take())
    assert core.ok(prepare("a", set_aside=True)).set_aside == []
    assert len(core.rows()) == 2


def test_where_one_directory_cannot_be_made_nothing_is_moved_aside(core: Core) -> None:
    mine = foreign_csv(core.room.root, "mine")
    core.refused(prepare("mine", "/proc/1/none", set_aside=True), "bad_directory")
    assert [each.name for each in mine.parent.glob("final*")] == [mine.name]
    assert mine.read_text() == "mine,own\n1,2\n"


def test_where_there_can_be_no_directory_it_is_told(core: Core) -> None:
    assert "/proc/1/none" in core.refused(prepare("/proc/1/none", "good"), "bad_directory")
    core.refused(prepare("x" * 300), "bad_directory")
    assert core.sql("SELECT count(*) FROM output_directories") == [(0,)]


def test_what_fails_to_be_added_leaves_nothing(core: Core) -> None:
    core.add(task(1))
    unknown = protocol.AddTasks(tasks=[task(2), task(3, experiment="m:g")], experiments=[MEMORY])
    core.refused(unknown, "bad_message")
    elsewhere = protocol.AddTasks(tasks=[task(2), task(3, folder="nobodys")], experiments=[MEMORY])
    core.refused(elsewhere, "bad_directory")
    assert core.states() == {"p_0_1": "PENDING"}
    replies = core.desk.say(elsewhere, protocol.Heartbeat(worker_id="w"))
    assert replies[1] == Ack(cancel=[])
