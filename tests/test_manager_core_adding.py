"""Adding to the queue: ids, wishes, links, directories; again and again without a change."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

import pytest
from core import Core, task
from crash_proof import workshop
from crash_scenarios import MEMORY, Room, prepare
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlqueue import protocol
from sqlqueue.protocol import PhaseCounts
from sqlqueue.store import wishing


@pytest.fixture
def core() -> Iterator[Core]:
    with workshop() as shop:
        made = Core.begin(Room(shop.root / "room"))
        yield made
        made.end()


def test_the_second_time_adds_nothing(core: Core) -> None:
    cells = [task(0), task(1), task(1, folder="b"), task(1, phase="q", folder="b")]
    first = core.add(*cells)
    assert first.phases == {
        "p": PhaseCounts(cells=2, new=2),
        "q": PhaseCounts(cells=1, shared=1),
    }
    before = [core.sql(f"SELECT * FROM {name}") for name in ("tasks", "task_output_dirs")]
    again = core.add(*cells)
    assert again.phases == {
        "p": PhaseCounts(cells=2, known=2),
        "q": PhaseCounts(cells=1, shared=1),
    }
    assert before == [core.sql(f"SELECT * FROM {name}") for name in ("tasks", "task_output_dirs")]


def test_a_link_to_a_completed_task_has_its_row_when_init_returns(core: Core) -> None:
    core.add(task(0))
    core.submit(core.take())
    added = core.add(task(0, phase="q", folder="b"))
    assert added.delivered == 1
    assert added.phases["q"] == PhaseCounts(cells=1, shared=1, completed=1)
    assert core.rows("a") == core.rows("b")
    assert core.add(task(0, phase="q", folder="b")).delivered == 0
    assert len(core.rows("b")) == 2


def test_ids_are_numbered_in_the_phase_and_never_clash(core: Core) -> None:
    core.add(task(0, phase="a_1", seed=None), task(1, phase="a_1", seed=None))
    core.add(task(2, phase="a", seed=None), task(3, phase="a", seed=1))
    core.add(task(4, phase="a", seed=0), task(5, phase="a", seed=None))
    core.restart()
    core.add(task(6, phase="a", seed=None))
    assert list(core.states()) == ["a_1_0", "a_1_1", "a_0", "a_2_1", "a_3_0", "a_4", "a_5"]


def test_a_number_whose_id_is_taken_is_passed_over(core: Core) -> None:
    core.add(task(0, phase="a_0", seed=1))  # a_0_0_1
    core.add(task(1, phase="a_0_0", seed=None), task(2, phase="a_0_0", seed=None))
    assert list(core.states()) == ["a_0_0_1", "a_0_0_0", "a_0_0_2"]


def test_the_largest_wish_holds(core: Core) -> None:
    def wish() -> list[tuple[object, ...]]:
        return core.sql("SELECT priority, max_attempts, timeout_seconds FROM tasks")

    core.add(task(0, priority=1, max_attempts=5, timeout_seconds=60.0))
    core.add(task(0, phase="q", priority=3, max_attempts=2, timeout_seconds=90.0))
    assert wish() == [(3, 5, 90.0)]
    core.add(task(0, phase="r", timeout_seconds=None))
    assert wish() == [(3, 5, None)]
    core.add(task(0, phase="q", priority=0, timeout_seconds=90.0))
    assert wish() == [(1, 5, None)]


def test_directories_are_one_however_they_are_spelled(core: Core) -> None:
    (core.room.root / "real").mkdir()
    (core.room.root / "link").symlink_to("real")
    core.add(task(0, folder="real"), task(0, folder="./real/"), task(0, folder="link"))
    assert core.sql("SELECT path FROM output_directories") == [("real",)]
    assert core.take().output_dirs == ["real"]


def test_a_csv_of_the_users_own_is_refused_and_untouched(core: Core) -> None:
    for folder in ("a", "b"):
        (core.room.root / folder).mkdir()
    core.room.csv("a").write_bytes(b"mine")
    message = core.refused(prepare("b", "a"), "bad_directory")
    assert "a: has a final_results.csv that this queue did not write" in message
    assert core.room.csv("a").read_bytes() == b"mine"
    assert core.sql("SELECT * FROM output_directories") == []
    assert not list((core.room.root / "b").iterdir())


def test_a_csv_of_the_users_own_is_moved_aside_when_asked(core: Core) -> None:
    (core.room.root / "a").mkdir()
    core.room.csv("a").write_bytes(b"mine")
    (moved,) = core.ok(prepare("a", set_aside=True)).set_aside
    assert (core.room.root / moved).read_bytes() == b"mine"
    core.add(task(0))
    core.submit(core.take())
    assert len(core.rows()) == 2
    assert core.ok(prepare("a", set_aside=True)).set_aside == []
    assert (core.room.root / moved).read_bytes() == b"mine"


def test_every_directory_that_cannot_be_used_is_named(core: Core) -> None:
    root = core.room.root
    (root / "file").write_text("")
    (root / "theirs").mkdir()
    (root / "theirs/.sqlqueue.json").write_text('{"format": 1, "queue": "another"}')
    message = core.refused(prepare("file", "theirs", "good"), "bad_directory")
    assert "file: is a file" in message
    assert "theirs: belongs to another queue" in message
    assert "good" not in message
    assert not (root / "good").exists()


def test_a_directory_that_was_not_claimed_takes_no_task(core: Core) -> None:
    request = protocol.AddTasks(tasks=[task(0, folder="new")], experiments=[MEMORY])
    assert "not claimed for this queue yet: new" in core.refused(request, "bad_directory")
    assert core.states() == {}


def test_a_cancelled_task_that_is_wanted_again_is_pending_again(core: Core) -> None:
    core.add(task(0))
    with core.desk.committer.transaction() as connection:
        connection.exec_driver_sql("UPDATE tasks SET state = 'CANCELLED'")
    core.add(task(0))
    assert core.states() == {"p_0_0": "PENDING"}


def test_only_the_owner_adds(core: Core) -> None:
    from sqlqueue.manager.committer import Job

    for request in (prepare("a"), protocol.AddTasks(tasks=[]), protocol.Repair()):
        ((_, reply),) = core.desk.committer.process([Job(request, "worker")])
        assert isinstance(reply, protocol.Error)
        assert reply.code == "not_authorised"


CELLS = st.builds(
    task,
    st.integers(0, 3),
    phase=st.sampled_from(["p", "q", "r"]),
    folder=st.sampled_from(["a", "b"]),
    priority=st.integers(0, 2),
    max_attempts=st.integers(1, 3),
    timeout_seconds=st.none() | st.sampled_from([60.0, 90.0]),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(CELLS, max_size=8), max_size=4), st.data())
def test_tasks_are_what_their_wishes_come_to_and_the_last_wish_holds(
    batches: list[list[protocol.NewTask]], data: st.DataObject
) -> None:
    """However little was asked of the database where nothing seemed to change."""
    said = {}
    with workshop() as shop:
        core = Core.begin(Room(shop.root / "room"))
        for batch in batches:
            core.add(*batch)
            said |= {(each.phase, each.signature): each for each in batch}
            if data.draw(st.booleans()):
                core.ask(protocol.Cancel(select=[f"phase={data.draw(st.sampled_from('pqr'))}"]))
                core.add(*batch)
        with core.desk.committer.transaction() as connection:
            assert connection.execute(wishing.come_to()).all() == []
        wishes = core.sql(
            "SELECT name, signature, p.priority, p.max_attempts, p.timeout_seconds "
            "FROM task_phases p JOIN phases ON phases.id = phase_id"
        )
        assert {(phase, key): rest for phase, key, *rest in wishes} == {
            key: [each.priority, each.max_attempts, each.timeout_seconds]
            for key, each in said.items()
        }
        first = dict.fromkeys((e.signature, e.output_dir) for batch in batches for e in batch)
        links = core.sql(
            "SELECT signature, path FROM task_output_dirs l JOIN output_directories d "
            "ON d.id = directory_id ORDER BY l.id"
        )
        # Of each task in the order in which they were said: the first is the primary.
        assert sorted(links, key=itemgetter(0)) == sorted(first, key=itemgetter(0))
        core.end()
