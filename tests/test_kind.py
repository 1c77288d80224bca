"""Kinds of failure: what varies is one, what differs in words is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from core import Core, task
from crash_scenarios import Room

from sqlqueue import protocol
from sqlqueue.plan.kind import said
from sqlqueue.plan.selector import parse
from sqlqueue.protocol import Retry
from sqlqueue.store import engine, failing

ONE = [
    ("CUDA out of memory: no 2.00 GiB", "CUDA out of memory: no 512 MiB",
     "CUDA out of memory: no …"),
    ("bad pointer 0x7ffe12", "bad pointer 0x0", "bad pointer …"),
    ("no file /data/a/1.npz", "no file /scratch/b", "no file …"),
    ("KeyError: 'poison'", "KeyError: 'poison'", "KeyError: 'poison'"),
    ("KeyError: 'poison'", "KeyError: 'lr'", "KeyError: …"),
    ("shape (1, 4) of a 4 x 4", "shape (2, 4) of a 4 x 4", "shape (…, 4) of a 4 x 4"),
    ("", "", "no message"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "heading"), ONE)
def test_one_kind(one: str, other: str, heading: str) -> None:
    first, second = said("FAILED", one), said("FAILED", other)
    assert first.kind == second.kind
    assert first.joined(second).heading == heading
    assert first.heading == (one or "no message")


def test_two_kinds() -> None:
    texts = ["KeyError: 'a'", "ValueError: 'a'", "KeyError: a", "layer conv2 failed"]
    kinds = {said("FAILED", each).kind for each in texts} | {said("OOM", texts[0]).kind}
    assert len(kinds) == 5


def test_the_name_of_a_kind_stays_what_it_is() -> None:
    assert said("OOM", "CUDA out of memory. Tried to allocate 2.00 GiB").kind == "950dc71f"


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path / "queue"))
    yield made
    made.end()


def fail(core: Core, error: str, outcome: str = "FAILED") -> None:
    taken = core.take(host="box", device="cuda:0")
    message = protocol.TaskFailed(
        task_id=taken.task_id, worker_id="w", error=error, outcome=outcome,  # type: ignore[arg-type]
    )  # fmt: skip
    core.ok(message)


def groups(core: Core, *words: str) -> list[failing.Group]:
    reader = engine.open_reader(core.room.home)
    try:
        with reader.begin() as connection:
            return failing.groups(connection, parse(words, everything=not words))
    finally:
        reader.dispose()


def wide(number: int, width: int, **fields: int) -> protocol.NewTask:
    parameters = {"seed": number, "width": width, "depth": 2}
    return task(number, parameters=parameters, **fields)


def test_what_the_tasks_of_a_group_share_and_no_other_has(core: Core) -> None:
    core.add(*(wide(number, 64, max_attempts=1 + number % 2) for number in range(3)))
    core.add(wide(3, 4, max_attempts=1), wide(4, 4))
    for size in ("2.00 GiB", "512 MiB"):
        fail(core, f"CUDA out of memory: {size}", "OOM")  # of the second task once, of the first
    fail(core, "CUDA out of memory: 1 GiB", "OOM")
    fail(core, "CUDA out of memory: 1 GiB", "OOM")
    fail(core, "")
    core.submit(core.take())
    oom, silent = groups(core)
    assert (oom.said.outcome, oom.said.heading) == ("OOM", "CUDA out of memory: …")
    assert (oom.count, oom.final, oom.shared.told(3)) == (3, 3, {"width": 64})
    assert oom.example["host"] == "box"
    assert (silent.said.heading, silent.count, silent.shared.told(1)) == (
        "no message",
        1,
        {"seed": 3},
    )
    assert [each.count for each in groups(core, "width=4")] == [1]
    (first, _) = core.figures()["failures"]
    assert (first["outcome"], first["count"], first["kind"]) == ("OOM", 3, oom.said.kind)
    assert first["shared"] == {"width": 64}
    assert core.ok(Retry(select=[f"error={oom.said.kind}"])).done == {"FAILED": 3}
    assert {each.said.outcome: (each.final, each.count) for each in groups(core)} == {
        "OOM": (0, 3),
        "FAILED": (1, 1),
    }


def test_more_kinds_than_anybody_reads_are_told_together(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failing, "MOST_GROUPS", 2)
    core.add(*(task(number, max_attempts=1) for number in range(5)))
    for word in ("a", "b", "c", "d", "e"):
        fail(core, f"Error{word}: no")
    assert sorted((each.count, each.said.heading) for each in groups(core)) == [
        (1, "Errora: no"),
        (1, "Errorb: no"),
        (3, "what else was said"),
    ]
