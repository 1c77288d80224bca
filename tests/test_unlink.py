"""A directory leaves the queue, or is another folder: what becomes of tasks, rows and files.

Asked of a manager's core; the last ones are the command, without a manager and beside one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from acceptance import Study
from core import Core, task
from crash_scenarios import Room, prepare

from sqlqueue import protocol, unsubmitted
from sqlqueue.disk import Disk
from sqlqueue.home import OUTPUT_MARKER
from sqlqueue.protocol import Cancel, Rerun, Retry, SubmitResult, Unlink


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path / "queue"))
    yield made
    made.end()


def unlink(core: Core, folder: str, **fields: Any) -> protocol.UnlinkedReply:
    found = core.ok(Unlink(output_dir=folder, **fields))
    assert isinstance(found, protocol.UnlinkedReply)
    return found


def five(core: Core) -> None:
    """In `a` alone: 0 completed, 1 failed, 2 pending, 4 to run once more; 3 in `b` too."""
    core.add(*(task(n, max_attempts=1, priority=9 - n) for n in (0, 1, 4)))
    core.submit(core.take())
    core.fail(core.take())
    core.submit(core.take())
    core.ok(Rerun(select=["seed=4"]))
    core.add(task(2), task(3))
    core.add(task(3, folder="b"))


def files(folder: Path) -> dict[str, bytes]:
    found = (each for each in folder.rglob("*") if each.is_file())
    return {str(each.relative_to(folder)): each.read_bytes() for each in found}


# --- leaving --------------------------------------------------------------------------


def test_its_files_stay_and_tasks_without_another_place_are_given_up(core: Core) -> None:
    five(core)
    folder = core.room.csv("a").parent
    (folder / "mine.txt").write_text("mine")
    before = files(folder)
    planned = unlink(core, "./a/", dry_run=True)
    assert (planned.tasks, planned.cancelled, planned.kept) == (5, 2, 2)
    assert files(folder) == before
    done = unlink(core, "./a/")
    assert (done.tasks, done.cancelled, done.kept) == (5, 2, 2)
    assert files(folder) == {k: each for k, each in before.items() if k != OUTPUT_MARKER}
    assert core.states() == {
        "p_0_0": "COMPLETED", "p_1_1": "CANCELLED", "p_2_4": "COMPLETED",
        "p_3_2": "CANCELLED", "p_4_3": "PENDING",
    }  # fmt: skip
    assert [each["output_dir"] for each in core.figures()["directories"]] == ["b"]
    core.restart()
    core.submit(core.take(), data={"value": 2})
    assert len(core.rows("b")) == 2


def test_another_queue_may_have_it_then(core: Core, tmp_path: Path) -> None:
    core.add(task(0))
    unlink(core, "a")
    other = Room(tmp_path / "other")
    second = Core.begin(other)
    second.ok(prepare("../queue/a"))
    second.add(task(0, folder="../queue/a"))
    second.submit(second.take())
    second.end()
    assert len(core.rows("a")) == 2


def test_what_is_kept_is_delivered_when_a_sweep_file_wants_it(core: Core) -> None:
    five(core)
    unlink(core, "a")
    reply = core.add(*(task(n, folder="c") for n in range(5)))
    assert reply.delivered == 2
    assert reply.phases["p"].again == 2
    assert len(core.rows("c")) == 3
    assert core.states()["p_3_2"] == "PENDING"


def test_nothing_is_to_run_that_has_no_place(core: Core) -> None:
    five(core)
    unlink(core, "a")
    assert core.ok(Retry(all=True)).done == {}
    found = core.ok(Rerun(select=["seed=0"]))
    assert found.done == {}
    assert "no output directory" in next(iter(found.left))
    core.ok(Cancel(all=True))
    core.ok(SubmitResult(task_id="p_3_2", worker_id="late", result_data={"value": 3}))
    assert core.states()["p_3_2"] == "COMPLETED"


def test_not_while_a_task_runs_or_a_result_waits(core: Core) -> None:
    core.add(task(0), task(1))
    taken = core.take()
    for more in ({}, {"move_to": "c"}, {"dry_run": True}):
        assert taken.task_id in core.refused(Unlink(output_dir="a", **more), "illegal_move")
    core.submit(taken)
    result = SubmitResult(task_id="p_1_1", worker_id="w", result_data={"value": 1})
    folder = core.room.csv("a").parent / unsubmitted.FOLDER
    file = unsubmitted.write(folder, result, core.room.home.queue_id())
    assert file.name in core.refused(Unlink(output_dir="a"), "illegal_move")
    file.unlink()
    unlink(core, "a")


def test_not_while_it_is_not_known_whether_results_wait(core: Core) -> None:
    core.add(task(0))
    folder = core.room.csv("a").parent / unsubmitted.FOLDER
    folder.symlink_to(folder)  # a loop: the disk says neither that it is there nor that it is not
    assert "not known whether" in core.refused(Unlink(output_dir="a"), "directory_unavailable")
    assert core.states() == {"p_0_0": "PENDING"}
    folder.unlink()
    unlink(core, "a")


def test_files_that_are_no_results_are_in_nobody_s_way(core: Core) -> None:
    core.add(task(0))
    folder = core.room.csv("a").parent / unsubmitted.FOLDER
    folder.mkdir()
    (folder / "notes.json").write_text("{}")
    other = SubmitResult(task_id="p_0_0", worker_id="w", result_data={"value": 1})
    unsubmitted.write(folder, other, "0" * 32)  # another queue's
    unlink(core, "a")
    assert len(list(folder.iterdir())) == 2


def test_the_folder_that_holds_the_home_is_not_moved(core: Core) -> None:
    core.add(task(0, folder="."))
    told = core.refused(Unlink(output_dir=".", move_to="../far"), "bad_directory")
    assert "the queue's home lies in it" in told
    assert core.room.home.path.is_dir()


def test_what_is_not_the_queue_s_is_told(core: Core) -> None:
    core.add(task(0, folder="results"))
    assert "did you mean 'results'" in core.refused(Unlink(output_dir="result"), "bad_directory")
    core.refused(Unlink(output_dir=".sqlqueue/x"), "bad_directory")


def test_the_marker_is_removed_by_the_same_command_if_it_died_before(core: Core) -> None:
    core.add(task(0))
    marker = core.room.csv("a").with_name(OUTPUT_MARKER)
    data = marker.read_bytes()
    unlink(core, "a")
    marker.write_bytes(data)
    assert "left the queue before" in unlink(core, "a", dry_run=True).notes[0]
    assert marker.exists()
    unlink(core, "a")
    assert not marker.exists()
    core.refused(Unlink(output_dir="a"), "bad_directory")


def test_a_directory_that_is_gone_can_leave(core: Core) -> None:
    core.add(task(0), task(1))
    core.submit(core.take())
    folder = core.room.csv("a").parent
    folder.rename(folder.with_name("away"))
    assert unlink(core, "a").kept == 1
    assert core.figures()["directories"] == []


def test_its_key_may_be_another_s(core: Core) -> None:
    """Nothing that was known of the one is taken for the other's."""
    core.add(task(0), task(1))
    core.submit(core.take())
    core.room.csv("a").parent.rename(core.room.root / "away")
    late = SubmitResult(task_id="p_1_1", worker_id="w", result_data={"value": 1})
    assert isinstance(core.ask(late), protocol.Error)
    unlink(core, "a")
    core.add(task(2, folder="b"), task(0, folder="b"))
    core.submit(core.take(), data={"value": 2})
    assert len(core.rows("b")) == 3


