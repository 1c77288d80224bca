"""What is handled together comes to what it comes to one by one.

Random batches go through two managers, of which one has no short cut; afterwards database, CSVs
and answers are compared.  What is not here: what one message comes to (`test_manager_core.py`).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from core import Core, task
from crash_scenarios import Room, prepare, signature
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqlqueue import protocol
from sqlqueue.manager import gathering, service
from sqlqueue.manager.committer import Job
from sqlqueue.protocol import Error, Heartbeat, Reply, Request, RequestTask, SubmitResult, TaskReply
from sqlqueue.store import engine, finishing, starting

CELLS, WORKERS = 6, ("w", "v", "cpu")
IDS = [f"p_{cell}_{cell}" for cell in range(CELLS)]

# --- the same, together and one by one ----------------------------------------------------


def submits() -> st.SearchStrategy[Request]:
    return st.builds(
        SubmitResult,
        task_id=st.sampled_from([*IDS, "unknown"]),
        worker_id=st.sampled_from(WORKERS),
        result_data=st.sampled_from(
            [{"y": 1}, {"y": 2.5, "more": [1, "x"]}, {"seed": 9, "y": float("nan")}, {}]
        ),
        attempt=st.sampled_from([None, None, 1, 2]),
        signature=st.sampled_from([None, None, None, signature(0)]),
        host=st.sampled_from(["", "node"]),
        seconds=st.sampled_from([None, 2.0, float("inf")]),
        versions=st.sampled_from([{}, {"python": "3.13"}]),
    )


def claims() -> st.SearchStrategy[Request]:
    return st.builds(
        RequestTask,
        worker_id=st.sampled_from(WORKERS),
        worker_type=st.sampled_from(["gpu", "cpu"]),
        count=st.sampled_from([1, 1, 1, 2]),
        request_id=st.sampled_from([None, "r1", "r2"]),
        want=st.sampled_from([None, None, *IDS]),
        device=st.sampled_from(["", "cpu"]),
    )


def others() -> st.SearchStrategy[Request]:
    fails = st.builds(
        protocol.TaskFailed,
        task_id=st.sampled_from(IDS), worker_id=st.sampled_from(WORKERS), error=st.just("no"),
    )  # fmt: skip
    beats = st.builds(
        Heartbeat,
        worker_id=st.sampled_from(WORKERS), tasks=st.lists(st.sampled_from(IDS), max_size=2),
    )  # fmt: skip
    return fails | beats


BATCHES = st.lists(
    st.lists(claims() | submits() | claims() | submits() | others(), min_size=1, max_size=8),
    min_size=1, max_size=6,
)  # fmt: skip


@contextmanager
def queue_of_cells(folder: Path) -> Iterator[Core]:
    core = Core.begin(Room(folder))
    core.ok(prepare("a", "b"))
    new = [
        task(cell, folder=each, cost=1.0 + cell % 3)
        for cell in range(CELLS)
        for each in ("ab" if cell % 2 else "a")
    ]
    core.add(*new)
    yield core
    core.end()


def outcome(folder: Path, batches: Sequence[Sequence[Request]]) -> tuple[Any, ...]:
    """Answers, tables and CSVs; what is only a number of a row left out."""
    with queue_of_cells(folder) as core:
        replies: list[Reply] = []
        for batch in batches:
            core.desk.clock.now += 1
            replies += core.desk.say(*batch)
        tables = [
            sorted(core.sql(text), key=repr)
            for text in (
                "SELECT signature, state, failures, losses, held FROM tasks",
                "SELECT signature, number, worker_id, host, device, outcome, started_at, ended_at, "
                "seconds, error, request_id, lease_seconds, versions FROM attempts",
                "SELECT signature, number, metrics, accepted, arrived_at FROM results "
                "JOIN attempts USING (signature) WHERE attempts.id = attempt_id",
                "SELECT shape_id, kind, runs FROM paces",
                "SELECT * FROM streaks",
                "SELECT * FROM tallies WHERE cells > 0",
                "SELECT * FROM directory_tallies WHERE cells > 0",
            )
        ]
        held = sorted(
            (each.attempt.task_id, each.deadline) for each in core.desk.committer.book.leases
        )
        return ([as_told(each) for each in replies], tables, held,
                [sorted(core.rows(each)) for each in "ab"])  # fmt: skip


def as_told(reply: Reply) -> Any:
    return json.loads(protocol.encode(reply))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(BATCHES)
def test_a_batch_comes_to_the_same_together_and_one_by_one(
    batches: list[list[Request]],
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        together = outcome(Path(folder) / "together", batches)
        patch.setattr(service, "handle_together", lambda *_: {})
        assert together == outcome(Path(folder) / "apart", batches)


# --- that there is a short cut, and what it does when it fails -----------------------------


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with queue_of_cells(tmp_path / "q") as made:
        yield made


def asked(*workers: str) -> list[RequestTask]:
    return [RequestTask(worker_id=each) for each in workers]


def result_of(given: Reply, worker: str, **data: Any) -> SubmitResult:
    assert isinstance(given, TaskReply)
    return SubmitResult(task_id=given.task_id, worker_id=worker, result_data=data or {"y": 1})


def test_plain_messages_are_not_handled_one_by_one(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("handled by itself")

    monkeypatch.setattr(service, "handle", refuse)
    tasks = core.desk.say(*asked("w", "v"))
    acks = core.desk.say(*[result_of(t, w) for t, w in zip(tasks, ("w", "v"), strict=True)])
    assert acks == [protocol.Ack(), protocol.Ack()]


@pytest.mark.parametrize("what", ["claims", "results"])
def test_what_cannot_be_stored_together_is_stored_one_by_one(
    core: Core, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Whatever is wrong with one of them, the others do not suffer."""
    tasks = core.desk.say(*asked("w", "v")) if what == "results" else []

    def fail(*_: Any) -> None:
        core_connection = _[0]
        core_connection.exec_driver_sql("INSERT INTO meta (key, value) VALUES (NULL, NULL)")

    name, module = ("begin", starting) if what == "claims" else ("complete", finishing)
    monkeypatch.setattr(module, name, fail)
    if what == "claims":
        assert all(isinstance(each, TaskReply) for each in core.desk.say(*asked("w", "v")))
    else:
        results = [result_of(t, w) for t, w in zip(tasks, ("w", "v"), strict=True)]
        assert core.desk.say(*results, result_of(tasks[0], "nobody", y=3)) == [protocol.Ack()] * 3
    assert sorted(set(core.states().values())) == sorted(
        {"PENDING", "RUNNING" if what == "claims" else "COMPLETED"}
    )


def test_a_directory_that_cannot_be_written_is_refused_alone(core: Core) -> None:
    for folder in "ab":
        core.room.csv(folder)
    tasks = [each for each in core.desk.say(*asked(*"wvuts")) if isinstance(each, TaskReply)]
    both = [each for each in tasks if "b" in each.output_dirs]
    one = [each for each in tasks if "b" not in each.output_dirs]
    folder = core.room.root / "b"
    folder.rename(core.room.root / "elsewhere")
    results = [result_of(each, worker) for each, worker in zip(tasks, "wvuts", strict=True)]
    replies = dict(zip([each.task_id for each in tasks], core.desk.say(*results), strict=True))
    (core.room.root / "elsewhere").rename(folder)
    core.desk.later()
    assert all(isinstance(replies[each.task_id], Error) for each in both)
    assert all(replies[each.task_id] == protocol.Ack() for each in one)
    core.desk.say(*results)
    assert set(core.states().values()) == {"COMPLETED", "PENDING"}


# --- groups -------------------------------------------------------------------------------


def jobs(*said: tuple[str, Request]) -> list[Job]:
    return [Job(request, "worker", asker=asker) for asker, request in said]


def groups(*said: tuple[str, Request]) -> list[list[str]]:
    names = {SubmitResult: "s", RequestTask: "r", Heartbeat: "h", protocol.Release: "!"}
    return [
        [f"{each.asker}{names[type(each.request)]}" for each in group]
        for group in gathering.gathered(jobs(*said))
    ]


S, R = result_of(TaskReply(
    task_id="t", attempt=1, phase="p", experiment="e", config={}, seed=None, output_dir="a",
    output_dirs=[], lease_seconds=1.0, signature="0" * 32, timeout_seconds=None,
), "w"), RequestTask(worker_id="w")  # fmt: skip
H, BANG = Heartbeat(worker_id="w"), protocol.Release(task_id="t", worker_id="w")


def test_one_kind_comes_together_past_others_messages() -> None:
    said = groups(("a", S), ("a", R), ("b", S), ("b", R), ("c", H), ("c", S))
    assert said == [["as", "bs"], ["ar", "br"], ["ch"], ["cs"]]


def test_nobodys_own_order_changes() -> None:
    assert groups(("a", R), ("a", S), ("a", R), ("b", R)) == [["ar"], ["as"], ["ar", "br"]]


def test_what_changes_more_than_its_own_task_stands_between() -> None:
    said = groups(("a", S), ("b", BANG), ("c", S), ("d", BANG), ("e", S))
    assert said == [["as"], ["b!"], ["cs"], ["d!"], ["es"]]


def test_a_reader_needs_no_writer(core: Core) -> None:
    """The statements that look are good for whoever only reads."""
    with closing(_Reader(core)) as reader:
        assert finishing.runs_of(reader.connection, IDS) == {}
        assert list(starting.wanted(reader.connection, IDS[:2])) == IDS[:2]


class _Reader:
    def __init__(self, core: Core) -> None:
        self.engine = engine.open_reader(core.room.home)
        self.connection = self.engine.connect()

    def close(self) -> None:
        self.connection.close()
        self.engine.dispose()