# --- moving -----------------------------------------------------------------------------


def test_the_queue_goes_on_in_the_new_folder(core: Core) -> None:
    five(core)
    before = files(core.room.csv("a").parent)
    planned = unlink(core, "a", move_to="deep/new", dry_run=True)
    assert (planned.moved_to, planned.tasks) == ("deep/new", 5)
    assert not (core.room.root / "deep").exists()
    unlink(core, "a", move_to="deep/new")
    assert files(core.room.root / "deep" / "new") == before
    assert not (core.room.root / "a").exists()
    core.submit("p_3_2", data={"value": 5})
    core.restart()
    assert [line.split(b",")[1] for line in core.rows("deep/new")[1:]] == [
        b"p_0_0", b"p_2_4", b"p_3_2",
    ]  # fmt: skip
    assert not list(core.room.root.rglob("*set-aside*"))


def test_a_folder_that_a_person_renamed_is_taken_over(core: Core) -> None:
    five(core)
    (core.room.root / "a").rename(core.room.root / "new")
    assert "is there already" in unlink(core, "a", move_to="new").notes[0]
    core.submit("p_3_2", data={"value": 5})
    assert len(core.rows("new")) == 4


class Noting(Disk):
    """Says in which order names are changed and made durable."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        self.calls.append(f"replace {target.name}")

    def fsync_dir(self, path: Path) -> None:
        super().fsync_dir(path)
        self.calls.append(f"fsync {path.name}")


def test_the_new_name_is_durable_before_the_database_says_it(tmp_path: Path) -> None:
    disk = Noting()
    core = Core.begin(Room(tmp_path / "queue"), disk)
    core.add(task(0, folder="a/old"))
    disk.calls.clear()
    unlink(core, "a/old", move_to="deep/new")
    assert disk.calls == ["fsync queue", "replace new", "fsync deep", "fsync a"]
    core.end()


class Dying(Disk):
    """The process dies after the folder was renamed, so that nothing is committed."""

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        if target.name == "new":
            raise KeyboardInterrupt


def test_a_death_after_the_rename_is_made_good_by_the_same_command(tmp_path: Path) -> None:
    core = Core.begin(Room(tmp_path / "queue"), Dying())
    five(core)
    with pytest.raises(KeyboardInterrupt):
        core.ask(Unlink(output_dir="a", move_to="new"))
    core.desk.committer.close()
    core.desk = type(core.desk)(core.room.home)
    core.desk.committer.open()
    unlink(core, "a", move_to="new")
    core.submit("p_3_2", data={"value": 5})
    assert len(core.rows("new")) == 4
    core.end()


def test_where_it_cannot_go_is_told_and_nothing_is_done(core: Core, tmp_path: Path) -> None:
    five(core)
    full = core.room.root / "full"
    full.mkdir()
    (full / "file").touch()
    for target, why in {
        "b": "already",
        "full": "not empty",
        "full/file": "not empty",
        "a/deeper": "lies in it",
        ".sqlqueue/x": "inside the queue's home",
    }.items():
        assert why in core.refused(Unlink(output_dir="a", move_to=target), "bad_directory"), target
    core.add(task(7, folder="a/inner"))
    said = core.refused(Unlink(output_dir="a", move_to="elsewhere"), "bad_directory")
    assert "a/inner lies in it" in said
    unlink(core, "a/inner")
    core.room.csv("a").parent.rename(tmp_path / "lost")
    said = core.refused(Unlink(output_dir="a", move_to="new"), "bad_directory")
    assert "is gone" in said
    (tmp_path / "lost").rename(core.room.csv("a").parent)


# --- the command ------------------------------------------------------------------------------


@pytest.mark.parametrize("managed", [False, True])
def test_the_command(study: Study, managed: bool) -> None:
    first = study.write("a.yaml", "old", combinations={"seed": [1, 2]})
    study.set_up(first)
    if managed:
        study.manager.start()
    refused = study.cli("unlink", "old")
    assert refused.returncode == 2
    assert "take old out of the queue (2 tasks; 2 of them cancelled" in refused.stderr
    assert study.cli("unlink", "odl").returncode == 2
    said = study.cli.ok("unlink", "old", "--move-to", "new", "--yes")
    assert "Moved: old to new (2 tasks)" in said
    assert (study.root / "new" / OUTPUT_MARKER).exists()
    found = json.loads(study.cli.ok("unlink", "new", "--dry-run", "--json"))
    assert (found["tasks"], found["cancelled"], found["dry_run"]) == (2, 2, True)
    said = study.cli.ok("unlink", "new", "--yes")
    assert "its files stay as they are" in said
    assert study.totals() == {"cancelled": 2}
    assert not (study.root / "new" / OUTPUT_MARKER).exists()
